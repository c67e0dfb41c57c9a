package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/inbox"
	"github.com/belay-go/belay/watch"
)

// startPage serves the page of a history in which each thing that the page can show is there, with the given number of
// integrations.
func startPage(t *testing.T, integrations int) string {
	t.Helper()
	h := new(watch.History)
	client, err := belay.New("https://api.crm.example", belay.WithName("crm"), belay.WithRateLimit(belay.PerMinute(600)))
	require.NoError(t, err)
	require.NoError(t, h.Add(client))
	tell := func(e belay.Event) { h.Observe(context.Background(), e) }
	call := func(partner, integration, route string, status int, class belay.Class) {
		info := belay.CallInfo{Partner: partner, Integration: integration, Method: "GET", Route: route, URL: "https://" + partner + route}
		e := belay.CallDone{Call: info, StatusCode: status, Attempts: 1, Duration: 80 * time.Millisecond}
		if e.Verdict.Class = class; class != belay.ClassOK {
			e.Err = fmt.Errorf("GET %s: status %d from the partner, with a rather long explanation of what went wrong", route, status)
		}
		tell(e)
		if status != 0 {
			tell(belay.AttemptDone{Call: info, StatusCode: status, Duration: time.Duration(50+len(integration)*7) * time.Millisecond})
		}
	}
	for i := range integrations {
		name := fmt.Sprintf("customer-%03d", i)
		for range 5 {
			call("crm", name, "/objects/{object}/records/{id}", 200, belay.ClassOK)
		}
		call("crm", name, "/a-route-with-a-very-long-name-that-does-not-break/{id}/and-more/{more}", 404, belay.ClassClient)
		if i%10 == 1 {
			call("crm", name, "/me", 401, belay.ClassAuth)
			tell(belay.TokenRevoked{Partner: "crm", Integration: name, Action: "connect it again", Err: errors.New("invalid_grant")})
		}
	}
	for range 20 {
		call("pay", "", "/charges", 503, belay.ClassTransient)
	}
	tell(belay.CircuitChanged{Call: belay.CallInfo{Partner: "pay"}, Origin: "https://pay", State: belay.BreakerOpen})
	tell(belay.Paused{Call: belay.CallInfo{Partner: "booking"}, Scope: belay.ScopePartner, For: 26 * time.Hour})
	call("booking", "", "/stays", 429, belay.ClassRateLimited)
	call("<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "/x", 200, belay.ClassOK)
	tell(belay.ImportProgress{Partner: "crm", Integration: "customer-000", Import: "contacts", Read: 700, Saved: 690, Rejected: 10, Total: 1000})
	tell(belay.DeliveryReceived{Partner: "crm"})
	checker, err := watch.NewChecker(watch.CheckerConfig{}, watch.Check{Name: "search", Probe: func(context.Context) error { return nil }})
	require.NoError(t, err)
	require.NoError(t, checker.CheckAll(t.Context()))
	inboxes := map[string]func() inbox.Numbers{
		"webhooks": func() inbox.Numbers { return inbox.Numbers{Pending: 6000, Oldest: 20 * time.Minute, Dead: 3} },
	}
	rules, err := watch.NewRules(watch.RulesConfig{History: h, Checker: checker, Inboxes: inboxes, Runbook: "https://runbooks.example/{rule}"})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = rules.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	require.Eventually(t, func() bool { return len(rules.Alerts()) >= 4 }, 10*time.Second, 10*time.Millisecond)
	page, err := watch.NewPage(watch.PageConfig{History: h, Checker: checker, Rules: rules, Inboxes: inboxes})
	require.NoError(t, err)
	server := httptest.NewServer(page)
	t.Cleanup(server.Close)
	return server.URL + "/"
}

// The page works in a browser: light and dark, on a phone and on a wide screen, with few and many integrations, open and
// closed; it asks for nothing else, scrolls in one direction, logs nothing and has no fault that axe-core finds.
func TestPageInABrowser(t *testing.T) {
	chromium := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			chromium = path
			break
		}
	}
	if chromium == "" {
		t.Skip("SKIPPED: there is no chromium; apt-get install chromium")
	}
	if _, err := exec.LookPath("npm"); err != nil {
		t.Skip("SKIPPED: there is no npm; install Node 18 or later")
	}
	dir := t.TempDir()
	for _, name := range []string{"package.json", "check.mjs"} {
		data, err := os.ReadFile(filepath.Join("browser", name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
	install := exec.Command("npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts")
	install.Dir = dir
	out, err := install.CombinedOutput()
	require.NoError(t, err, "%s", out)
	shots := os.Getenv("BELAY_SHOTS") // a folder that is kept
	if shots == "" {
		shots = dir
	}
	for _, n := range []int{3, 300} {
		url := startPage(t, n)
		for name, query := range map[string]string{"page": "", "open": "?open=crm&open=pay&open=booking"} {
			cmd := exec.Command("node", "check.mjs", chromium, url+query, shots, fmt.Sprintf("%s-%d", name, n))
			cmd.Dir = dir
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s", out)
			var result struct{ Faults, Shots []string }
			require.NoError(t, json.Unmarshal(out, &result), "%s", out)
			require.Empty(t, result.Faults, "%s with %d integrations", name, n)
			require.Len(t, result.Shots, 4)
		}
	}
}
