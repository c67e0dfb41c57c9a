package oauth_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
	"github.com/belay-go/belay/oauth"
)

// A thousand calls on an expired token make one token request, and the cancel of the first does not end it.
func TestOneRefreshAtATime(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "refresh", func(t *testing.T) {
		i := testkit.NewIssuer(time.Hour)
		o := app(t, i)
		seeded(t, o, "acme", time.Now().Add(-time.Minute))
		c := newClient(t, i, belay.WithAuth(o.RefreshToken("acme")), belay.WithMaxInFlight(1000))
		first, cancel := context.WithCancel(t.Context())
		gone := make(chan error, 1)
		go func() { gone <- get(first, c, "/") }()
		synctest.Wait()
		var wg sync.WaitGroup
		var failed atomic.Int32
		for range 999 {
			wg.Go(func() {
				if get(t.Context(), c, "/") != nil {
					failed.Add(1)
				}
			})
		}
		synctest.Wait()
		cancel()
		require.ErrorIs(t, <-gone, context.Canceled)
		wg.Wait()
		require.Zero(t, failed.Load())
		require.Equal(t, 1, i.Asked())
		require.Equal(t, "refresh_token", i.Requests[0].Get("grant_type"))
		require.Equal(t, "client-secret", i.Requests[0].Get("client_secret"), "in the body, as configured")
		require.Empty(t, i.Headers[0].Get("Authorization"))
	})
}

// A token is refreshed before it expires, while the old one serves: nobody waits for it.
func TestRefreshAhead(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "an hour: five minutes ahead", func(t *testing.T) {
		i := testkit.NewIssuer(time.Hour)
		o := app(t, i)
		c := newClient(t, i, belay.WithAuth(o.ClientCredentials("")))
		require.NoError(t, get(t.Context(), c, "/"))
		require.Equal(t, 1, i.Asked())
		time.Sleep(54 * time.Minute)
		require.NoError(t, get(t.Context(), c, "/"))
		require.Equal(t, 1, i.Asked())
		time.Sleep(90 * time.Second)
		start := time.Now()
		require.NoError(t, get(t.Context(), c, "/"))
		require.Less(t, time.Since(start), 10*time.Millisecond, "the old one serves")
		time.Sleep(time.Second)
		require.Equal(t, 2, i.Asked())
		require.NoError(t, get(t.Context(), c, "/"))
		require.Equal(t, 2, i.Asked())
	})
	testkit.Bubble(t, "a refresh that fails while the old one is good is tried again later", func(t *testing.T) {
		i := testkit.NewIssuer(time.Hour)
		o := app(t, i)
		c := newClient(t, i, belay.WithAuth(o.ClientCredentials("")))
		require.NoError(t, get(t.Context(), c, "/"))
		i.Answers(func(int, url.Values) *http.Response { return testkit.Reply(503) })
		time.Sleep(56 * time.Minute)
		for range 20 {
			require.NoError(t, get(t.Context(), c, "/"))
			time.Sleep(time.Second)
		}
		require.Equal(t, 4, i.Asked(), "three attempts")
		i.Answers(nil)
		time.Sleep(time.Minute)
		require.NoError(t, get(t.Context(), c, "/"))
		time.Sleep(time.Second)
		require.Equal(t, 5, i.Asked())
	})
}

// A 401 drops the token it was made with: one refresh, one more attempt, and a second 401 is final.
func TestRejectedToken(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "a POST too", func(t *testing.T) {
		i := testkit.NewIssuer(time.Hour)
		o := app(t, i)
		c := newClient(t, i, belay.WithAuth(o.RefreshToken("acme")), belay.WithRateLimit(belay.PerHour(1000)))
		seeded(t, o, "acme", time.Now().Add(time.Hour)) // which the partner does not know
		var info belay.Info
		_, err := belay.Post[belay.None](t.Context(), c, "/things", map[string]int{"a": 1}, belay.Into(&info))
		require.NoError(t, err)
		require.Equal(t, 2, info.Attempts)
		require.Equal(t, 1, i.Asked())
		require.Equal(t, 2, c.Limiter().Status().Limits[0].Used, "metered")
		// All tokens end at once: a hundred calls make one more request.
		i.Expire()
		require.Empty(t, testkit.Work(100, 100, func(int) error { return get(t.Context(), c, "/") }))
		require.Equal(t, 2, i.Asked())
	})
	testkit.Bubble(t, "twice is final", func(t *testing.T) {
		i := testkit.NewIssuer(time.Hour)
		i.Answers(func(int, url.Values) *http.Response {
			return testkit.JSONReply(200, map[string]any{"access_token": "unknown-to-the-partner", "refresh_token": "r"})
		})
		o := app(t, i)
		seeded(t, o, "acme", time.Time{})
		c := newClient(t, i, belay.WithAuth(o.RefreshToken("acme")))
		err := get(t.Context(), c, "/")
		require.ErrorIs(t, err, belay.ErrAuth)
		require.Equal(t, 2, i.Calls)
		require.Equal(t, 1, i.Asked())
	})
	testkit.Bubble(t, "no refresh token, as at Attio", func(t *testing.T) {
		i := testkit.NewIssuer(time.Hour)
		o := app(t, i)
		require.NoError(t, o.Put(t.Context(), "acme", oauth.Token{Access: belay.NewSecret("for-ever")}))
		i.Access["for-ever"] = time.Time{}
		c := newClient(t, i, belay.WithAuth(o.RefreshToken("acme")))
		time.Sleep(1000 * time.Hour)
		require.NoError(t, get(t.Context(), c, "/"))
		i.Expire()
		err := get(t.Context(), c, "/")
		require.ErrorIs(t, err, belay.ErrAuth)
		require.ErrorContains(t, err, "connect again")
		require.Zero(t, i.Asked())
	})
}

// A 401 that a new token does not mend is no reason to ask for more of them: of a route that the token's scopes
// do not cover, and while the partner refuses everybody. Other calls go on with the token meanwhile.
func TestRefusedWhateverTheToken(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "one route", func(t *testing.T) {
		i := testkit.NewIssuer(100 * time.Hour)
		o := app(t, i)
		c := newClient(t, i, belay.WithAuth(o.RefreshToken("acme")))
		seeded(t, o, "acme", time.Now().Add(-time.Hour))
		i.Refuse = func(req *http.Request) bool { return req.URL.Path == "/admin" }
		for range 600 {
			require.ErrorIs(t, get(t.Context(), c, "/admin"), belay.ErrAuth)
			require.NoError(t, get(t.Context(), c, "/"))
			time.Sleep(time.Second)
		}
		require.Equal(t, 3, i.Asked(), "the first token, one for a 401, one more after five minutes")
		require.Equal(t, 600+2+600, i.Calls)
	})
	for name, opts := range map[string]func(a belay.Authenticator) []belay.Option{
		"rotating": func(a belay.Authenticator) []belay.Option {
			r, err := belay.NewRotating(a)
			require.NoError(t, err)
			return []belay.Option{belay.WithAuth(r)}
		},
		"without retries": func(a belay.Authenticator) []belay.Option {
			return []belay.Option{belay.WithAuth(a), belay.Without(belay.LayerRetry)}
		},
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			i := testkit.NewIssuer(100 * time.Hour)
			o := app(t, i)
			c := newClient(t, i, opts(o.RefreshToken("acme"))...)
			seeded(t, o, "acme", time.Now().Add(-time.Hour))
			i.Refuse = func(req *http.Request) bool { return req.URL.Path == "/admin" }
			for range 240 {
				require.ErrorIs(t, get(t.Context(), c, "/admin"), belay.ErrAuth)
				time.Sleep(time.Second)
			}
			require.Equal(t, 2, i.Asked())
			require.NoError(t, get(t.Context(), c, "/"))
		})
	}
	testkit.Bubble(t, "the partner's bad hours", func(t *testing.T) {
		i := testkit.NewIssuer(100 * time.Hour)
		o := app(t, i)
		c := newClient(t, i, belay.WithAuth(o.ClientCredentials("")))
		require.NoError(t, get(t.Context(), c, "/"))
		i.Refuse = func(*http.Request) bool { return true }
		for minute := range 10 * 60 {
			if minute == 60 {
				require.Equal(t, 1+4, i.Asked(), "at once, after 5, 15 and 35 minutes")
			}
			require.Len(t, testkit.Work(10, 10, func(int) error { return get(t.Context(), c, "/") }), 10)
			time.Sleep(time.Minute)
		}
		require.LessOrEqual(t, i.Asked(), 1+23, "after 5, 10 and 20 minutes, then every half hour")
		require.Greater(t, i.Asked(), 15)
		i.Refuse = nil
		require.NoError(t, get(t.Context(), c, "/"))
		time.Sleep(3 * time.Hour)
		i.Expire()
		require.NoError(t, get(t.Context(), c, "/"), "a 401 that a new token mends")
		asked := i.Asked()
		i.Refuse = func(*http.Request) bool { return true }
		for range 12 {
			require.ErrorIs(t, get(t.Context(), c, "/"), belay.ErrAuth)
			time.Sleep(time.Minute)
		}
		require.Equal(t, asked+2, i.Asked(), "other bad hours begin anew")
	})
	testkit.Bubble(t, "no refresh token", func(t *testing.T) {
		i := testkit.NewIssuer(time.Hour)
		revoked := 0
		o := app(t, i, func(cfg *oauth.Config) {
			cfg.Observer = belay.ObserverFunc(func(_ context.Context, e belay.Event) {
				if _, ok := e.(belay.TokenRevoked); ok {
					revoked++
				}
			})
		})
		require.NoError(t, o.Put(t.Context(), "acme", oauth.Token{Access: belay.NewSecret("for-ever")}))
		i.Access["for-ever"] = time.Time{}
		c := newClient(t, i, belay.WithAuth(o.RefreshToken("acme")))
		i.Refuse = func(*http.Request) bool { return true }
		for range 60 {
			require.ErrorContains(t, get(t.Context(), c, "/"), "connect again")
			time.Sleep(10 * time.Second)
		}
		require.LessOrEqual(t, i.Calls, 25, "it is tried now and then")
		synctest.Wait()
		require.Equal(t, 1, revoked, "told once")
		i.Refuse = nil
		time.Sleep(30 * time.Second)
		require.NoError(t, get(t.Context(), c, "/"), "it was the partner after all")
		time.Sleep(time.Hour)
		i.Expire()
		require.ErrorIs(t, get(t.Context(), c, "/"), belay.ErrAuth)
		synctest.Wait()
		require.Equal(t, 2, revoked, "this time it is")
		for range 24 * 60 {
			require.ErrorIs(t, get(t.Context(), c, "/"), belay.ErrAuth)
			time.Sleep(time.Minute)
		}
		synctest.Wait()
		require.Equal(t, 2, revoked, "told once")
	})
}

// The app's own credentials, refused from the first: told once, and asked for again after an hour.
func TestOwnCredentialsRefused(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "invalid_client", func(t *testing.T) {
		i := testkit.NewIssuer(time.Hour)
		i.Answers(func(int, url.Values) *http.Response {
			return testkit.JSONReply(401, map[string]string{"error": "invalid_client"})
		})
		revoked := 0
		o := app(t, i, func(cfg *oauth.Config) {
			cfg.Observer = belay.ObserverFunc(func(_ context.Context, e belay.Event) {
				if _, ok := e.(belay.TokenRevoked); ok {
					revoked++
				}
			})
		})
		c := newClient(t, i, belay.WithAuth(o.ClientCredentials("")))
		for range 50 {
			require.ErrorIs(t, get(t.Context(), c, "/"), belay.ErrAuth)
			time.Sleep(time.Minute)
		}
		synctest.Wait()
		require.Equal(t, 1, i.Asked())
		require.Equal(t, 1, revoked)
	})
}

// Observers are told of a token that was not got here: of the one that the store has as a process begins, of one that
// another process has got, of one that is put there, and of its end.
func TestTokenLoaded(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "", func(t *testing.T) {
		i, store := testkit.NewIssuer(time.Hour), oauth.NewMemoryStore()
		var loaded [2][]belay.TokenLoaded
		process := func(n int) *oauth.App {
			return app(t, i, func(cfg *oauth.Config) {
				cfg.Store = store
				cfg.Observer = belay.ObserverFunc(func(_ context.Context, e belay.Event) {
					if e, ok := e.(belay.TokenLoaded); ok {
						loaded[n] = append(loaded[n], e)
					}
				})
			})
		}
		a, b := process(0), process(1)
		began := time.Now()
		i.Access["access-0-secret"] = time.Time{}
		require.NoError(t, a.Put(t.Context(), "acme", oauth.Token{
			Access: belay.NewSecret("access-0-secret"), Refresh: belay.NewSecret("refresh-0-secret"), Obtained: began,
			Expiry: began.Add(time.Hour), Extra: map[string]belay.Secret{"refresh_token_expires_in": belay.NewSecret("864000")},
		}))
		ten := began.Add(10 * 24 * time.Hour)
		require.Equal(t, []belay.TokenLoaded{{
			Partner: "partner.test", Integration: "acme", Obtained: began, Expiry: began.Add(time.Hour), RefreshExpiry: ten,
		}}, loaded[0])
		use := func(o *oauth.App) {
			require.NoError(t, get(t.Context(), newClient(t, i, belay.WithAuth(o.RefreshToken("acme"))), "/"))
			time.Sleep(10 * time.Second) // the partner answers a refresh a little later
			synctest.Wait()
		}
		use(b)
		require.Equal(t, loaded[0], loaded[1], "as the process begins")
		use(b)
		require.Len(t, loaded[1], 1, "once")
		time.Sleep(57 * time.Minute)
		use(a)
		use(a) // refreshes, and tells so by another event
		require.Equal(t, 1, i.Asked())
		require.Equal(t, loaded[0][0], loaded[0][len(loaded[0])-1], "no other one")
		use(b)
		require.Len(t, loaded[1], 2, "another process has got one")
		require.True(t, loaded[1][1].Expiry.After(began.Add(90*time.Minute)))
		require.NoError(t, b.Forget(t.Context(), "acme"))
		require.Equal(t, belay.TokenLoaded{Partner: "partner.test", Integration: "acme"}, loaded[1][2])
	})
}

// A grant that was refused for good is not asked for again, until there is another.
func TestDeadGrant(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "invalid_grant", func(t *testing.T) {
		i := testkit.NewIssuer(time.Hour)
		i.Revoked = true
		var events []string
		o := app(t, i, func(cfg *oauth.Config) {
			cfg.Observer = belay.ObserverFunc(
				func(_ context.Context, e belay.Event) { events = append(events, fmt.Sprintf("%T %+v", e, e)) },
			)
		})
		seeded(t, o, "acme", time.Now().Add(-time.Hour))
		c := newClient(t, i, belay.WithAuth(o.RefreshToken("acme")))
		for range 100 {
			err := get(t.Context(), c, "/")
			require.ErrorIs(t, err, belay.ErrAuth)
			require.ErrorContains(t, err, "acme")
			require.ErrorContains(t, err, "connect again")
			require.NotContains(t, fmt.Sprintf("%+v %#v", err, err), "secret")
			time.Sleep(time.Minute)
		}
		require.Equal(t, 1, i.Asked(), "not hammered")
		require.Zero(t, i.Calls)
		synctest.Wait()
		require.Len(t, events, 2)
		require.Contains(t, events[0], "TokenLoaded")
		require.Contains(t, events[1], "TokenRevoked")
		require.NotContains(t, strings.Join(events, ""), "refresh-0-secret")
		// The customer connects again.
		i.Mu.Lock()
		i.Revoked = false
		i.Mu.Unlock()
		seeded(t, o, "acme", time.Now().Add(-time.Hour))
		require.NoError(t, get(t.Context(), c, "/"))
		require.Equal(t, 2, i.Asked())
		synctest.Wait()
		require.Contains(t, events[len(events)-1], "TokenRefreshed")
	})
}

// A grant that is refused ahead of the token's end is news, and calls go on with the token until it ends.
func TestDeadGrantWhileTheTokenIsGood(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "revoked", func(t *testing.T) {
		i := testkit.NewIssuer(time.Hour)
		var log bytes.Buffer
		o := app(
			t,
			i,
			func(cfg *oauth.Config) { cfg.Observer = belay.NewLogObserver(slog.New(slog.NewTextHandler(&log, nil))) },
		)
		seeded(t, o, "acme", time.Now())
		c := newClient(t, i, belay.WithAuth(o.RefreshToken("acme")))
		require.NoError(t, get(t.Context(), c, "/"))
		i.Mu.Lock()
		i.Revoked = true
		i.Mu.Unlock()
		time.Sleep(56 * time.Minute)
		for range 8 {
			require.NoError(t, get(t.Context(), c, "/"))
			time.Sleep(29 * time.Second)
		}
		require.Equal(t, 2, i.Asked())
		time.Sleep(time.Minute)
		require.ErrorIs(t, get(t.Context(), c, "/"), belay.ErrAuth)
		require.Equal(t, 2, i.Asked())
		synctest.Wait()
		require.Equal(
			t,
			1,
			strings.Count(log.String(), `msg="belay: token revoked" partner=partner.test integration=acme last_worked=2000`),
			log.String(),
		)
		require.Contains(t, log.String(), `action="the grant has expired or was revoked: ask the customer to connect again`)
		require.Contains(t, log.String(), `msg="belay: token refreshed" partner=partner.test integration=acme expiry=2000`)
	})
}

// A refusal that is not the grammar's may come from something in between: it is asked again, ever more rarely.
func TestOddRefusalIsAskedAgain(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "404", func(t *testing.T) {
		i := testkit.NewIssuer(time.Hour)
		i.Answers(func(int, url.Values) *http.Response { return testkit.Reply(404) })
		o := app(t, i)
		seeded(t, o, "acme", time.Now().Add(-time.Hour))
		c := newClient(t, i, belay.WithAuth(o.RefreshToken("acme")))
		for range 3600 {
			err := get(t.Context(), c, "/")
			require.ErrorIs(t, err, belay.ErrAuth)
			require.NotErrorIs(t, err, belay.ErrNotFound, "of the thing that was called for nothing is known")
			require.ErrorContains(t, err, "check TokenURL")
			time.Sleep(time.Second)
		}
		require.LessOrEqual(t, i.Asked(), 21)
		i.Answers(nil)
		time.Sleep(5 * time.Minute)
		require.NoError(t, get(t.Context(), c, "/"))
	})
}

// Scopes go to the page of consent and to the token endpoint, with what the partner wants between them.
func TestScopeSeparator(t *testing.T) {
	t.Parallel()
	for separator, want := range map[string]string{"": "a b", ",": "a,b"} {
		testkit.Bubble(t, want, func(t *testing.T) {
			i := testkit.NewIssuer(time.Hour)
			scopes := []string{"a", "b"}
			o := app(t, i, func(cfg *oauth.Config) { cfg.Scopes, cfg.ScopeSeparator = scopes, separator })
			scopes[0] = "changed"
			consent, err := o.AuthCodeURL(nil)
			require.NoError(t, err)
			u, err := url.Parse(consent.URL)
			require.NoError(t, err)
			require.Equal(t, want, u.Query().Get("scope"))
			require.NoError(t, get(t.Context(), newClient(t, i, belay.WithAuth(o.ClientCredentials(""))), "/"))
			require.Equal(t, want, i.Requests[0].Get("scope"))
		})
	}
}

// The authorization code grant: state and PKCE, and every way that it can fail.
func TestExchange(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "code", func(t *testing.T) {
		i := testkit.NewIssuer(time.Hour)
		o := app(t, i, func(cfg *oauth.Config) {
			cfg.Style, cfg.Scopes, cfg.Params = oauth.StyleHeader, []string{"a", "b"}, url.Values{"audience": {"x"}}
		})
		consent, err := o.AuthCodeURL(url.Values{"access_type": {"offline"}})
		require.NoError(t, err)
		u, err := url.Parse(consent.URL)
		require.NoError(t, err)
		q := u.Query()
		require.Equal(
			t,
			[]string{"code", "S256", "a b", "offline", consent.State},
			[]string{
				q.Get("response_type"),
				q.Get("code_challenge_method"),
				q.Get("scope"),
				q.Get("access_type"),
				q.Get("state"),
			},
		)
		require.NotContains(t, consent.URL, consent.Verifier.Reveal())
		require.NotContains(t, fmt.Sprintf("%+v", consent), consent.Verifier.Reveal())
		for _, bad := range []url.Values{
			{"state": {"other"}, "code": {"c"}},
			{"code": {"c"}},
			{"state": {consent.State}},
			{"state": {consent.State}, "error": {"access_denied"}, "error_description": {"the user said no"}},
		} {
			require.ErrorIs(t, o.Exchange(t.Context(), "acme", consent, bad), belay.ErrAuth, bad)
		}
		require.Zero(t, i.Asked())
		require.NoError(
			t,
			o.Exchange(t.Context(), "acme", consent, url.Values{"state": {consent.State}, "code": {"the-code"}}),
		)
		form := i.Requests[0]
		require.Equal(
			t,
			[]string{"authorization_code", "the-code", consent.Verifier.Reveal(), "x"},
			[]string{form.Get("grant_type"), form.Get("code"), form.Get("code_verifier"), form.Get("audience")},
		)
		require.Empty(t, form.Get("client_secret"), "in the header, as configured")
		require.NotEmpty(t, i.Headers[0].Get("Authorization"))
		require.NoError(t, get(t.Context(), newClient(t, i, belay.WithAuth(o.RefreshToken("acme"))), "/"))
		// And the refresh with parameters of its own.
		i.Expire()
		require.NoError(t, get(t.Context(), newClient(t, i, belay.WithAuth(o.RefreshToken("acme"))), "/"))
		require.Equal(t, "x", i.Requests[1].Get("audience"))
		require.Equal(t, []string{"refresh_token"}, i.Requests[1]["grant_type"])
		require.NotContains(t, i.Requests[1], "code")
		require.NotContains(t, i.Requests[1], "scope", "that of the grant")
		require.Equal(t, "refresh-1-secret", i.Requests[1].Get("refresh_token"))
	})
}

// Whatever a token endpoint answers, the error is typed, names the integration and what to do, comes in time, holds no
// secret, and the stored token stays.
func TestTokenEndpointAnswers(t *testing.T) {
	t.Parallel()
	text := func(status int, contentType, body string) *http.Response {
		resp := testkit.Reply(status, "Content-Type", contentType)
		resp.Body = io.NopCloser(strings.NewReader(body))
		return resp
	}
	for _, c := range []struct {
		name   string
		answer func() *http.Response
		is     error
		class  belay.Class
		says   string
	}{
		{
			"HTML", func() *http.Response { return text(200, "text/html", "<html>login client-secret</html>") },
			belay.ErrData, belay.ClassData, "no token",
		},
		{
			"empty JSON", func() *http.Response { return text(200, "application/json", "{}") },
			belay.ErrData, belay.ClassData, "no token",
		},
		{
			"no access_token", func() *http.Response { return text(200, "application/json", `{"token_type":"bearer"}`) },
			belay.ErrData, belay.ClassData, "no token",
		},
		{
			"a line break", func() *http.Response { return text(200, "application/json", `{"access_token":"a\nb"}`) },
			belay.ErrData, belay.ClassData, "control character",
		},
		{"200 with an error", func() *http.Response {
			return text(
				200, "application/json", `{"error":"bad_verification_code","error_description":"refresh-0-secret is bad"}`,
			)
		}, belay.ErrAuth, belay.ClassAuth, "begin the consent again"},
		{
			"200 with an error nobody knows", func() *http.Response { return text(200, "application/json", `{"error":"oops"}`) },
			belay.ErrAuth, belay.ClassAuth, "oops",
		},
		{
			"invalid_client", func() *http.Response { return text(401, "application/json", `{"error":"invalid_client"}`) },
			belay.ErrAuth, belay.ClassAuth, "client id",
		},
		{
			"unauthorized_client",
			func() *http.Response { return text(400, "application/json", `{"error":"unauthorized_client"}`) },
			belay.ErrAuth, belay.ClassAuth, "may not use this grant",
		},
		{"HubSpot's", func() *http.Response {
			return text(400, "application/json", `{"status":"BAD_REFRESH_TOKEN","message":"missing or invalid refresh token"}`)
		}, belay.ErrAuth, belay.ClassAuth, "refresh token"},
		{"a redirect", func() *http.Response {
			r := text(302, "text/plain", "")
			r.Header.Set("Location", "https://evil.test/")
			return r
		}, belay.ErrAuth, belay.ClassAuth, "redirects"},
		{
			"500", func() *http.Response { return text(500, "text/plain", "refresh-0-secret") },
			belay.ErrTransient, belay.ClassTransient, "500",
		},
		{
			"429", func() *http.Response { return testkit.Reply(429, "Retry-After", "3600") },
			belay.ErrRateLimited, belay.ClassRateLimited, "429",
		},
		{"without end", func() *http.Response {
			r := testkit.Reply(200, "Content-Type", "application/json")
			r.Body = io.NopCloser(testkit.Endless{})
			return r
		}, belay.ErrData, belay.ClassData, "no token"},
	} {
		testkit.Bubble(t, c.name, func(t *testing.T) {
			i := testkit.NewIssuer(time.Hour)
			i.Answers(func(int, url.Values) *http.Response { return c.answer() })
			store := oauth.NewMemoryStore()
			o := app(t, i, func(cfg *oauth.Config) { cfg.Store = store })
			seeded(t, o, "acme", time.Now().Add(-time.Hour))
			start := time.Now()
			err := get(
				t.Context(),
				newClient(t, i, belay.WithAuth(o.RefreshToken("acme")), belay.WithRetry(belay.RetryPolicy{MaxAttempts: 1})),
				"/",
			)
			require.ErrorIs(t, err, c.is)
			var e *belay.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, c.class, e.Class)
			require.Equal(t, "acme", e.Integration)
			require.ErrorContains(t, err, c.says)
			require.NotContains(t, fmt.Sprintf("%v %+v %#v", err, err, e), "-secret")
			require.Less(t, time.Since(start), time.Minute)
			kept, err := store.Load(t.Context(), "acme")
			require.NoError(t, err)
			require.Equal(t, "refresh-0-secret", kept.Refresh.Reveal())
		})
	}
	testkit.Bubble(t, "never", func(t *testing.T) {
		hang := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
			<-req.Context().Done()
			return nil, req.Context().Err()
		})
		o := app(t, hang, func(cfg *oauth.Config) { cfg.Timeout = 5 * time.Second })
		seeded(t, o, "acme", time.Now().Add(-time.Hour))
		start := time.Now()
		err := get(
			t.Context(),
			newClient(t, hang, belay.WithAuth(o.RefreshToken("acme")), belay.WithRetry(belay.RetryPolicy{MaxAttempts: 1})),
			"/",
		)
		require.ErrorIs(t, err, belay.ErrTransient)
		require.ErrorContains(t, err, "in time")
		require.Less(t, time.Since(start), 21*time.Second)
	})
}

// The lifetime in every shape that partners send it.
func TestExpiresIn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		answer string
		again  bool // refreshed after two hours
	}{
		{`{"access_token":"a","expires_in":3600}`, true},
		{`{"access_token":"a","expires_in":"3600"}`, true},
		{`{"access_token":"a","expires_in":0}`, false},
		{`{"access_token":"a","expires_in":null}`, false},
		{`{"access_token":"a"}`, false},
		{`{"access_token":"a","expires_in":-5}`, false},
		{`{"access_token":"a","expires_in":99999999999}`, false},
		{`{"access_token":"a","expires_at":"2000-01-01T01:00:00Z"}`, true},
		{`{"access_token":"a","expires_at":"2000-01-01T03:00:00.5+02:00"}`, true},
		{`{"access_token":"a","expires_at":946688400}`, true},
		{`{"access_token":"a","expires_at":"946688400"}`, true},
		{`{"access_token":"a","expires_at":9.466884e8}`, true},
		{`{"access_token":"a","expires_at":"2000-01-01T01:00:00Z","expires_in":86400}`, false},
		{`{"access_token":"a","expires_at":"1999-12-31T23:00:00Z"}`, false},
		{`{"access_token":"a","expires_at":3600}`, false},
		{`{"access_token":"a","expires_at":946688400000}`, false},
		{`{"access_token":"a","expires_at":1e999}`, false},
		{`{"access_token":"a","expires_at":"soon"}`, false},
		{`{"access_token":"a","expires_at":{}}`, false},
	} {
		testkit.Bubble(t, c.answer, func(t *testing.T) {
			i := testkit.NewIssuer(time.Hour)
			i.Access["a"] = time.Time{}
			i.Answers(func(int, url.Values) *http.Response {
				resp := testkit.Reply(200, "Content-Type", "application/json")
				resp.Body = io.NopCloser(strings.NewReader(c.answer))
				return resp
			})
			client := newClient(t, i, belay.WithAuth(app(t, i).ClientCredentials("")))
			require.NoError(t, get(t.Context(), client, "/"))
			time.Sleep(2 * time.Hour)
			require.NoError(t, get(t.Context(), client, "/"))
			require.Equal(t, c.again, i.Asked() == 2)
		})
	}
}

// A token endpoint that allows five requests a day gets no more, and the call says when to come back.
func TestTokenLimits(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "Guesty", func(t *testing.T) {
		i := testkit.NewIssuer(24 * time.Hour)
		o := app(t, i, func(cfg *oauth.Config) { cfg.Limits = []belay.Limit{belay.PerDay(5)} })
		c := newClient(t, i, belay.WithAuth(o.ClientCredentials("")), belay.WithTimeout(time.Minute))
		for range 5 {
			require.NoError(t, get(t.Context(), c, "/"))
			i.Expire()
		}
		err := get(t.Context(), c, "/")
		require.ErrorIs(t, err, belay.ErrUnavailable)
		require.Equal(t, 5, i.Asked())
		wait, ok := belay.RetryAfter(err)
		require.True(t, ok)
		require.InDelta(t, 24, wait.Hours(), 0.1)
	})
}

func TestOAuth2BadInput(t *testing.T) {
	t.Parallel()
	_, err := oauth.New(
		oauth.Config{
			TokenURL:     "http://partner.test/token",
			Timeout:      -1,
			Style:        9,
			AuthURL:      "::",
			Limits:       []belay.Limit{belay.PerDay(0)},
			ClientSecret: belay.NewSecret("a\n"),
		},
	)
	for _, field := range []string{
		"TokenURL is http://partner.test", "ClientID is empty",
		"Timeout is -1ns", "Style is 9", "AuthURL", "Limits", "ClientSecret",
	} {
		require.ErrorContains(t, err, field)
	}
	require.ErrorIs(t, err, belay.ErrInvalid)
	o, err := oauth.New(oauth.Config{TokenURL: "http://localhost/token", ClientID: "x"})
	require.NoError(t, err)
	_, err = o.AuthCodeURL(nil)
	require.ErrorIs(t, err, belay.ErrInvalid)
	_, err = belay.New("https://partner.test", belay.WithAuth(o.RefreshToken("")))
	require.ErrorContains(t, err, "key is empty")
	_ = o.RefreshToken("a")
	_, err = belay.New("https://partner.test", belay.WithAuth(o.ClientCredentials("a")))
	require.ErrorContains(t, err, "another grant")
	require.ErrorIs(t, o.Put(t.Context(), "a", oauth.Token{}), belay.ErrInvalid)
	require.ErrorIs(t, o.Exchange(t.Context(), "a", oauth.Consent{}, nil), belay.ErrInvalid)
	var none *oauth.App
	require.ErrorIs(t, none.Put(t.Context(), "a", oauth.Token{}), belay.ErrInvalid)
	_, err = none.RefreshToken("a").Credential(t.Context())
	require.ErrorIs(t, err, belay.ErrInvalid)
	_, err = none.ClientCredentials("").Credential(t.Context())
	require.ErrorIs(t, err, belay.ErrInvalid)
}

func TestBrokenStore(t *testing.T) {
	t.Parallel()
	for _, panics := range []bool{false, true} {
		testkit.Bubble(t, fmt.Sprint(panics), func(t *testing.T) {
			i := testkit.NewIssuer(time.Hour)
			o := app(t, i, func(cfg *oauth.Config) { cfg.Store = brokenStore{panics} })
			err := get(
				t.Context(),
				newClient(t, i, belay.WithAuth(o.ClientCredentials("")), belay.WithRetry(belay.RetryPolicy{MaxAttempts: 1})),
				"/",
			)
			require.ErrorIs(t, err, belay.ErrTransient)
			require.ErrorContains(t, err, "token store")
			require.Zero(t, i.Asked(), "a token that cannot be kept is not asked for")
		})
	}
}

// A credential that a client holds follows every Put and Forget, as often as a customer connects again.
func TestHeldCredentialFollowsForget(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "connect, disconnect, connect", func(t *testing.T) {
		i := testkit.NewIssuer(time.Hour)
		o := app(t, i)
		held := o.RefreshToken("acme")
		c := newClient(t, i, belay.WithAuth(held))
		for n := range 3 {
			access := fmt.Sprintf("token-%d", n)
			i.Access[access] = time.Time{}
			require.NoError(t, o.Put(t.Context(), "acme", oauth.Token{Access: belay.NewSecret(access)}))
			require.NoError(t, get(t.Context(), c, "/"))
			require.Equal(t, "Bearer "+access, authorization(t, held))
			require.NoError(t, o.Forget(t.Context(), "acme"))
			for range 3 {
				require.ErrorIs(t, get(t.Context(), c, "/"), belay.ErrAuth)
				time.Sleep(time.Hour)
			}
		}
	})
}

// Nothing that a user holds prints a token, by any verb, also after the partner has rejected it.
func TestNothingPrintsARejectedToken(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "rejected", func(t *testing.T) {
		i := testkit.NewIssuer(time.Hour)
		o := app(t, i)
		seeded(t, o, "acme", time.Time{})
		i.Answers(func(int, url.Values) *http.Response { return testkit.Reply(503) })
		held := o.RefreshToken("acme")
		rotating, err := belay.NewRotating(held)
		require.NoError(t, err)
		var attempts []string
		c := newClient(t, i, belay.WithAuth(rotating), belay.WithClassifier(func(a *belay.Attempt) belay.Verdict {
			attempts = append(attempts, testkit.Verbs(a)+testkit.Verbs(*a))
			return belay.Classify(a)
		}))
		cred, err := held.Credential(t.Context())
		require.NoError(t, err)
		require.Error(t, get(t.Context(), c, "/"))
		require.NotEmpty(t, attempts)
		for name, v := range map[string]any{
			"app": o, "authenticator": held, "rotating": rotating, "client": c, "credential": cred,
			"attempts": attempts,
		} {
			text := testkit.Verbs(v)
			for _, secret := range []string{"access-0-secret", "refresh-0-secret", "client-secret"} {
				require.NotContains(t, text, secret, name)
				require.NotContains(t, text, hex.EncodeToString([]byte(secret)), name)
				require.NotContains(t, text, fmt.Sprint([]byte(secret)), name)
			}
		}
	})
}

// An error of New is one line, and the app's name is the endpoint's host, as a client's is.
func TestNewNamesEachFault(t *testing.T) {
	t.Parallel()
	_, err := oauth.New(oauth.Config{})
	require.ErrorIs(t, err, belay.ErrInvalid)
	require.EqualError(t, err, "belay: oauth.New: Config.TokenURL is empty; Config.ClientID is empty")
	_, err = oauth.New(oauth.Config{TokenURL: "/token", ClientID: "app"})
	require.EqualError(t, err, `belay: oauth.New: Config.TokenURL is not the URL of an endpoint`)
	testkit.Bubble(t, "name", func(t *testing.T) {
		down := testkit.RoundTrip(func(*http.Request) (*http.Response, error) { return testkit.Reply(400), nil })
		o := app(t, down, func(cfg *oauth.Config) { cfg.TokenURL = "https://partner.test:8443/token" })
		_, err := o.ClientCredentials("").Credential(t.Context())
		var e *belay.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, "partner.test", e.Partner)
	})
}
