package belaytest_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/belaytest"
	"github.com/belay-go/belay/oauth"
)

// A client outlives what becomes of tokens: they end on the way, all at once, and a refresh token is good for once.
func TestTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := belaytest.New(
			belaytest.Config{Tokens: belaytest.Tokens{Path: "/token", Lifetime: time.Minute, Rotate: true}, HonourKeys: true},
		)
		resp, _, err := send(t, p, "GET", "/", "")
		require.NoError(t, err)
		require.Equal(t, 401, resp.StatusCode)
		require.Contains(t, resp.Header.Get("WWW-Authenticate"), "invalid_token")

		app, err := oauth.New(
			oauth.Config{
				ClientID:     "id",
				ClientSecret: belay.NewSecret("secret"),
				TokenURL:     "https://partner.test/token",
				Transport:    p,
			},
		)
		require.NoError(t, err)
		require.NoError(
			t,
			app.Put(
				t.Context(),
				"acme",
				oauth.Token{Access: belay.NewSecret("access-0"), Refresh: belay.NewSecret("refresh-0"), Expiry: time.Now()},
			),
		)
		c, err := belay.New(
			"https://partner.test",
			belay.WithTransport(p),
			belay.WithAuth(app.RefreshToken("acme")),
			belay.WithIdempotencyKeys(""),
		)
		require.NoError(t, err)
		for n := range 10 {
			if n == 5 {
				p.EndTokens()
			}
			_, err := belay.Post[belay.None](t.Context(), c, "/notes", map[string]int{"n": n})
			require.NoError(t, err)
			time.Sleep(20 * time.Second)
		}
		require.Equal(t, 10, p.Writes())
		require.Empty(t, p.WrittenTwice(), "a 401 is no write")
		require.Equal(t, 1+1, p.Count(401), "that without a token, and that of the end")
		asked := 0
		for _, r := range p.Log() {
			if r.Path == "/token" {
				require.Equal(t, 200, r.Status)
				asked++
			}
		}
		require.Greater(t, asked, 3)
		require.LessOrEqual(t, asked, 7)
		for form, says := range map[string]string{
			"":                         "invalid_request",
			"grant_type=refresh_token": "invalid_grant",
			"grant_type=refresh_token&refresh_token=refresh-0": "invalid_grant",
			"grant_type=client_credentials":                    `"expires_in":60`,
			"grant_type=authorization_code&code=x":             `"refresh_token":"refresh-`,
			"%":                                                "invalid_request",
		} {
			_, body, err := send(t, p, "POST", "/token", form)
			require.NoError(t, err)
			require.Contains(t, body, says, form)
		}
	})
}

// What was refused was not done: it is no write, and its key is free. An outage may concern some calls alone,
// and an answer has headers.
func TestRefusalsAreNoWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		p := belaytest.New(belaytest.Config{
			HonourKeys: true,
			Outages: []belaytest.Outage{
				{For: time.Hour, When: func(req *http.Request) bool { return req.URL.Path == "/down" }},
			},
			Answer: func(*http.Request) (int, any) {
				if n++; n == 1 {
					return 422, map[string]string{"message": "not yet"}
				}
				return 201, belaytest.Reply{
					Header: http.Header{"Location": {"/notes/1"}, "Content-Type": {"text/plain"}},
					Body:   []byte("done"),
				}
			},
		})
		for i, want := range []int{422, 201, 201} {
			resp, body, err := send(t, p, "POST", "/notes", "{}", "Idempotency-Key", "k")
			require.NoError(t, err)
			require.Equal(t, want, resp.StatusCode)
			if i > 0 {
				require.Equal(t, "done", body)
				require.Equal(t, "/notes/1", resp.Header.Get("Location"))
				require.Equal(t, "text/plain", resp.Header.Get("Content-Type"))
			}
		}
		require.Equal(t, 2, n, "the third was replayed")
		require.Equal(t, 1, p.Writes())
		require.Empty(t, p.WrittenTwice())
		resp, _, err := send(t, p, "GET", "/down", "")
		require.NoError(t, err)
		require.Equal(t, 503, resp.StatusCode)
	})
}
