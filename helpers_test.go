package belay_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
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

// diary is an observer that keeps what it is told.
type diary struct {
	mu     sync.Mutex
	events []belay.Event
}

func (d *diary) Observe(_ context.Context, e belay.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.events = append(d.events, e)
}

// kinds returns the kinds of the events so far, without those that are on their way.
func (d *diary) kinds() (kinds []string) {
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range d.events {
		kinds = append(kinds, strings.TrimPrefix(fmt.Sprintf("%T", e), "belay."))
	}
	return kinds
}

// text is all that the events hold.
func (d *diary) text() string {
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	data, _ := json.Marshal(d.events)
	return fmt.Sprintf("%v %+v %#v %s", d.events, d.events, d.events, data)
}

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
		TokenURL: "https://partner.test/token", ClientID: "app", ClientSecret: belay.NewSecret("client-secret"), Transport: rt,
		AuthURL: "https://partner.test/authorize", RedirectURL: "https://us.test/callback",
	}
	for _, f := range change {
		f(&cfg)
	}
	o, err := oauth.New(cfg)
	require.NoError(t, err)
	return o
}
