package watch_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/inbox"
	"github.com/belay-go/belay/internal/testkit"
	"github.com/belay-go/belay/watch"
)

func pageOf(t *testing.T, page http.Handler, method, target string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	page.ServeHTTP(w, httptest.NewRequest(method, target, nil))
	return w
}

// The page has the sick first, shows what is open, escapes what partners and customers are called, and allows nothing.
func TestPage(t *testing.T) {
	testkit.Bubble(t, "", func(t *testing.T) {
		w := newWorld(t, nil)
		w.calls(50, 200)
		tell := func(partner, integration string, class belay.Class, err error) {
			w.tell(belay.CallDone{
				Call:    belay.CallInfo{Partner: partner, Integration: integration, Method: "GET", Route: "/<b>/" + partner},
				Verdict: belay.Verdict{Class: class}, Err: err,
			})
		}
		for range 10 {
			tell("pay", "", belay.ClassTransient, errors.New("no answer: token=canary12345"))
			tell("<script>alert(1)</script>", "<img src=x>", belay.ClassOK, nil)
			tell(strings.Repeat("long", 3000), "", belay.ClassOK, nil)
		}
		for i := range 2000 {
			tell("crm", fmt.Sprint("customer-", i), belay.ClassOK, nil)
		}
		time.Sleep(6 * time.Second)
		page, err := watch.NewPage(watch.PageConfig{
			History: w.History, Checker: w.probes, Rules: w.rules,
			Inboxes: map[string]func() inbox.Numbers{
				"webhooks": func() inbox.Numbers { return inbox.Numbers{Pending: 12} }, "panics": func() inbox.Numbers { panic("no") },
			},
		})
		require.NoError(t, err)
		got := pageOf(t, page, "GET", "/?open=crm&open=pay&open=%3Cscript%3Ealert(1)%3C%2Fscript%3E")
		body := got.Body.String()
		require.Equal(t, 200, got.Code)
		require.Equal(t, "15", got.Header().Get("Refresh"))
		require.Equal(t, "no-store", got.Header().Get("Cache-Control"))
		policy := got.Header().Get("Content-Security-Policy")
		require.Contains(t, policy, "default-src 'none'; style-src 'sha256-")
		require.NotContains(t, policy, "unsafe")
		require.NotContains(t, body, "<script")
		require.NotContains(t, body, "<img")
		require.NotContains(t, body, "style=")
		require.NotContains(t, body, "canary")
		require.NotContains(t, body, strings.Repeat("long", 60))
		require.NotContains(t, body, "ZgotmplZ")
		require.Contains(t, body, "&lt;script&gt;alert(1)&lt;/script&gt;")
		require.Contains(t, body, "P1 pay: unavailable")
		require.Contains(t, body, "And 1500 more, none of them sicker.")
		pay, crm := strings.Index(body, ">pay</a>"), strings.Index(body, ">crm</a>")
		require.Positive(t, pay)
		require.Less(t, pay, crm, "the sick come first")
		require.Contains(t, body, "<td>webhooks</td><td class=\"n\">12</td>")
		require.Less(t, len(body), 1<<20)

		got = pageOf(t, page, "GET", "/?refresh=off")
		require.Empty(t, got.Header().Get("Refresh"))
		require.NotContains(t, got.Body.String(), "<h4>", "nothing is open")
		require.Equal(t, 405, pageOf(t, page, "POST", "/").Code)
		require.Zero(t, pageOf(t, page, "HEAD", "/").Body.Len())
		open := "/?" + strings.Repeat("open="+strings.Repeat("x", 200)+"&open=y&", 10_000)
		require.Less(t, pageOf(t, page, "GET", open).Body.Len(), 1<<20, "the query comes back bounded")
	})
	_, err := watch.NewPage(watch.PageConfig{})
	require.ErrorContains(t, err, "History is nil")
	page, err := watch.NewPage(watch.PageConfig{History: new(watch.History), Refresh: -1, Title: "<i>"})
	require.NoError(t, err)
	got := pageOf(t, page, "GET", "/")
	require.Empty(t, got.Header().Get("Refresh"))
	require.Contains(t, got.Body.String(), "No calls yet.")
	require.Contains(t, got.Body.String(), "&lt;i&gt;")
}
