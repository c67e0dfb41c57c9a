package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

func freePort(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(nil)
	defer s.Close()
	return s.URL[strings.LastIndex(s.URL, ":")+1:]
}

// read returns the body of an answer, empty while there is none.
func read(url string) (status int, body string) {
	resp, err := http.Get(url)
	if err != nil {
		return 0, ""
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, ""
	}
	return resp.StatusCode, string(data)
}

var durations = regexp.MustCompile(`(for: |\[|offset )(\d+)([mh])`)

// The storm, scraped by a real Prometheus with the rules of belayprom, whose times are divided by sixty: what is wrong
// with each partner fires, and nothing for the one that is well.
func TestStorm(t *testing.T) {
	if os.Getenv("BELAY_PROMETHEUS") == "" {
		t.Skip("BELAY_PROMETHEUS is not set: it takes a minute")
	}
	server, err := exec.LookPath("prometheus")
	if err != nil {
		t.Skip("SKIPPED: prometheus is not installed")
	}
	app := "127.0.0.1:" + freePort(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, app, true) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	rules, err := os.ReadFile("../../belayprom/rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	short := durations.ReplaceAllStringFunc(string(rules), func(s string) string {
		m := durations.FindStringSubmatch(s)
		n, _ := strconv.Atoi(m[2])
		if m[3] == "h" {
			n *= 60
		}
		return m[1] + strconv.Itoa(n) + "s"
	})
	dir := t.TempDir()
	config := fmt.Sprintf(`global: {scrape_interval: 500ms, evaluation_interval: 500ms}
rule_files: [rules.yaml]
scrape_configs: [{job_name: health, scrape_timeout: 400ms, static_configs: [{targets: [%q]}]}]
`, app)
	for name, text := range map[string]string{"rules.yaml": short, "prometheus.yaml": config} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	port := freePort(t)
	cmd := exec.Command(server, "--config.file=prometheus.yaml", "--storage.tsdb.path=data", "--web.listen-address=127.0.0.1:"+port)
	cmd.Dir = dir
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Signal(os.Interrupt); _ = cmd.Wait() }()
	want := map[string]bool{
		"PartnerServerErrors pay": false, "PartnerProbeFailed pay": false, "PartnerRateLimited crm": false,
		"PartnerCredentialRefused booking": false, "PartnerTokenRevoked booking": false,
	}
	said := map[string]string{"/": "P1 pay: unavailable", "/healthz": `"down"`, "/metrics": "integration_api_calls_total", "/livez": "up"}
	for until := time.Now().Add(70 * time.Second); time.Now().Before(until); time.Sleep(500 * time.Millisecond) {
		for path, text := range said {
			if status, body := read("http://" + app + path); status != 0 && strings.Contains(body, text) {
				delete(said, path)
			}
		}
		_, body := read("http://127.0.0.1:" + port + "/api/v1/alerts")
		var out struct {
			Data struct {
				Alerts []struct {
					State  string
					Labels map[string]string
				}
			}
		}
		_ = json.Unmarshal([]byte(body), &out)
		for _, a := range out.Data.Alerts {
			if a.State != "firing" {
				continue
			}
			want[a.Labels["alertname"]+" "+a.Labels["partner"]] = true
			if a.Labels["partner"] == "search" {
				t.Errorf("%v fires for the partner that is well", a.Labels)
			}
		}
	}
	for name, fired := range want {
		if !fired {
			t.Errorf("%s has not fired", name)
		}
	}
	for path, text := range said {
		t.Errorf("%s has not said %q", path, text)
	}
}
