package inbox_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/inbox"
	"github.com/belay-go/belay/webhook"
)

const (
	standardSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	otherSecret    = "whsec_plJ3nmyCDGBKInavdOK15jsl"
	plainSecret    = "It's a Secret to Everybody"
	inBody         = "only-the-body-has-this"
	hookURL        = "https://us.example/webhooks/hubspot/one"
)

// box is an Inbox that notes what it gets.
type box struct {
	mu   sync.Mutex
	got  []belay.Delivery
	seen map[string]bool
	err  error
}

func (b *box) Put(_ context.Context, d belay.Delivery) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return false, b.err
	}
	if b.seen == nil {
		b.seen = make(map[string]bool)
	}
	fresh := false
	for _, e := range d.Events {
		fresh = fresh || !b.seen[e.ID]
		b.seen[e.ID] = true
	}
	if fresh {
		b.got = append(b.got, d)
	}
	return fresh, nil
}

// watcher notes what a Receiver or a Worker tells, and writes it to a log.
type watcher struct {
	mu     sync.Mutex
	events []belay.Event
	log    bytes.Buffer
	sink   belay.Observer
}

func newWatcher() *watcher {
	w := &watcher{}
	w.sink = belay.NewLogObserver(slog.New(slog.NewJSONHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	return w
}

func (w *watcher) Observe(ctx context.Context, e belay.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
	w.sink.Observe(ctx, e)
}

func (w *watcher) handled() (all []belay.EventHandled) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		if h, ok := e.(belay.EventHandled); ok {
			all = append(all, h)
		}
	}
	return all
}

func (w *watcher) lines() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Split(strings.TrimRight(w.log.String(), "\n"), "\n")
}

// edwards is a key pair as Discord's are: the private one in hex, and the public one.
func edwards() (private, public string) {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	return hex.EncodeToString(key.Seed()), hex.EncodeToString(key.Public().(ed25519.PublicKey))
}

// verifiers are of all the partners below, each with one integration.
func verifiers(t testing.TB) inbox.Verifiers {
	_, public := edwards()
	big := webhook.Stripe()
	big.MaxBytes = 4 << 20
	all := make(inbox.Verifiers)
	for name, x := range map[string]struct {
		scheme webhook.Scheme
		secret string
	}{
		"standard": {webhook.StandardWebhooks(), standardSecret},
		"stripe":   {big, plainSecret},
		"github":   {webhook.GitHub(), plainSecret},
		"linear":   {webhook.Linear(), plainSecret},
		"slack":    {webhook.Slack(), plainSecret},
		"notion":   {webhook.Notion(), plainSecret},
		"gitlab":   {webhook.GitLabToken(), plainSecret},
		"mailgun":  {webhook.Mailgun(), plainSecret},
		"hubspot":  {webhook.HubSpot(hookURL), plainSecret},
		"discord":  {webhook.Discord(), public},
	} {
		v, err := webhook.NewVerifier(x.scheme, belay.NewSecret(x.secret))
		require.NoError(t, err)
		all[name+"/one"] = v
	}
	return all
}

// Anybody may ask for any endpoint: what is refused before it is known is under nobody's name, so that it fills no metric.
func TestStrangersHaveNoName(t *testing.T) {
	t.Parallel()
	seen := newWatcher()
	rc := &inbox.Receiver{Verifier: verifiers(t).Lookup, Inbox: &box{}, Observers: []belay.Observer{seen}}
	for i := range 100 {
		for _, method := range []string{"POST", "PUT", "GET"} {
			w := httptest.NewRecorder()
			route(rc).ServeHTTP(w, httptest.NewRequest(method, fmt.Sprintf("/webhooks/stranger-%d/x%d", i, i), strings.NewReader("{}")))
			require.GreaterOrEqual(t, w.Code, 400)
		}
	}
	require.Len(t, seen.events, 300)
	for _, e := range seen.events {
		rejected := e.(belay.DeliveryRejected)
		require.Empty(t, rejected.Partner+rejected.Integration)
	}
	require.ErrorIs(t, seen.events[0].(belay.DeliveryRejected).Err, inbox.ErrUnknownIntegration)
	require.ErrorContains(t, seen.events[0].(belay.DeliveryRejected).Err, `"x0" of "stranger-0"`)
}

// route puts a Receiver under the path of its partners.
func route(rc *inbox.Receiver) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/webhooks/{partner}/{integration}", rc)
	return mux
}

// signed is a request of a partner, to its integration "one".
func signed(t testing.TB, s webhook.Scheme, secret string, e belay.WebhookEvent) *http.Request {
	req, err := webhook.SignTest(s, belay.NewSecret(secret), e)
	require.NoError(t, err)
	req.URL.Path = "/webhooks/" + s.Name + "/one"
	return req
}

func standard(t testing.TB, id, data string) *http.Request {
	return signed(t, webhook.StandardWebhooks(), standardSecret, belay.WebhookEvent{ID: id, Data: []byte(data)})
}

// endless is a body without an end.
type endless struct{ n int }

func (e *endless) Read(p []byte) (int, error) {
	e.n += len(p)
	return copy(p, bytes.Repeat([]byte(" "), len(p))), nil
}

const good = `{"type":"contact.updated","x":"` + inBody + `"}`

// Every row of the Receiver's table that is no 2xx: its status, its reason, nothing kept, one event and one line
// of log.
func TestRejected(t *testing.T) {
	t.Parallel()
	type row struct {
		name   string
		status int
		reason string
		req    func(t *testing.T) *http.Request
		change func(*inbox.Receiver) // may be nil
		err    error                 // of the inbox
	}
	std := func(change func(*http.Request)) func(*testing.T) *http.Request {
		return func(t *testing.T) *http.Request {
			req := standard(t, "evt_1", good)
			change(req)
			return req
		}
	}
	of := func(s webhook.Scheme, e belay.WebhookEvent) func(*testing.T) *http.Request {
		return func(t *testing.T) *http.Request { return signed(t, s, plainSecret, e) }
	}
	body := func(data string) func(*testing.T) *http.Request {
		return func(t *testing.T) *http.Request { return standard(t, "evt_1", data) }
	}
	same := func(*http.Request) {}
	rows := []row{
		{
			name:   "unknown integration",
			status: 404,
			reason: "unknown",
			req:    std(func(r *http.Request) { r.URL.Path = "/webhooks/standard/two" }),
		},
		{
			name:   "unknown partner",
			status: 404,
			reason: "unknown",
			req:    std(func(r *http.Request) { r.URL.Path = "/webhooks/nobody/one" }),
		},
		{
			name:   "a path of control characters",
			status: 404,
			reason: "unknown",
			req:    std(func(r *http.Request) { r.URL.Path = "/webhooks/a\nb\x1b[31m/" + strings.Repeat("x", 9999) }),
		},
		{name: "a nil verifier", status: 404, reason: "unknown", req: std(same), change: func(rc *inbox.Receiver) {
			rc.Verifier = func(*http.Request) (*webhook.Verifier, error) { return nil, nil }
		}},
		{name: "too large as announced", status: 413, reason: "size", req: std(func(r *http.Request) {
			r.ContentLength, r.Body = 1<<20+1, io.NopCloser(iotest.ErrReader(errors.New("it is not read")))
		})},
		{name: "too large by one byte", status: 413, reason: "size", req: std(func(r *http.Request) {
			r.ContentLength, r.Body = -1, io.NopCloser(strings.NewReader(strings.Repeat(" ", 1<<20+1)))
		})},
		{
			name:   "without an end",
			status: 413,
			reason: "size",
			req:    std(func(r *http.Request) { r.ContentLength, r.Body = -1, io.NopCloser(&endless{}) }),
		},
		{
			name:   "larger than announced",
			status: 413,
			reason: "size",
			req:    std(func(r *http.Request) { r.ContentLength, r.Body = 10, io.NopCloser(&endless{}) }),
		},
		{
			name:   "a limit of the server's",
			status: 413,
			reason: "size",
			req:    std(func(r *http.Request) { r.Body = http.MaxBytesReader(nil, r.Body, 10) }),
		},

		{name: "too large headers", status: 431, reason: "size", req: std(func(r *http.Request) {
			r.Header["X-Pad"] = []string{strings.Repeat("x", 8<<10), strings.Repeat("x", 8<<10)}
		})},

		{
			name:   "no signature",
			status: 401,
			reason: "unsigned",
			req:    std(func(r *http.Request) { r.Header.Del("webhook-signature") }),
		},
		{
			name:   "an empty signature",
			status: 401,
			reason: "unsigned",
			req:    std(func(r *http.Request) { r.Header.Set("webhook-signature", "") }),
		},
		{
			name:   "no header at all",
			status: 401,
			reason: "unsigned",
			req:    std(func(r *http.Request) { r.Header = http.Header{} }),
		},
		{
			name:   "no body",
			status: 401,
			reason: "signature",
			req:    std(func(r *http.Request) { r.Body, r.ContentLength = nil, 0 }),
		},
		{name: "another's signature", status: 401, reason: "signature", req: func(t *testing.T) *http.Request {
			return signed(t, webhook.StandardWebhooks(), otherSecret, belay.WebhookEvent{Data: []byte(good)})
		}},
		{
			name:   "another body",
			status: 401,
			reason: "signature",
			req:    std(func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader(good + " ")) }),
		},
		{
			name:   "a byte of the body less",
			status: 401,
			reason: "signature",
			req:    std(func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader(good[1:])) }),
		},
		{
			name:   "another id",
			status: 401,
			reason: "signature",
			req:    std(func(r *http.Request) { r.Header.Set("webhook-id", "evt_2") }),
		},
		{name: "no id", status: 401, reason: "signature", req: std(func(r *http.Request) { r.Header.Del("webhook-id") })},
		{
			name:   "an id of 1 MB",
			status: 401,
			reason: "signature",
			req:    std(func(r *http.Request) { r.Header.Set("webhook-id", strings.Repeat("x", 1<<20)) }),
		},
		{
			name:   "malformed signature",
			status: 401,
			reason: "signature",
			req:    std(func(r *http.Request) { r.Header.Set("webhook-signature", "v1,%%%") }),
		},
		{
			name:   "signature of another version",
			status: 401,
			reason: "signature",
			req:    std(func(r *http.Request) { r.Header.Set("webhook-signature", "v2,AAAA") }),
		},
		{
			name:   "1 MB of signature",
			status: 401,
			reason: "signature",
			req:    std(func(r *http.Request) { r.Header.Set("webhook-signature", strings.Repeat("v1,AAAA ", 1<<17)) }),
		},
		{
			name:   "two signature headers",
			status: 401,
			reason: "signature",
			req:    std(func(r *http.Request) { r.Header.Add("webhook-signature", r.Header.Get("webhook-signature")) }),
		},
		{
			name:   "two headers of time",
			status: 401,
			reason: "signature",
			req:    std(func(r *http.Request) { r.Header.Add("webhook-timestamp", r.Header.Get("webhook-timestamp")) }),
		},
		{
			name:   "no time",
			status: 401,
			reason: "signature",
			req:    std(func(r *http.Request) { r.Header.Del("webhook-timestamp") }),
		},
		{
			name:   "a time that is none",
			status: 401,
			reason: "signature",
			req:    std(func(r *http.Request) { r.Header.Set("webhook-timestamp", "now\r\nthen") }),
		},
		{name: "old", status: 401, reason: "old", req: func(t *testing.T) *http.Request {
			return signed(
				t,
				webhook.StandardWebhooks(),
				standardSecret,
				belay.WebhookEvent{Time: time.Now().Add(-time.Hour), Data: []byte(good)},
			)
		}},
		{name: "new", status: 401, reason: "new", req: func(t *testing.T) *http.Request {
			return signed(
				t,
				webhook.StandardWebhooks(),
				standardSecret,
				belay.WebhookEvent{Time: time.Now().Add(time.Hour), Data: []byte(good)},
			)
		}},
		{name: "no token", status: 401, reason: "unsigned", req: func(t *testing.T) *http.Request {
			req := signed(t, webhook.GitLabToken(), plainSecret, belay.WebhookEvent{Data: []byte(good)})
			req.Header.Del("X-Gitlab-Token")
			return req
		}},
		{name: "another token", status: 401, reason: "signature", req: func(t *testing.T) *http.Request {
			return signed(t, webhook.GitLabToken(), "another", belay.WebhookEvent{Data: []byte(good)})
		}},
		{
			name:   "a signature that is to stand in a body that is no JSON",
			status: 401,
			reason: "signature",
			req: func(t *testing.T) *http.Request {
				req := standard(t, "", "a=b")
				req.URL.Path = "/webhooks/mailgun/one"
				return req
			},
		},

		{name: "half an object", status: 400, reason: "malformed", req: body(`{"type":"` + inBody)},
		{name: "more than an object", status: 400, reason: "malformed", req: body(good + `}`)},
		{name: "two objects", status: 400, reason: "malformed", req: body(good + good)},
		{name: "a byte order mark", status: 400, reason: "malformed", req: body("\xef\xbb\xbf" + good)},
		{
			name:   "a number that is none",
			status: 400,
			reason: "malformed",
			req:    body(`{"type":"x","n":01,"x":"` + inBody + `"}`),
		},
		{
			name:   "text that is no JSON by its escapes",
			status: 400,
			reason: "malformed",
			req:    body(`{"type":"x","n":"\x","x":"` + inBody + `"}`),
		},
		{
			name:   "a type of 1 KB",
			status: 400,
			reason: "malformed",
			req:    body(`{"type":"` + strings.Repeat("x", 1024) + `"}`),
		},
		{
			name:   "a type of 900 KB",
			status: 400,
			reason: "malformed",
			req:    body(`{"type":"` + strings.Repeat("x", 900_000) + `"}`),
		},
		{
			name:   "nested a hundred thousand deep",
			status: 400,
			reason: "malformed",
			req:    body(`{"x":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}`),
		},
		{
			name:   "an id of 1 MB in the body",
			status: 400,
			reason: "malformed",
			req:    of(webhook.Stripe(), belay.WebhookEvent{Data: []byte(`{"id":"` + strings.Repeat("x", 1<<20) + `"}`)}),
		},
		{
			name:   "an id of 513 bytes in a header",
			status: 400,
			reason: "malformed",
			req:    of(webhook.GitHub(), belay.WebhookEvent{ID: strings.Repeat("x", 513), Data: []byte(good)}),
		},
		{
			name:   "an id in a header that is no UTF-8",
			status: 400,
			reason: "malformed",
			req:    of(webhook.GitHub(), belay.WebhookEvent{ID: "evt\xff", Data: []byte(good)}),
		},
		{name: "JSON by its header alone", status: 400, reason: "malformed", req: func(t *testing.T) *http.Request {
			req := standard(t, "evt_1", inBody)
			req.Header.Set("Content-Type", "application/json; charset=utf-8")
			return req
		}},
		{
			name:   "one of three that is no JSON",
			status: 400,
			reason: "malformed",
			req: of(
				webhook.HubSpot(hookURL),
				belay.WebhookEvent{Data: []byte(`[{"eventId":1},{"eventId":2,"x":tru},{"eventId":3}]`)},
			),
		},
		{name: "a body that breaks off", status: 400, reason: "unread", req: std(func(r *http.Request) {
			r.Body = io.NopCloser(io.MultiReader(strings.NewReader(inBody), iotest.ErrReader(io.ErrUnexpectedEOF)))
		})},

		{name: "a full inbox", status: 503, reason: "full", req: std(same), err: fmt.Errorf("%w: 7 events", inbox.ErrFull)},
		{name: "a closed inbox", status: 503, reason: "full", req: std(same), err: inbox.ErrClosed},
		{name: "a failing inbox", status: 503, reason: "unstored", req: std(same), err: errors.New("disk")},
		{
			name:   "a verifier that cannot say",
			status: 503,
			reason: "unstored",
			req:    std(same),
			change: func(rc *inbox.Receiver) {
				rc.Verifier = func(*http.Request) (*webhook.Verifier, error) { return nil, errors.New("database") }
			},
		},
		{
			name:   "no verifiers",
			status: 503,
			reason: "unstored",
			req:    std(same),
			change: func(rc *inbox.Receiver) { rc.Verifier = nil },
		},
		{
			name:   "no inbox",
			status: 503,
			reason: "unstored",
			req:    std(same),
			change: func(rc *inbox.Receiver) { rc.Inbox = nil },
		},
	}
	for _, method := range []string{"GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "post", "BREW"} {
		rows = append(
			rows,
			row{name: method, status: 405, reason: "method", req: std(func(r *http.Request) { r.Method = method })},
		)
	}
	all := verifiers(t)
	for _, c := range rows {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			kept, seen := &box{err: c.err}, newWatcher()
			rc := &inbox.Receiver{Verifier: all.Lookup, Inbox: kept, Observers: []belay.Observer{nil, panicky{}, seen}}
			if c.change != nil {
				c.change(rc)
			}
			req := c.req(t)
			sent := slices.Concat(req.Header["Webhook-Signature"], req.Header["X-Gitlab-Token"])
			w := httptest.NewRecorder()
			route(rc).ServeHTTP(w, req)

			require.Equal(t, c.status, w.Code)
			switch c.status {
			case http.StatusMethodNotAllowed:
				require.Equal(t, "POST", w.Header().Get("Allow"))
			case http.StatusServiceUnavailable:
				require.Equal(t, "30", w.Header().Get("Retry-After"))
			case http.StatusRequestEntityTooLarge:
				require.Equal(t, "close", w.Header().Get("Connection"))
			}
			require.Empty(t, kept.got)
			require.Equal(t, inbox.Received{Rejected: map[string]uint64{c.reason: 1}}, rc.Numbers())
			require.Len(t, seen.events, 1)
			e, ok := seen.events[0].(belay.DeliveryRejected)
			require.True(t, ok, "%T", seen.events[0])
			require.Equal(t, c.status, e.Status)
			require.Equal(t, c.reason, e.Reason)
			require.LessOrEqual(t, len(e.Partner)+len(e.Integration), 210)
			require.NotContains(t, e.Partner, "\n")
			lines := seen.lines()
			require.Len(t, lines, 1)
			require.True(t, json.Valid([]byte(lines[0])))
			shown := lines[0] + w.Body.String() + fmt.Sprint(w.Header())
			require.Less(t, len(shown), 2000)
			for _, s := range append(sent, standardSecret, standardSecret[6:], plainSecret, inBody) {
				if s != "" {
					require.NotContains(t, shown, s)
				}
			}
			if e.Err != nil {
				require.NotContains(t, e.Err.Error(), "\n")
			}
		})
	}
}

// panicky is an observer that panics.
type panicky struct{}

func (panicky) Observe(context.Context, belay.Event) { panic("an observer's own trouble") }

func hubSpotEvent(id int) string {
	return fmt.Sprintf(`{"subscriptionId":1,"objectId":2,"occurredAt":1700000000000,"eventId":%d}`, id)
}

// What is taken, and what it is answered with.
func TestTaken(t *testing.T) {
	t.Parallel()
	private, _ := edwards()
	for _, c := range []struct {
		name                 string
		scheme               webhook.Scheme
		secret, data         string
		status               int // of the Receiver
		first, again, events int
	}{
		{"standard", webhook.StandardWebhooks(), standardSecret, good, 0, 202, 200, 1},
		{"stripe", webhook.Stripe(), plainSecret, `{"id":"evt_1","type":"a"}`, 0, 202, 200, 1},
		{"linear", webhook.Linear(), plainSecret, `{"type":"Issue"}`, 0, 200, 200, 1},
		{"discord", webhook.Discord(), private, `{"type":1,"event":{"type":"ENTITLEMENT_CREATE"}}`, 0, 204, 204, 1},
		{"hubspot", webhook.HubSpot(hookURL), plainSecret, `[` + hubSpotEvent(1) + `,` + hubSpotEvent(2) + `]`, 0, 202, 200, 2},
		{"no JSON", webhook.GitHub(), plainSecret, "a=b", 0, 202, 200, 1},
		{"an empty body", webhook.GitHub(), plainSecret, "", 0, 202, 200, 1},
		{"a status of one's own", webhook.StandardWebhooks(), standardSecret, good, 204, 204, 200, 1},
		{"a status that is no 2xx", webhook.StandardWebhooks(), standardSecret, good, 404, 202, 200, 1},
		{"the partner's before one's own", webhook.Linear(), plainSecret, `{"type":"Issue"}`, 202, 200, 200, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			kept, seen := &box{}, newWatcher()
			rc := &inbox.Receiver{
				Verifier:  verifiers(t).Lookup,
				Inbox:     kept,
				Status:    c.status,
				Observers: []belay.Observer{panicky{}, seen},
			}
			at := time.Now() // it is sent again as it was
			for _, want := range []int{c.first, c.again} {
				w := httptest.NewRecorder()
				e := belay.WebhookEvent{ID: "evt_1", Time: at, Data: []byte(c.data)}
				route(rc).ServeHTTP(w, signed(t, c.scheme, c.secret, e))
				require.Equal(t, want, w.Code, w.Body)
				require.Empty(t, w.Body.String())
			}
			require.Len(t, kept.got, 1)
			d := kept.got[0]
			require.Equal(t, c.scheme.Name, d.Partner)
			require.Equal(t, "one", d.Integration)
			require.Len(t, d.Events, c.events)
			require.Equal(t, inbox.Received{Stored: 1, Duplicates: 1, Rejected: map[string]uint64{}}, rc.Numbers())
			require.Len(t, seen.events, 2)
			require.Len(t, seen.lines(), 2)
			for i, stored := range []bool{true, false} {
				e := seen.events[i].(belay.DeliveryReceived)
				require.Equal(t, stored, e.Stored)
				require.Equal(t, c.events, e.Events)
				require.Equal(t, len(d.Body), e.Bytes)
			}
		})
	}
}

// Requests that carry no event are answered, and nothing is kept.
func TestAnswered(t *testing.T) {
	t.Parallel()
	private, _ := edwards()
	for _, c := range []struct {
		name         string
		scheme       webhook.Scheme
		secret, data string
		status       int
		kind, body   string
	}{
		{
			"slack", webhook.Slack(), plainSecret, `{"type":"url_verification","challenge":"3eZbrw1aBm2r"}`,
			200, "text/plain; charset=utf-8", "3eZbrw1aBm2r",
		},
		{
			"slack with markup", webhook.Slack(), plainSecret,
			`{"type":"url_verification","challenge":"<script>"}`, 200, "text/plain; charset=utf-8", "<script>",
		},
		{"discord", webhook.Discord(), private, `{"type":0}`, 204, "", ""},
		{"discord interactions", webhook.Discord(), private, `{"type":1}`, 200, "application/json", `{"type":1}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			kept := &box{err: errors.New("it is not asked")}
			rc := &inbox.Receiver{Verifier: verifiers(t).Lookup, Inbox: kept, MaxReading: int64(len(c.data))}
			for range 3 { // what a body held is given back
				w := httptest.NewRecorder()
				route(rc).ServeHTTP(w, signed(t, c.scheme, c.secret, belay.WebhookEvent{Data: []byte(c.data)}))
				require.Equal(t, c.status, w.Code)
				require.Equal(t, c.kind, w.Header().Get("Content-Type"))
				require.Equal(t, c.body, w.Body.String())
			}
			bad := signed(t, c.scheme, c.secret, belay.WebhookEvent{Data: []byte(c.data)})
			bad.Body = io.NopCloser(strings.NewReader(strings.Replace(c.data, "type", "Type", 1)))
			w := httptest.NewRecorder()
			route(rc).ServeHTTP(w, bad)
			require.Equal(t, http.StatusUnauthorized, w.Code, "one that is not signed is not")
			require.NotContains(t, w.Body.String(), "3eZbrw1aBm2r")
		})
	}
}

// Notion's token comes unsigned and alone; it is taken where it is waited for, and shown nowhere.
func TestVerificationToken(t *testing.T) {
	t.Parallel()
	const token = "secret_tMrlL1qK5vuQAh1b6cZGhFChZTSYJlce98V0pYn7yBl"
	for _, c := range []struct {
		name, body string
		waits      bool
		status     int
	}{
		{"waited for", `{"verification_token":"` + token + `"}`, true, 200},
		{"not waited for", `{"verification_token":"` + token + `"}`, false, 401},
		{"not alone", `{"verification_token":"` + token + `","type":"page.created"}`, true, 401},
		{"empty", `{"verification_token":""}`, true, 401},
		{"no text", `{"verification_token":{"a":"` + token + `"}}`, true, 401},
		{"another field", `{"token":"` + token + `"}`, true, 401},
		{"an array", `["` + token + `"]`, true, 401},
		{"5 KB of it", `{"verification_token":"` + strings.Repeat(token, 100) + `"}`, true, 401},
		{"nothing", ``, true, 401},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			kept, seen := &box{}, newWatcher()
			rc := &inbox.Receiver{
				Verifier: verifiers(t).Lookup, Inbox: kept, Observers: []belay.Observer{seen},
				VerificationToken: func(r *http.Request, token belay.Secret) error {
					require.Equal(t, "one", r.PathValue("integration"))
					if !c.waits {
						return errors.New("not waiting")
					}
					got = append(got, token.Reveal())
					return nil
				},
			}
			w := httptest.NewRecorder()
			route(rc).ServeHTTP(w, httptest.NewRequest("POST", "/webhooks/notion/one", strings.NewReader(c.body)))
			require.Equal(t, c.status, w.Code)
			require.Empty(t, kept.got)
			require.NotContains(t, seen.log.String()+w.Body.String(), token)
			if c.status == 200 {
				require.Equal(t, []string{token}, got)
				return
			}
			require.Empty(t, got)
			require.Len(t, seen.lines(), 1)
			require.Equal(t, map[string]uint64{"unsigned": 1}, rc.Numbers().Rejected)
		})
	}
	rc := &inbox.Receiver{Verifier: verifiers(t).Lookup, Inbox: &box{}}
	w := httptest.NewRecorder()
	route(rc).ServeHTTP(
		w, httptest.NewRequest("POST", "/webhooks/notion/one", strings.NewReader(`{"verification_token":"`+token+`"}`)),
	)
	require.Equal(t, 401, w.Code, "none is taken by who does not ask for one")
	bad := signed(
		t,
		webhook.Notion(),
		"another",
		belay.WebhookEvent{Data: []byte(`{"verification_token":"` + token + `"}`)},
	)
	rc.VerificationToken = func(*http.Request, belay.Secret) error { return nil }
	w = httptest.NewRecorder()
	route(rc).ServeHTTP(w, bad)
	require.Equal(t, 401, w.Code, "nor one that is signed badly")
}

// deadlined is a ResponseWriter whose connection has a deadline for reading, in virtual time.
type deadlined struct {
	*httptest.ResponseRecorder
	until time.Time
	set   []time.Time
}

func (d *deadlined) SetReadDeadline(t time.Time) error {
	d.until = t
	d.set = append(d.set, t)
	return nil
}

// stalled is a body that sends some and no more, until the deadline.
type stalled struct {
	d    *deadlined
	some io.Reader
}

func (s stalled) Read(p []byte) (int, error) {
	if n, err := s.some.Read(p); err == nil {
		return n, nil
	}
	time.Sleep(time.Until(s.d.until))
	return 0, fmt.Errorf("read tcp: %w", os.ErrDeadlineExceeded)
}

// A body that stalls is answered with 408 after ReadTimeout, and the next request has no deadline from it.
func TestSlowBody(t *testing.T) {
	t.Parallel()
	for limit, want := range map[time.Duration]time.Duration{0: 10 * time.Second, 3 * time.Second: 3 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			began, kept, seen := time.Now(), &box{}, newWatcher()
			rc := &inbox.Receiver{
				Verifier:    verifiers(t).Lookup,
				Inbox:       kept,
				ReadTimeout: limit,
				Observers:   []belay.Observer{seen},
			}
			w := &deadlined{ResponseRecorder: httptest.NewRecorder()}
			req := standard(t, "evt_1", good)
			req.Body = io.NopCloser(stalled{w, strings.NewReader(good[:20])})
			route(rc).ServeHTTP(w, req)
			require.Equal(t, http.StatusRequestTimeout, w.Code)
			require.Equal(t, want, time.Since(began))
			require.Equal(t, map[string]uint64{"slow": 1}, rc.Numbers().Rejected)
			require.Empty(t, kept.got)
			require.Len(t, seen.lines(), 1)

			w = &deadlined{ResponseRecorder: httptest.NewRecorder()}
			route(rc).ServeHTTP(w, standard(t, "evt_2", good))
			require.Equal(t, http.StatusAccepted, w.Code)
			require.Equal(t, []time.Time{time.Now().Add(want), {}}, w.set)
		})
	}
	w := &deadlined{ResponseRecorder: httptest.NewRecorder()}
	rc := &inbox.Receiver{Verifier: verifiers(t).Lookup, Inbox: &box{}, ReadTimeout: -1}
	route(rc).ServeHTTP(w, standard(t, "evt_1", good))
	require.Equal(t, http.StatusAccepted, w.Code)
	require.Empty(t, w.set, "a negative timeout sets none")
}

// The same on a connection: a chunk that never ends is cut off, and answered.
func TestSlowBodyOnConnection(t *testing.T) {
	t.Parallel()
	rc := &inbox.Receiver{Verifier: verifiers(t).Lookup, Inbox: &box{}, ReadTimeout: 50 * time.Millisecond}
	server := httptest.NewServer(route(rc))
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	_, err = fmt.Fprintf(
		conn,
		"POST /webhooks/standard/one HTTP/1.1\r\nHost: us.example\r\nWebhook-Signature: v1,x\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n{",
	)
	require.NoError(t, err)
	answer, err := io.ReadAll(conn)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(answer), "HTTP/1.1 408 "), "%.100q", answer)
	require.Equal(t, map[string]uint64{"slow": 1}, rc.Numbers().Rejected)
}

// A body that is too large is read up to the limit and a little more, and the connection is closed.
func TestLargeBodyIsNotRead(t *testing.T) {
	t.Parallel()
	rc := &inbox.Receiver{Verifier: verifiers(t).Lookup, Inbox: &box{}}
	body := &endless{}
	req := standard(t, "evt_1", good)
	req.Body, req.ContentLength = io.NopCloser(body), -1
	route(rc).ServeHTTP(httptest.NewRecorder(), req)
	require.Greater(t, body.n, 1<<20)
	require.Less(t, body.n, 2<<20)
	server := httptest.NewServer(route(rc))
	defer server.Close()
	for _, length := range []string{"Content-Length: 10000000", "Transfer-Encoding: chunked"} {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		require.NoError(t, err)
		require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
		fmt.Fprintf(
			conn,
			"POST /webhooks/standard/one HTTP/1.1\r\nHost: us.example\r\nWebhook-Signature: v1,x\r\n%s\r\n\r\n",
			length,
		)
		chunk := fmt.Sprintf("10000\r\n%s\r\n", strings.Repeat(" ", 1<<16))
		sent := 0
		for ; sent < 200; sent++ { // 13 MB
			if _, err := io.WriteString(conn, chunk); err != nil {
				break
			}
		}
		require.Less(t, sent, 200, "the server has stopped reading")
		require.NoError(t, conn.Close())
	}
	require.EqualValues(t, 3, rc.Numbers().Rejected["size"])
}

// What all bodies together hold is bounded, and given back however a request ends.
func TestMaxReading(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		kept := &box{}
		rc := &inbox.Receiver{
			Verifier:   verifiers(t).Lookup,
			Inbox:      kept,
			MaxReading: 1000,
			RetryAfter: 1500 * time.Millisecond,
		}
		handler := route(rc)
		data := `{"x":"` + strings.Repeat("x", 592) + `"}`
		send := func(req *http.Request) *httptest.ResponseRecorder {
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, req)
			return w
		}
		reader, writer := io.Pipe()
		first := standard(t, "evt_1", data)
		first.Body = reader
		var wg sync.WaitGroup
		wg.Go(func() {
			if w := send(first); w.Code != http.StatusAccepted {
				t.Error(w.Code)
			}
		})
		_, _ = io.WriteString(writer, data[:500])
		synctest.Wait()
		w := send(standard(t, "evt_2", data))
		require.Equal(t, http.StatusServiceUnavailable, w.Code)
		require.Equal(t, "2", w.Header().Get("Retry-After"), "rounded up")
		_, _ = io.WriteString(writer, data[500:])
		_ = writer.Close()
		wg.Wait()
		require.Equal(t, http.StatusAccepted, send(standard(t, "evt_2", data)).Code)

		exact := `{"x":"` + strings.Repeat("x", 992) + `"}` // what may be held at most
		for range 3 {
			bad := standard(t, "", data)
			bad.Header.Del("webhook-signature")
			require.Equal(t, 401, send(bad).Code)
			require.Equal(
				t,
				401,
				send(signed(t, webhook.StandardWebhooks(), otherSecret, belay.WebhookEvent{Data: []byte(data)})).Code,
			)
			require.Equal(t, 400, send(standard(t, "", `{"x":"`)).Code)
			require.Equal(t, 400, send(standard(t, "", exact[:999])).Code)
			large := standard(t, "", data)
			large.ContentLength = 2 << 20
			require.Equal(t, 413, send(large).Code)
			cut := standard(t, "", data)
			cut.Body = io.NopCloser(io.MultiReader(strings.NewReader(data), iotest.ErrReader(io.ErrUnexpectedEOF)))
			require.Equal(t, 400, send(cut).Code)
			kept.err = inbox.ErrFull
			require.Equal(t, 503, send(standard(t, "", exact)).Code)
			kept.err = nil
			require.Equal(t, 202, send(standard(t, "", exact)).Code, "all of it is free again")
			require.Equal(
				t,
				202,
				send(standard(t, "", exact+"    ")).Code,
				"one that is alone may be larger, or it could never be sent",
			)
		}
	})
}

// One integration's secret is no other's, and what is kept says whose it is.
func TestRouting(t *testing.T) {
	t.Parallel()
	one, err := webhook.NewVerifier(webhook.StandardWebhooks(), belay.NewSecret(standardSecret))
	require.NoError(t, err)
	two, err := webhook.NewVerifier(webhook.StandardWebhooks(), belay.NewSecret(otherSecret))
	require.NoError(t, err)
	kept := &box{}
	rc := &inbox.Receiver{
		Verifier: inbox.Verifiers{"acme/one": one, "acme/two": two, "initech/one": two}.Lookup,
		Inbox:    kept,
	}
	status := func(secret, path string) int {
		req := signed(t, webhook.StandardWebhooks(), secret, belay.WebhookEvent{Data: []byte(good)})
		req.URL.Path = path
		w := httptest.NewRecorder()
		route(rc).ServeHTTP(w, req)
		return w.Code
	}
	require.Equal(t, 202, status(standardSecret, "/webhooks/acme/one"))
	require.Equal(t, 202, status(otherSecret, "/webhooks/acme/two"))
	require.Equal(t, 202, status(otherSecret, "/webhooks/initech/one"))
	require.Equal(t, 401, status(otherSecret, "/webhooks/acme/one"))
	require.Equal(t, 401, status(standardSecret, "/webhooks/acme/two"))
	require.Equal(t, 404, status(standardSecret, "/webhooks/initech/two"))
	require.Equal(t, 404, status(standardSecret, "/webhooks/Acme/one"))
	require.Equal(t, 404, status(standardSecret, "/webhooks/acme"))
	require.Equal(t, 404, status(standardSecret, "/webhooks/acme/one/more"))
	var whose []string
	for _, d := range kept.got {
		whose = append(whose, d.Partner+"/"+d.Integration)
	}
	require.Equal(t, []string{"acme/one", "acme/two", "initech/one"}, whose)

	bare := &inbox.Receiver{Verifier: func(*http.Request) (*webhook.Verifier, error) { return one, nil }, Inbox: kept}
	w := httptest.NewRecorder()
	bare.ServeHTTP(w, standard(t, "", good))
	require.Equal(t, 202, w.Code)
	require.Equal(t, "standard", kept.got[3].Partner, "without a pattern it is the scheme's name")
	require.Empty(t, kept.got[3].Integration)
}

// Neither credentials nor signatures are kept.
func TestKeptHeaders(t *testing.T) {
	t.Parallel()
	for _, req := range []*http.Request{
		standard(t, "evt_1", good),
		signed(t, webhook.GitLabToken(), plainSecret, belay.WebhookEvent{ID: "evt_1", Data: []byte(good)}),
		signed(t, webhook.GitHub(), plainSecret, belay.WebhookEvent{ID: "evt_1", Type: "push", Data: []byte(good)}),
		signed(t, webhook.Stripe(), plainSecret, belay.WebhookEvent{Data: []byte(`{"id":"evt_1"}`)}),
		signed(t, webhook.HubSpot(hookURL), plainSecret, belay.WebhookEvent{Data: []byte(`[{"eventId":1}]`)}),
	} {
		const hidden = "keep-me-nowhere"
		for _, name := range []string{
			"Cookie", "Set-Cookie", "Authorization", "Proxy-Authorization",
			"X-Gitlab-Token", "X-Api-Key", "X-Hub-Signature", "X-Hub-Signature-256",
			"Stripe-Signature", "Linear-Signature", "Proxy-Anything", "X-Session-Id", "X-Amz-Security-Token",
		} {
			if req.Header.Get(name) == "" {
				req.Header.Set(name, hidden)
			}
		}
		req.Header.Add("X-Request-Id", "request-1")
		req.Header.Add("X-Many", "a")
		req.Header.Add("X-Many", "b")
		signature := req.Header.Get("webhook-signature") + req.Header.Get("X-HubSpot-Signature-v3")
		kept := &box{}
		w := httptest.NewRecorder()
		route(&inbox.Receiver{Verifier: verifiers(t).Lookup, Inbox: kept}).ServeHTTP(w, req)
		require.Equal(t, 202, w.Code)
		h := kept.got[0].Header
		require.Equal(t, "request-1", h.Get("X-Request-Id"))
		require.Equal(t, []string{"a", "b"}, h["X-Many"])
		require.NotEmpty(t, h.Get("Content-Type"))
		all := fmt.Sprint(h)
		require.NotContains(t, all, hidden)
		require.NotContains(t, all, plainSecret)
		require.NotContains(t, all, "sha256=")
		if signature != "" {
			require.NotContains(t, all, signature)
		}
	}
}

// HubSpot sends its events in arrays, and groups them anew when it sends again: each event is known by itself.
func TestArraysGroupedAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		got := make(map[string]int)
		worker, err := inbox.Start(inbox.NewMemory(), func(_ context.Context, it inbox.Item) error {
			mu.Lock()
			defer mu.Unlock()
			var e struct{ EventID int }
			if err := json.Unmarshal(it.Body, &e); err != nil {
				return err
			}
			got[strconv.Itoa(e.EventID)+" "+it.Type]++
			return nil
		}, inbox.Config{})
		require.NoError(t, err)
		handler := route(&inbox.Receiver{Verifier: verifiers(t).Lookup, Inbox: worker})
		for _, c := range []struct {
			ids    []int
			status int
		}{
			{[]int{1, 2}, 202},
			{[]int{2, 1}, 200},
			{[]int{2, 3}, 202},
			{[]int{1, 2, 3}, 200},
			{[]int{3}, 200},
			{[]int{4, 4}, 202},
			{[]int{4, 5, 1}, 202},
		} {
			var parts []string
			for _, id := range c.ids {
				parts = append(
					parts,
					fmt.Sprintf(
						`{"eventId":%d,"subscriptionId":12,"objectId":34,"occurredAt":1564113600000,"subscriptionType":"contact.creation","attemptNumber":%d}`,
						id,
						len(parts),
					),
				)
			}
			w := httptest.NewRecorder()
			handler.ServeHTTP(
				w,
				signed(
					t,
					webhook.HubSpot(hookURL),
					plainSecret,
					belay.WebhookEvent{Data: []byte("[" + strings.Join(parts, ",") + "]")},
				),
			)
			require.Equal(t, c.status, w.Code, c.ids)
		}
		require.NoError(t, worker.Shutdown(t.Context()))
		require.Equal(
			t,
			map[string]int{
				"1 contact.creation": 1,
				"2 contact.creation": 1,
				"3 contact.creation": 1,
				"4 contact.creation": 1,
				"5 contact.creation": 1,
			},
			got,
		)
		n := worker.Numbers()
		require.Equal(t, []uint64{5, 10}, []uint64{n.Received, n.Duplicates})
	})
}

// Twenty at a time, of which half are forged: the numbers add up.
func TestReceiverConcurrently(t *testing.T) {
	t.Parallel()
	kept, seen := &box{}, newWatcher()
	rc := &inbox.Receiver{Verifier: verifiers(t).Lookup, Inbox: kept, Observers: []belay.Observer{seen}}
	handler := route(rc)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			for k := range 20 {
				req := standard(t, fmt.Sprintf("evt_%d_%d", i, k/2), good)
				if i%2 == 0 {
					req.Header.Set("webhook-signature", "v1,"+base64.StdEncoding.EncodeToString(make([]byte, 32)))
				}
				handler.ServeHTTP(httptest.NewRecorder(), req)
			}
		})
	}
	wg.Wait()
	require.Equal(
		t,
		inbox.Received{Stored: 100, Duplicates: 100, Rejected: map[string]uint64{"signature": 200}},
		rc.Numbers(),
	)
	require.Len(t, kept.got, 100)
	require.Len(t, seen.lines(), 400)
}

// What stalls is answered, whatever the status, and does not hold its connection: with a length announced,
// before the body is looked at, and without a signature.
func TestStalledRequestsEnd(t *testing.T) {
	t.Parallel()
	rc := &inbox.Receiver{Verifier: verifiers(t).Lookup, Inbox: &box{}, ReadTimeout: 50 * time.Millisecond}
	server := httptest.NewServer(route(rc))
	defer server.Close()
	for _, row := range []struct{ line, header, status string }{
		{"POST /webhooks/standard/one", "Webhook-Signature: v1,x\r\n", "408"},
		{"POST /webhooks/standard/one", "", "401"},
		{"POST /webhooks/standard/none", "", "404"},
		{"PUT /webhooks/standard/one", "", "405"},
	} {
		for _, length := range []string{"Content-Length: 100", "Transfer-Encoding: chunked"} {
			conn, err := net.Dial("tcp", server.Listener.Addr().String())
			require.NoError(t, err)
			require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
			_, err = fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: us.example\r\n%s%s\r\n\r\n", row.line, row.header, length)
			require.NoError(t, err)
			answer, err := io.ReadAll(conn) // until it is closed
			require.NoError(t, err)
			require.True(
				t,
				strings.HasPrefix(string(answer), "HTTP/1.1 "+row.status+" "),
				"%s, %s: %.100q",
				row.line,
				length,
				answer,
			)
			require.NoError(t, conn.Close())
		}
	}
}
