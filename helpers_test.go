package belay_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
	"github.com/belay-go/belay/oauth"
)

func newClient(t *testing.T, rt http.RoundTripper, opts ...belay.Option) *belay.Client {
	t.Helper()
	c, err := belay.New("https://partner.test", append([]belay.Option{belay.WithTransport(rt)}, opts...)...)
	require.NoError(t, err)
	return c
}

func get(ctx context.Context, c *belay.Client, path string, opts ...belay.CallOption) error {
	_, err := belay.Get[belay.None](ctx, c, path, opts...)
	return err
}

func post(ctx context.Context, c *belay.Client, path string, opts ...belay.CallOption) error {
	_, err := belay.Post[belay.None](ctx, c, path, map[string]string{"a": "b"}, opts...)
	return err
}

// diary is an observer that keeps the events.
type diary = testkit.Diary[belay.Event]

// shown is all that an error holds.
func shown(err error) string {
	text := ""
	for e := err; e != nil; e = errors.Unwrap(e) {
		data, _ := json.Marshal(e)
		text += fmt.Sprintf("%v %+v %#v %q %s ", e, e, e, e, data)
	}
	var e *belay.Error
	if errors.As(err, &e) {
		text += fmt.Sprint(e.Fields, e.Code, e.Message, e.RequestID, e.URL)
	}
	return text
}

// authorization returns what a call would be sent with now.
func authorization(t *testing.T, a belay.Authenticator) string {
	t.Helper()
	cred, err := a.Credential(t.Context())
	require.NoError(t, err)
	req, err := http.NewRequest(http.MethodGet, "https://partner.test/", nil)
	require.NoError(t, err)
	require.NoError(t, cred.Apply(req))
	return req.Header.Get("Authorization")
}

// app returns an app whose token requests go to rt.
func app(t *testing.T, rt http.RoundTripper, change ...func(*oauth.Config)) *oauth.App {
	t.Helper()
	cfg := oauth.Config{
		TokenURL: "https://partner.test/token", ClientID: "app",
		ClientSecret: belay.NewSecret("client-secret"), Transport: rt,
		AuthURL: "https://partner.test/authorize", RedirectURL: "https://us.test/callback",
	}
	for _, f := range change {
		f(&cfg)
	}
	o, err := oauth.New(cfg)
	require.NoError(t, err)
	return o
}

// serve starts a real server and a client for it.
func serve(t *testing.T, h http.HandlerFunc, opts ...belay.Option) *belay.Client {
	t.Helper()
	s := httptest.NewServer(h)
	c, err := belay.New(
		s.URL,
		append(
			[]belay.Option{belay.WithRetry(belay.RetryPolicy{BaseDelay: time.Millisecond, MaxDelay: time.Millisecond})},
			opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()); s.Close() })
	return c
}

type strict struct{ Name string }

func (s strict) Validate() error {
	if s.Name == "" {
		return errors.New("name is missing")
	}
	return nil
}

type authFunc func(context.Context) (belay.Credential, error)

func (f authFunc) Credential(ctx context.Context) (belay.Credential, error) { return f(ctx) }

type closing struct {
	io.Reader
	closed *bool
}

func (c closing) Close() error { *c.closed = true; return nil }

// opened counts the bodies that a stream has open.
type opened struct {
	io.Reader
	n      *int
	closed bool
}

func (o *opened) Close() error {
	if !o.closed {
		*o.n--
	}
	o.closed = true
	return nil
}

func counted(n *int) belay.Body {
	return belay.StreamBody("text/plain", -1, func() (io.ReadCloser, error) {
		*n++
		return &opened{strings.NewReader("text"), n, false}, nil
	})
}

// turning is another token for each attempt.
type turning struct{ n int }

func (a *turning) Credential(ctx context.Context) (belay.Credential, error) {
	a.n++
	return belay.Bearer(belay.NewSecret("secret-token-" + string(rune('a'+a.n)))).Credential(ctx)
}

// odd is a partner of which nothing is known: answer decides, under a lock, 25 ms after the call was sent.
type odd struct {
	mu                 sync.Mutex
	start              time.Time
	sent               int // calls
	inFlight, most     int
	refused, succeeded int
	answer             func(o *odd, now time.Duration, req *http.Request) *http.Response
}

func (o *odd) RoundTrip(req *http.Request) (*http.Response, error) {
	o.mu.Lock()
	o.inFlight++
	o.most = max(o.most, o.inFlight)
	o.mu.Unlock()
	time.Sleep(25 * time.Millisecond)
	o.mu.Lock()
	o.sent++
	resp := o.answer(o, time.Since(o.start), req)
	if resp.StatusCode == http.StatusTooManyRequests {
		o.refused++
	} else {
		o.succeeded++
	}
	o.mu.Unlock()
	time.Sleep(25 * time.Millisecond)
	o.mu.Lock()
	o.inFlight--
	o.mu.Unlock()
	return resp, nil
}

func refuse(retryAfter string) *http.Response {
	if retryAfter == "" {
		return testkit.Reply(http.StatusTooManyRequests)
	}
	return testkit.Reply(http.StatusTooManyRequests, "Retry-After", retryAfter)
}

func sliding(n int, per time.Duration) func() func(*odd, time.Duration, *http.Request) *http.Response {
	return func() func(*odd, time.Duration, *http.Request) *http.Response {
		var stamps []time.Duration
		return func(_ *odd, now time.Duration, _ *http.Request) *http.Response {
			for len(stamps) > 0 && now-stamps[0] >= per {
				stamps = stamps[1:]
			}
			if len(stamps) >= n {
				return refuse(fmt.Sprint(int((stamps[0]+per-now)/time.Second) + 1))
			}
			stamps = append(stamps, now)
			return testkit.Reply(200)
		}
	}
}

// enqueue lets n goroutines wait at l with the ticket that make returns, and tells done when each went.
func enqueue(t *testing.T, wg *sync.WaitGroup, l *belay.Limiter, n int, ticket func() *belay.Ticket, done func()) {
	for range n {
		wg.Go(func() {
			k := ticket()
			if err := l.Acquire(t.Context(), k); err != nil {
				return // the test is over
			}
			done()
			l.Release(k, belay.Outcome{Sent: true})
		})
	}
	synctest.Wait()
}
