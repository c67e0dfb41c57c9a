package oauth_test

import (
	"flag"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/belaytest"
	"github.com/belay-go/belay/oauth"
)

// What records the cassette from a real authorization server (oidc-provider): its address, and a refresh token: make
// cassettes.
var (
	recordFrom    = flag.String("server", "", "record the cassette from this authorization server")
	recordRefresh = flag.String("refresh", "recorded", "a refresh token of the server")
	recordSecret  = flag.String("secret", "recorded", "the client's secret")
)

// What a real authorization server answers: a refresh that rotates the token, a second one by the new token, and the
// refusal of one that was used already.
func TestRecordedServer(t *testing.T) {
	rt := belaytest.Cassette{
		Path: "testdata/cassettes/oidc-provider", Record: *recordFrom != "", Real: redirected(*recordFrom), MaxAge: -1,
		Secrets: []belay.Secret{belay.NewSecret(*recordRefresh), belay.NewSecret(*recordSecret)},
	}.Open(t)
	store := oauth.NewMemoryStore()
	app, err := oauth.New(oauth.Config{
		TokenURL: "https://auth.example/token", ClientID: "body", ClientSecret: belay.NewSecret(*recordSecret), Store: store, Transport: rt,
	})
	require.NoError(t, err)
	defer app.Close()
	first := oauth.Token{Access: belay.NewSecret("old"), Refresh: belay.NewSecret(*recordRefresh), Expiry: time.Now().Add(-time.Minute)}
	require.NoError(t, app.Put(t.Context(), "acme", first))
	var seen []string
	for range 2 {
		_, err := app.RefreshToken("acme").Credential(t.Context())
		require.NoError(t, err)
		got, err := store.Load(t.Context(), "acme")
		require.NoError(t, err)
		require.NotEmpty(t, got.Access.Reveal())
		require.NotEmpty(t, got.Refresh.Reveal())
		require.WithinRange(t, got.Expiry, time.Now(), time.Now().Add(24*time.Hour))
		require.NotContains(t, seen, got.Access.Reveal())
		seen = append(seen, got.Access.Reveal())
		got.Expiry = time.Now().Add(-time.Minute)
		require.NoError(t, app.Put(t.Context(), "acme", got))
	}
	require.NoError(t, app.Put(t.Context(), "acme", first)) // a rotated token, once more
	_, err = app.RefreshToken("acme").Credential(t.Context())
	require.ErrorIs(t, err, belay.ErrAuth)
	var e *belay.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, "invalid_grant", e.Code)
}

// redirected sends requests to another address.
type redirected string

func (to redirected) RoundTrip(req *http.Request) (*http.Response, error) {
	out := req.Clone(req.Context())
	out.URL.Scheme, out.URL.Host, out.Host = "http", string(to), ""
	return (&http.Transport{DisableKeepAlives: true}).RoundTrip(out)
}
