package oauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
	"github.com/belay-go/belay/oauth"
)

// diary is an observer that keeps the events, but those of tokens that are loaded.
type diary struct{ testkit.Diary[belay.Event] }

func (d *diary) into(cfg *oauth.Config) { cfg.Observer = d }

func (d *diary) Observe(ctx context.Context, e belay.Event) {
	if _, loaded := e.(belay.TokenLoaded); !loaded {
		d.Diary.Observe(ctx, e)
	}
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

// aToken returns one that is stored.
func aToken(access, refresh string, expiry time.Time) oauth.Token {
	return oauth.Token{
		Access:   belay.NewSecret(access),
		Refresh:  belay.NewSecret(refresh),
		Obtained: time.Now(),
		Expiry:   expiry,
	}
}

func past() time.Time { return time.Now().Add(-time.Hour) }

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

func seeded(t *testing.T, o *oauth.App, key string, expiry time.Time) {
	t.Helper()
	require.NoError(t, o.Put(t.Context(), key, oauth.Token{
		Access: belay.NewSecret(
			"access-0-secret",
		), Refresh: belay.NewSecret("refresh-0-secret"), Obtained: time.Now(), Expiry: expiry,
	}))
}

// brokenStore fails as stores do.
type brokenStore struct{ panics bool }

func (b brokenStore) Load(context.Context, string) (oauth.Token, error) {
	return oauth.Token{}, errors.New("disk full")
}

func (b brokenStore) Update(
	context.Context,
	string,
	func(context.Context, oauth.Token) (oauth.Token, error),
) (oauth.Token, error) {
	if b.panics {
		panic("store")
	}
	return oauth.Token{}, errors.New("disk full")
}

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
