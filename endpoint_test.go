package belay_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

// The label of a raw path names no resource, and no person.
func TestEndpoint(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"https://h/v1/customers/123/orders":                                "/v1/customers/{id}/orders",
		"https://h/v1.1/things/9f86d081":                                   "/v1.1/things/{id}",
		"https://h/things/6ba7b810-9dad-11d1-80b4-00c04fd430c8?x=REDACTED": "/things/{id}",
		"https://h/users/ada@example.test/mail":                            "/users/{id}/mail",
		"https://h/users/ada%40example.test":                               "/users/{id}",
		"https://h/oauth2/token":                                           "/oauth2/token",
		"https://h/api/contact-lists/cus_9s6XKzkNRiz8i3":                   "/api/contact-lists/{id}",
		"https://h/calendar/2026-05-01":                                    "/calendar/{id}",
		"https://h/bot123456:AAHdqTcvCH1vGWJx/getMe":                       "/{id}/getMe",
		"https://h/files/aGVsbG8gd29ybGQgaGVsbG8gd29ybGQ":                  "/files/{id}",
		"https://h/files/abcdefghijklmnopqrstuvwxyzabcd":                   "/files/{id}",
		"https://h/a/b/c/d/e/f/g/h/i/j":                                    "/a/b/c/d/e/f/g/h/…",
		"https://h/m%C3%BCller":                                            "/{id}",
		"https://h":                                                        "/",
		"https://h//x//":                                                   "/x",
		"":                                                                 "/",
	} {
		require.Equal(t, want, belay.CallInfo{URL: path}.Endpoint(), path)
	}
	require.Equal(t, "/things/{id}", belay.CallInfo{Route: "/things/" + "12345", URL: "https://h/x"}.Endpoint(), "no template")
	require.Equal(t, "/things/{thing}/x", belay.CallInfo{Route: "/things/{thing}/x"}.Endpoint())
	require.Equal(t, "/things/{id}", belay.CallInfo{Route: "/things/{id}?a={b}", URL: "https://h/x"}.Endpoint())
}

// Each page that comes is an event with its items, for metrics.
func TestPageRead(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "", func(t *testing.T) {
		var pages []belay.PageRead
		n := 0
		rt := testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
			if n++; n == 1 {
				return testkit.Raw(200, "application/json", `{"d":[{"id":1},{"id":2}],"next":"x"}`), nil
			}
			return testkit.Raw(200, "application/json", `{"d":[{"id":3}],"next":""}`), nil
		})
		c := newClient(t, rt, belay.WithName("acme"), belay.WithIntegration("i"),
			belay.WithObserver(belay.ObserverFunc(func(_ context.Context, e belay.Event) {
				if p, ok := e.(belay.PageRead); ok {
					pages = append(pages, p)
				}
			})))
		how := belay.CursorPages{Items: "d", Cursor: "next", Param: "c"}
		_, err := collect(belay.Items[thing](t.Context(), c, "/l", how))
		require.NoError(t, err)
		require.Len(t, pages, 2)
		require.Equal(t, "acme", pages[0].Call.Partner)
		require.Equal(t, "/l", pages[0].Call.Route)
		require.Equal(t, []int{1, 2, 2, 1}, []int{pages[0].Number, pages[0].Items, pages[1].Number, pages[1].Items})
	})
}
