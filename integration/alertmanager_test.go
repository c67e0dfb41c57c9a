package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/watch"
)

// A real Alertmanager routes the alerts of the rules by severity and partner, tells of their end, and of one that became
// worse. It is Debian's package; without it the test is skipped.
func TestAlertmanager(t *testing.T) {
	tool, err := exec.LookPath("prometheus-alertmanager")
	if err != nil {
		t.Skip("SKIPPED: prometheus-alertmanager is not installed")
	}
	told := make(chan string, 100)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var m struct {
			Receiver string
			Alerts   []struct {
				Status              string
				Labels, Annotations map[string]string
			}
		}
		body, _ := io.ReadAll(r.Body)
		if json.Unmarshal(body, &m) == nil {
			for _, a := range m.Alerts {
				told <- fmt.Sprint(m.Receiver, " ", a.Status, " ", a.Labels["alertname"], " ", a.Labels["partner"], " ", a.Labels["severity"], " ",
					a.Annotations["rule"])
			}
		}
	}))
	defer receiver.Close()
	dir := t.TempDir()
	config := filepath.Join(dir, "alertmanager.yml")
	require.NoError(t, os.WriteFile(config, []byte(fmt.Sprintf(`
route:
  receiver: today
  group_by: [belay_id, severity]
  group_wait: 0s
  group_interval: 1s
  repeat_interval: 1h
  routes: [{receiver: page, matchers: ['severity="P1"']}]
receivers:
  - {name: page, webhook_configs: [{url: %[1]q, send_resolved: true}]}
  - {name: today, webhook_configs: [{url: %[1]q, send_resolved: true}]}
`, receiver.URL)), 0o600))
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := free.Addr().String()
	require.NoError(t, free.Close())
	cmd := exec.Command(tool, "--config.file="+config, "--storage.path="+dir, "--web.listen-address="+address, "--cluster.listen-address=")
	var output buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	require.NoError(t, cmd.Start())
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(output.String())
		}
	}()
	require.Eventually(t, func() bool {
		resp, err := http.Get("http://" + address + "/-/ready")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == 200
	}, 30*time.Second, 50*time.Millisecond)

	sink, err := watch.AlertmanagerSink("http://" + address)
	require.NoError(t, err)
	h := new(watch.History)
	rules, err := watch.NewRules(watch.RulesConfig{
		History: h, Sinks: []watch.Sink{sink}, Every: 100 * time.Millisecond, Quiet: time.Second, CircuitOpen: time.Second,
		Runbook: "https://runbooks.example/{rule}",
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() { _ = rules.Run(ctx) })
	defer func() { cancel(); all.Wait() }()
	take := func() string {
		select {
		case got := <-told:
			return got
		case <-time.After(30 * time.Second):
			return "nothing"
		}
	}
	next := func(want string) {
		t.Helper()
		require.Equal(t, want, take())
	}
	call := func(partner string, class belay.Class, status int) {
		e := belay.CallDone{Call: belay.CallInfo{Partner: partner, Method: "GET", Route: "/x"}, StatusCode: status, Attempts: 1}
		if e.Verdict.Class = class; class != belay.ClassOK {
			e.Err = errors.New("no")
		}
		h.Observe(t.Context(), e)
	}
	circuit := func(route string, state belay.BreakerState) {
		h.Observe(t.Context(), belay.CircuitChanged{Call: belay.CallInfo{Partner: "crm"}, Origin: "https://crm.example", Route: route, State: state})
	}
	call("pay", belay.ClassAuth, 401)
	next("page firing Belay_credentials pay P1 unauthorized")
	call("pay", belay.ClassOK, 200)
	next("page resolved Belay_credentials pay P1 unauthorized")
	circuit("GET /x", belay.BreakerOpen)
	next("today firing Belay_outage crm P2 circuit_open")
	circuit("", belay.BreakerOpen) // now all of it
	got := []string{take(), take()}
	require.ElementsMatch(t, []string{"page firing Belay_outage crm P1 circuit_open", "today resolved Belay_outage crm P2 circuit_open"}, got)
	circuit("", belay.BreakerClosed)
	circuit("GET /x", belay.BreakerClosed)
	next("page resolved Belay_outage crm P1 circuit_open")
}

// buffer is a bytes.Buffer for several goroutines.
type buffer struct {
	mu   sync.Mutex
	text []byte
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text = append(b.text, p...)
	return len(p), nil
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.text)
}
