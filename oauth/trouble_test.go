package oauth_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime"
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

// Trouble that passes does not end a grant, and tells nothing of the thing that was called for.
func TestPassingTroubleDoesNotEndAGrant(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func() *http.Response{
		"403 of a firewall":    func() *http.Response { return testkit.Raw(403, "text/html", "<html>blocked") },
		"403 with Retry-After": func() *http.Response { return testkit.Reply(403, "Retry-After", "5") },
		"404":                  func() *http.Response { return testkit.Raw(404, "text/html", "not found") },
		"302":                  func() *http.Response { return testkit.Reply(302, "Location", "https://status.test") },
		"400 temporarily_unavailable": func() *http.Response {
			return testkit.JSONReply(400, map[string]string{"error": "temporarily_unavailable"})
		},
		"200 internal_error": func() *http.Response {
			return testkit.JSONReply(200, map[string]any{"ok": false, "error": "internal_error"})
		},
		"200 ratelimited": func() *http.Response {
			return testkit.JSONReply(200, map[string]any{"ok": false, "error": "ratelimited"})
		},
		"425": func() *http.Response { return testkit.Reply(425) },
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			i, d := testkit.NewIssuer(time.Hour), &diary{}
			i.Answers(func(int, url.Values) *http.Response { return answer() })
			o := app(t, i, d.into)
			seeded(t, o, "acme", past())
			c := newClient(t, i, belay.WithAuth(o.RefreshToken("acme")))
			err := get(t.Context(), c, "/", belay.MaxAttempts(1))
			var e *belay.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, "acme", e.Integration)
			require.NotEmpty(t, e.Message)
			for _, not := range []error{belay.ErrNotFound, belay.ErrInvalid, belay.ErrConflict, belay.ErrForbidden} {
				require.NotErrorIs(t, err, not)
			}
			says := strings.Contains(name, "_") || strings.Contains(name, "limited") || strings.Contains(name, "425") ||
				strings.Contains(name, "After")
			require.Equal(t, says, errors.Is(err, belay.ErrUnavailable), "it says that it passes: %v", err)
			i.Answers(nil)
			time.Sleep(10 * time.Minute)
			require.NoError(t, get(t.Context(), c, "/"))
			require.Equal(t, []string{"TokenRefreshFailed", "TokenRefreshed"}, d.Kinds())
			require.Zero(t, i.Reused)
		})
	}
}

// failsOnce is a store that fails to keep the second thing it is to keep.
type failsOnce struct {
	*oauth.MemoryStore
	n int
}

func (s *failsOnce) Update(
	ctx context.Context,
	key string,
	f func(context.Context, oauth.Token) (oauth.Token, error),
) (oauth.Token, error) {
	return s.MemoryStore.Update(ctx, key, func(ctx context.Context, have oauth.Token) (oauth.Token, error) {
		t, err := f(ctx, have)
		if s.n++; s.n == 2 && err == nil {
			return t, errors.New("connection lost")
		}
		return t, err
	})
}

// A token that could not be kept is kept by the next flight, and the refresh token that was spent for it is not
// sent again.
func TestTokenThatCouldNotBeKept(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "commit", func(t *testing.T) {
		i, d, store := testkit.NewIssuer(time.Hour), &diary{}, &failsOnce{MemoryStore: oauth.NewMemoryStore()}
		o := app(t, i, d.into, func(cfg *oauth.Config) { cfg.Store = store })
		seeded(t, o, "acme", past())
		c := newClient(t, i, belay.WithAuth(o.RefreshToken("acme")))
		err := get(t.Context(), c, "/", belay.MaxAttempts(1))
		require.ErrorIs(t, err, belay.ErrTransient)
		require.ErrorContains(t, err, "connection lost")
		time.Sleep(time.Minute)
		require.NoError(t, get(t.Context(), c, "/", belay.MaxAttempts(1)))
		require.Equal(t, 1, i.Asked())
		kept, err := store.Load(t.Context(), "acme")
		require.NoError(t, err)
		require.Equal(t, "access-1-secret refresh-1-secret", kept.Access.Reveal()+" "+kept.Refresh.Reveal())
		require.Equal(t, []string{"TokenRefreshFailed", "TokenRefreshed"}, d.Kinds())
		time.Sleep(2 * time.Hour)
		require.NoError(t, get(t.Context(), c, "/"))
		require.Zero(t, i.Reused)
	})
	testkit.Bubble(t, "one call outlasts it", func(t *testing.T) {
		i := testkit.NewIssuer(time.Hour)
		o := app(t, i, func(cfg *oauth.Config) { cfg.Store = &failsOnce{MemoryStore: oauth.NewMemoryStore()} })
		seeded(t, o, "acme", past())
		require.NoError(t, get(t.Context(), newClient(t, i, belay.WithAuth(o.RefreshToken("acme"))), "/"))
		require.Equal(t, 1, i.Asked())
	})
}

// A long secret is taken out before a text is cut, so that no part of it is shown.
func TestLongSecretsAreNotShownInPart(t *testing.T) {
	t.Parallel()
	jwt := "eyJhbGciOiJSUzI1NiJ9." + strings.Repeat("Abcdefghij0123456789", 60)
	for name, answer := range map[string]func(said string) *http.Response{
		"error_description": func(said string) *http.Response {
			return testkit.JSONReply(400, map[string]string{"error": "invalid_grant", "error_description": "unknown: " + said})
		},
		"message": func(said string) *http.Response {
			return testkit.JSONReply(400, map[string]string{"status": "BAD_REFRESH_TOKEN", "message": "unknown: " + said})
		},
		"message of a 500": func(said string) *http.Response {
			return testkit.JSONReply(500, map[string]string{"message": "unknown: " + said})
		},
		"error": func(said string) *http.Response { return testkit.JSONReply(400, map[string]string{"error": said}) },
		"code":  func(said string) *http.Response { return testkit.JSONReply(400, map[string]string{"code": said}) },
		"X-Request-Id": func(said string) *http.Response {
			return testkit.Reply(500, "X-Request-Id", "for "+said)
		},
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			d := &diary{}
			s := &server{
				token: func(_ int, form url.Values, _ http.Header) *http.Response { return answer(form.Get("refresh_token")) },
			}
			o := app(t, s, d.into)
			require.NoError(t, o.Put(t.Context(), "acme", aToken("x", jwt, past())))
			err := get(t.Context(), newClient(t, s, belay.WithAuth(o.RefreshToken("acme"))), "/")
			require.Error(t, err)
			require.NotEmpty(t, s.forms)
			require.NotContains(t, shown(err)+d.Text(), jwt[:20])
		})
	}
	for _, status := range []int{200, 404, 500} {
		testkit.Bubble(t, fmt.Sprint("X-Request-Id of the API, ", status), func(t *testing.T) {
			d := &diary{}
			rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
				r := testkit.JSONReply(status, map[string]string{"request_id": "for " + req.Header.Get("Authorization")})
				r.Header.Set("X-Request-Id", "for "+req.Header.Get("Authorization"))
				return r, nil
			})
			var info belay.Info
			c := newClient(t, rt, belay.WithAuth(belay.Bearer(belay.NewSecret(jwt))), belay.WithObserver(d))
			err := get(t.Context(), c, "/", belay.Into(&info))
			require.Equal(t, status != 200, err != nil)
			require.NotContains(t, shown(err)+d.Text()+info.RequestID, jwt[:20])
			require.Contains(t, info.RequestID, "for ")
		})
	}
}

// A token endpoint in trouble is not hammered by a worker that calls in a loop.
func TestTroubledEndpointIsNotHammered(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		answer func() *http.Response
		is     error
		most   int // token requests in a minute
	}{
		{
			"429 for an hour", func() *http.Response { return testkit.Reply(429, "Retry-After", "3600") },
			belay.ErrRateLimited, 1,
		},
		{"200 HTML", func() *http.Response { return testkit.Raw(200, "text/html", "<html>") }, belay.ErrData, 7},
		{"503", func() *http.Response { return testkit.Reply(503) }, belay.ErrTransient, 18},
	} {
		testkit.Bubble(t, c.name, func(t *testing.T) {
			i := testkit.NewIssuer(time.Hour)
			i.Answers(func(int, url.Values) *http.Response { return c.answer() })
			o := app(t, i)
			seeded(t, o, "acme", past())
			client := newClient(t, i, belay.WithAuth(o.RefreshToken("acme")))
			var inAMinute atomic.Int32
			time.AfterFunc(time.Minute, func() { inAMinute.Store(int32(i.Asked())) })
			for start := time.Now(); time.Since(start) <= time.Minute; time.Sleep(100 * time.Millisecond) {
				err := get(t.Context(), client, "/")
				require.ErrorIs(t, err, c.is)
				if wait, _ := belay.RetryAfter(err); c.is == belay.ErrRateLimited {
					require.InDelta(t, time.Hour-time.Since(start), wait, float64(time.Second))
				}
			}
			require.LessOrEqual(t, int(inAMinute.Load()), c.most)
			require.Positive(t, inAMinute.Load())
			require.Zero(t, i.Calls)
		})
	}
}

// A 401 drops the token also where the call cannot be sent again: the next call has another.
func TestTokenIsDroppedWithoutASecondAttempt(t *testing.T) {
	t.Parallel()
	for name, option := range map[string]belay.Option{
		"a body that is read once": belay.WithName("partner"),
		"without retries":          belay.Without(belay.LayerRetry),
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			i := testkit.NewIssuer(time.Hour)
			o := app(t, i)
			seeded(t, o, "acme", time.Time{}) // which the partner does not know
			c := newClient(t, i, belay.WithAuth(o.RefreshToken("acme")), option)
			call := func() error {
				_, err := belay.Post[belay.None](
					t.Context(),
					c,
					"/up",
					belay.ReaderBody("text/plain", io.LimitReader(strings.NewReader("x"), 1)),
				)
				return err
			}
			require.ErrorIs(t, call(), belay.ErrAuth)
			require.Equal(t, 1, i.Calls)
			require.NoError(t, call())
			require.Equal(t, 1, i.Asked())
			require.Equal(t, 2, i.Calls)
		})
	}
}

// slowStore lets go of the lock first, and returns later.
type slowStore struct {
	*oauth.MemoryStore
	slow int // the Update that is
	mu   sync.Mutex
	n    int
}

func (s *slowStore) Update(
	ctx context.Context,
	key string,
	f func(context.Context, oauth.Token) (oauth.Token, error),
) (oauth.Token, error) {
	s.mu.Lock()
	s.n++
	n := s.n
	s.mu.Unlock()
	t, err := s.MemoryStore.Update(ctx, key, f)
	if n == s.slow {
		time.Sleep(100 * time.Millisecond)
	}
	return t, err
}

// What was stored last is in use, whichever Update returns last.
func TestPutDuringAFlight(t *testing.T) {
	t.Parallel()
	setup := func(t *testing.T, slow int) (*testkit.Issuer, *diary, *oauth.App, *slowStore) {
		i, d, store := testkit.NewIssuer(time.Hour), &diary{}, &slowStore{MemoryStore: oauth.NewMemoryStore(), slow: slow}
		return i, d, app(t, i, d.into, func(cfg *oauth.Config) { cfg.Store = store }), store
	}
	// begin makes a flight that has let go of the store, and has not landed.
	begin := func(t *testing.T, src belay.Authenticator) (landed chan error) {
		landed = make(chan error, 1)
		go func() {
			_, err := src.Credential(t.Context())
			landed <- err
		}()
		time.Sleep(250 * time.Millisecond)
		return landed
	}
	testkit.Bubble(t, "a flight that succeeds", func(t *testing.T) {
		i, _, o, store := setup(t, 2)
		src := o.RefreshToken("acme")
		seeded(t, o, "acme", past())
		landed := begin(t, src)
		require.NoError(t, o.Put(t.Context(), "acme", aToken("from-put", "r", time.Time{})))
		require.NoError(t, <-landed)
		require.Equal(t, "Bearer from-put", authorization(t, src))
		kept, err := store.Load(t.Context(), "acme")
		require.NoError(t, err)
		require.Equal(t, "from-put", kept.Access.Reveal())
		require.Equal(t, 1, i.Asked())
	})
	testkit.Bubble(t, "a flight that is refused", func(t *testing.T) {
		i, d, o, _ := setup(t, 2)
		i.Revoked = true
		src := o.RefreshToken("acme")
		seeded(t, o, "acme", past())
		landed := begin(t, src)
		require.NoError(t, o.Put(t.Context(), "acme", aToken("from-put", "r", time.Time{})))
		require.NoError(t, <-landed)
		require.Equal(t, "Bearer from-put", authorization(t, src))
		require.Empty(t, d.Kinds())
		require.Equal(t, 1, i.Asked())
	})
	testkit.Bubble(t, "a flight that is refused, and a token that is to be refreshed", func(t *testing.T) {
		i, d, o, _ := setup(t, 2)
		i.Revoked = true
		src := o.RefreshToken("acme")
		seeded(t, o, "acme", past())
		landed := begin(t, src)
		i.Mu.Lock()
		i.Revoked, i.Refresh = false, "r"
		i.Mu.Unlock()
		require.NoError(t, o.Put(t.Context(), "acme", aToken("from-put", "r", past())))
		<-landed
		require.Equal(t, "Bearer access-2-secret", authorization(t, src))
		require.Equal(t, []string{"TokenRefreshed"}, d.Kinds())
	})
	testkit.Bubble(t, "two at once", func(t *testing.T) {
		_, _, o, store := setup(t, 1)
		src := o.RefreshToken("acme")
		first := make(chan error, 1)
		go func() { first <- o.Put(t.Context(), "acme", aToken("first", "r", time.Time{})) }()
		synctest.Wait()
		require.NoError(t, o.Put(t.Context(), "acme", aToken("second", "r", time.Time{})))
		require.NoError(t, <-first)
		kept, err := store.Load(t.Context(), "acme")
		require.NoError(t, err)
		require.Equal(t, "second", kept.Access.Reveal())
		require.Equal(t, "Bearer second", authorization(t, src))
	})
}

// A token that ends while its call waits in the queue is renewed when its turn has come, and which it keeps.
func TestTokenEndsInLine(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "line", func(t *testing.T) {
		i := testkit.NewIssuer(time.Minute)
		c := newClient(
			t,
			i,
			belay.WithAuth(app(t, i).ClientCredentials("")),
			belay.WithRateLimit(belay.Every(1, 2*time.Minute)),
		)
		start := time.Now()
		require.Empty(t, testkit.Work(5, 5, func(int) error { return get(t.Context(), c, "/") }))
		require.Equal(t, 5, i.Calls)
		require.Less(t, time.Since(start), 8*time.Minute+2*time.Second, "one permit each")
	})
}

// What a token endpoint answers says nothing of the thing that was called for, by whatever way.
func TestTokenEndpointsStatusIsNotTheCalls(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status int
		is     error
	}{{400, belay.ErrInvalid}, {404, belay.ErrNotFound}, {409, belay.ErrConflict}} {
		for _, code := range []string{"invalid_grant", "odd"} {
			for _, how := range []string{"expired", "after a 401", "transport", "code"} {
				testkit.Bubble(t, fmt.Sprint(c.status, code, how), func(t *testing.T) {
					i := testkit.NewIssuer(time.Hour)
					i.Answers(func(int, url.Values) *http.Response {
						return testkit.JSONReply(c.status, map[string]string{"error": code})
					})
					o := app(t, i)
					expiry := past()
					if how == "after a 401" {
						expiry = time.Time{}
					}
					seeded(t, o, "acme", expiry)
					client := newClient(t, i, belay.WithAuth(o.RefreshToken("acme")))
					var err error
					switch how {
					case "transport":
						_, err = client.HTTPClient().Get("https://partner.test/records/1")
					case "code":
						consent, cerr := o.AuthCodeURL(nil)
						require.NoError(t, cerr)
						err = o.Exchange(t.Context(), "acme", consent, url.Values{"state": {consent.State}, "code": {"c"}})
					default:
						err = get(t.Context(), client, "/records/1")
					}
					require.ErrorIs(t, err, belay.ErrAuth)
					require.NotErrorIs(t, err, c.is)
					require.Equal(t, 1, i.Asked())
					var e *belay.Error
					require.ErrorAs(t, err, &e)
					require.NotEqual(t, c.status, e.StatusCode)
					var answer *oauth.Error
					require.ErrorAs(t, err, &answer)
					require.Equal(t, c.status, answer.StatusCode)
				})
			}
		}
	}
}

// A secret that comes back in another writing is taken out too.
func TestSecretsInOtherWritings(t *testing.T) {
	t.Parallel()
	const secret = `re+fresh/sec"ret<&>=`
	basic := base64.StdEncoding.EncodeToString([]byte("app:client-secret"))
	inJSON, err := json.Marshal(map[string]string{"refresh_token": secret})
	require.NoError(t, err)
	for name, c := range map[string]struct{ said, hides string }{
		"as it is":              {secret, secret},
		"percent":               {url.QueryEscape(secret), "re%2Bfresh"},
		"percent in lower case": {"re%2bfresh%2fsec%22ret%3c%26%3e%3d", "re%2bfresh"},
		"base64": {
			base64.StdEncoding.EncodeToString([]byte(secret)), base64.StdEncoding.EncodeToString([]byte(secret))[:20],
		},
		"base64 for URLs, no padding": {
			base64.RawURLEncoding.EncodeToString([]byte(secret)), base64.RawURLEncoding.EncodeToString([]byte(secret))[:20],
		},
		"Basic":                   {"Basic " + basic, basic},
		"JSON in JSON":            {string(inJSON), "fresh/sec"},
		"HTML":                    {"re+fresh/sec&#34;ret&lt;&amp;&gt;=", "fresh/sec"},
		"the client's":            {"client-secret", "client-secret"},
		"one that was handed out": {"brand-new-access-token and brand-new-refresh-token", "brand-new"},
	} {
		for _, style := range []oauth.Style{oauth.StyleBody, oauth.StyleHeader} {
			for _, status := range []int{400, 500} {
				testkit.Bubble(t, fmt.Sprint(name, style, status), func(t *testing.T) {
					d := &diary{}
					s := &server{token: func(_ int, form url.Values, h http.Header) *http.Response {
						require.Equal(t, secret, form.Get("refresh_token"))
						if style == oauth.StyleHeader {
							require.Equal(t, "Basic "+basic, h.Get("Authorization"))
						}
						return testkit.JSONReply(status, map[string]string{
							"error": "invalid_grant", "error_description": "got " + c.said + " there",
							"access_token": "brand-new-access-token", "refresh_token": "brand-new-refresh-token",
						})
					}}
					o := app(t, s, d.into, func(cfg *oauth.Config) { cfg.Style = style })
					require.NoError(t, o.Put(t.Context(), "acme", aToken("x", secret, past())))
					err := get(t.Context(), newClient(t, s, belay.WithAuth(o.RefreshToken("acme"))), "/")
					require.ErrorContains(t, err, "got ")
					require.ErrorContains(t, err, "REDACTED")
					require.NotContains(t, shown(err)+d.Text(), c.hides)
				})
			}
		}
	}
}

// lockFor holds the lock of a key for d, beside the test.
func lockFor(t *testing.T, store oauth.Store, key string, d time.Duration) {
	go func() {
		_, _ = store.Update(t.Context(), key, func(ctx context.Context, have oauth.Token) (oauth.Token, error) {
			select {
			case <-time.After(d):
			case <-ctx.Done():
			}
			return have, nil
		})
	}()
	synctest.Wait()
}

// A refresh is not begun where too little time is left to keep what it brings, and that is trouble, not the
// caller's cancel.
func TestStoreIsLockedForLong(t *testing.T) {
	t.Parallel()
	setup := func(t *testing.T, held time.Duration) (*testkit.Issuer, func() error) {
		i, store := testkit.NewIssuer(time.Hour), oauth.NewMemoryStore()
		o := app(t, i, func(cfg *oauth.Config) { cfg.Store, cfg.Timeout = store, time.Second })
		seeded(t, o, "acme", past())
		lockFor(t, store, "acme", held)
		c := newClient(t, i, belay.WithAuth(o.RefreshToken("acme")))
		return i, func() error { return get(t.Context(), c, "/", belay.MaxAttempts(1)) }
	}
	for _, held := range []time.Duration{4500 * time.Millisecond, 10 * time.Second} { // of a flight's six seconds
		testkit.Bubble(t, held.String(), func(t *testing.T) {
			i, call := setup(t, held)
			err := call()
			require.ErrorIs(t, err, belay.ErrTransient)
			require.ErrorContains(t, err, "token store")
			require.NotErrorIs(t, err, context.Canceled)
			require.NotErrorIs(t, err, context.DeadlineExceeded, "the caller has none")
			require.Zero(t, i.Asked())
			time.Sleep(time.Minute)
			require.NoError(t, call())
			require.Equal(t, 1, i.Asked())
		})
	}
	testkit.Bubble(t, "enough is left", func(t *testing.T) {
		i, call := setup(t, 3500*time.Millisecond)
		require.NoError(t, call())
		require.Equal(t, 1, i.Asked())
	})
}

// torn ends before its end.
type torn struct{ r io.Reader }

func (b torn) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// An answer that breaks off is trouble on the way: the request is repeated.
func TestTokenAnswerBreaksOff(t *testing.T) {
	t.Parallel()
	for _, status := range []int{200, 503} {
		testkit.Bubble(t, fmt.Sprint(status), func(t *testing.T) {
			i := testkit.NewIssuer(time.Hour)
			i.Answers(func(n int, _ url.Values) *http.Response {
				if n > 1 {
					return nil
				}
				r := testkit.Reply(status, "Content-Type", "application/json")
				r.Body = io.NopCloser(torn{strings.NewReader(`{"access_token":"a`)})
				return r
			})
			c := newClient(t, i, belay.WithAuth(app(t, i).ClientCredentials("")))
			require.NoError(t, get(t.Context(), c, "/", belay.MaxAttempts(1)))
			require.Equal(t, 2, i.Asked())
		})
	}
}

// Patience and attempts outlast an outage of the token endpoint, for a POST too, as nothing was sent.
func TestOutageOfTheTokenEndpoint(t *testing.T) {
	t.Parallel()
	for name, option := range map[string]belay.CallOption{
		"patience": belay.Patience(10 * time.Minute),
		"attempts": belay.MaxAttempts(10),
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			testkit.Bubble(t, name+method, func(t *testing.T) {
				i := testkit.NewIssuer(time.Hour)
				start := time.Now()
				i.Answers(func(int, url.Values) *http.Response {
					if time.Since(start) < time.Minute {
						return testkit.Reply(503)
					}
					return nil
				})
				c := newClient(t, i, belay.WithAuth(app(t, i).ClientCredentials("")))
				_, err := belay.Send[belay.None](t.Context(), c, method, "/", nil, option)
				require.NoError(t, err)
				require.Equal(t, 1, i.Calls)
				require.Less(t, time.Since(start), 3*time.Minute)
			})
		}
	}
}

// Each death of a grant is told, and the next grant is not told to be dead for the one before.
func TestTwoDeaths(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "deaths", func(t *testing.T) {
		i, d, store := testkit.NewIssuer(time.Hour), &diary{}, oauth.NewMemoryStore()
		i.Revoked = true
		share := func(cfg *oauth.Config) { cfg.Store = store }
		o, other := app(t, i, d.into, share), app(t, i, share) // which is another process
		seeded(t, o, "acme", past())
		c := newClient(t, i, belay.WithAuth(o.RefreshToken("acme")))
		require.ErrorContains(t, get(t.Context(), c, "/"), "invalid_grant")
		require.Equal(t, []string{"TokenRevoked"}, d.Kinds())
		time.Sleep(time.Minute)
		require.NoError(t, other.Put(t.Context(), "acme", aToken("second", "second-refresh", past())))
		require.ErrorContains(t, get(t.Context(), c, "/"), "invalid_grant")
		require.Equal(t, []string{"TokenRevoked", "TokenRevoked"}, d.Kinds())
		require.Equal(t, 2, i.Asked())
		i.Answers(func(int, url.Values) *http.Response { return testkit.Reply(503) })
		require.NoError(t, other.Put(t.Context(), "acme", aToken("third", "third-refresh", past())))
		time.Sleep(time.Minute)
		for range 3 {
			err := get(t.Context(), c, "/", belay.MaxAttempts(1))
			require.ErrorIs(t, err, belay.ErrTransient)
			require.NotErrorIs(t, err, belay.ErrAuth)
			require.NotContains(t, err.Error(), "invalid_grant")
		}
		i.Answers(nil)
		i.Mu.Lock()
		i.Revoked, i.Refresh = false, "third-refresh"
		i.Mu.Unlock()
		time.Sleep(time.Minute)
		require.NoError(t, get(t.Context(), c, "/"))
	})
}

// Parameters of several values are sent with all of them, and those of the grant are not taken from outside.
func TestParameters(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "several values", func(t *testing.T) {
		i := testkit.NewIssuer(time.Hour)
		o := app(t, i, func(cfg *oauth.Config) { cfg.Params = url.Values{"resource": {"a", "b"}} })
		consent, err := o.AuthCodeURL(url.Values{"resource": {"a", "b"}, "prompt": {"x"}})
		require.NoError(t, err)
		u, err := url.Parse(consent.URL)
		require.NoError(t, err)
		require.Equal(t, []string{"a", "b"}, u.Query()["resource"])
		require.NoError(t, o.Exchange(t.Context(), "acme", consent, url.Values{"state": {consent.State}, "code": {"c"}}))
		i.Expire()
		require.NoError(t, get(t.Context(), newClient(t, i, belay.WithAuth(o.RefreshToken("acme"))), "/"))
		require.Equal(t, 2, i.Asked())
		for _, form := range i.Requests {
			require.Equal(t, []string{"a", "b"}, form["resource"])
		}
		for _, name := range []string{
			"state", "client_id", "redirect_uri", "response_type", "code_challenge", "code_challenge_method",
		} {
			_, err := o.AuthCodeURL(url.Values{name: {"mine"}})
			require.ErrorIs(t, err, belay.ErrInvalid)
			require.ErrorContains(t, err, fmt.Sprintf("%q", name))
		}
	})
	for _, name := range []string{"client_id", "client_secret", "code", "code_verifier", "redirect_uri", "refresh_token"} {
		_, err := oauth.New(
			oauth.Config{TokenURL: "https://partner.test/token", ClientID: "app", Params: url.Values{name: {"value"}}},
		)
		require.ErrorIs(t, err, belay.ErrInvalid)
		require.ErrorContains(t, err, fmt.Sprintf("%q", name))
		require.NotContains(t, err.Error(), "value")
	}
	_, err := oauth.New(
		oauth.Config{
			TokenURL: "https://partner.test/token",
			ClientID: "app",
			Scopes:   []string{"a"},
			Params:   url.Values{"scope": {"b"}},
		},
	)
	require.ErrorContains(t, err, "beside Scopes")
}

// forgetful is a store that returns something else than it was given.
type forgetful struct {
	*oauth.MemoryStore
	returns oauth.Token
}

func (s forgetful) Update(
	ctx context.Context,
	key string,
	f func(context.Context, oauth.Token) (oauth.Token, error),
) (oauth.Token, error) {
	_, err := s.MemoryStore.Update(ctx, key, f)
	return s.returns, err
}

// A store that returns no token, or one that cannot be sent, is at fault, and nothing is sent.
func TestStoreReturnsABadToken(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string]oauth.Token{
		"none":                {},
		"a line break":        {Access: belay.NewSecret("a\nX-Evil: 1")},
		"a type of two words": {Access: belay.NewSecret("a"), Type: "a b"},
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			i := testkit.NewIssuer(time.Hour)
			o := app(t, i, func(cfg *oauth.Config) { cfg.Store = forgetful{oauth.NewMemoryStore(), bad} })
			err := get(t.Context(), newClient(t, i, belay.WithAuth(o.ClientCredentials(""))), "/", belay.MaxAttempts(1))
			var e *belay.Error
			require.ErrorAs(t, err, &e)
			require.ErrorContains(t, err, "token store")
			require.ErrorIs(t, err, belay.ErrTransient)
			require.Zero(t, i.Calls)
		})
	}
}

// exits is a store whose first Update ends its goroutine.
type exits struct {
	*oauth.MemoryStore
	n int
}

func (s *exits) Update(
	ctx context.Context,
	key string,
	f func(context.Context, oauth.Token) (oauth.Token, error),
) (oauth.Token, error) {
	if s.n++; s.n == 1 {
		runtime.Goexit()
	}
	return s.MemoryStore.Update(ctx, key, f)
}

// A transport or store that panics or ends its goroutine strands nobody, and holds no place at the token endpoint.
func TestFlightLandsWhateverHappens(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(){"exit": runtime.Goexit, "panic": func() { panic("refresh-0-secret") }} {
		testkit.Bubble(t, "transport: "+name, func(t *testing.T) {
			i := testkit.NewIssuer(time.Hour)
			n := 0
			rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
				if n++; n == 1 {
					end()
				}
				return i.RoundTrip(req)
			})
			src := app(t, rt, func(cfg *oauth.Config) { cfg.Limits = []belay.Limit{belay.PerSecond(1)} }).ClientCredentials("")
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err := src.Credential(ctx)
			require.ErrorIs(t, err, belay.ErrTransient)
			require.NotContains(t, shown(err), "secret")
			time.Sleep(2 * time.Second)
			_, err = src.Credential(ctx)
			require.NoError(t, err)
		})
	}
	testkit.Bubble(t, "store: exit", func(t *testing.T) {
		i := testkit.NewIssuer(time.Hour)
		src := app(
			t,
			i,
			func(cfg *oauth.Config) { cfg.Store = &exits{MemoryStore: oauth.NewMemoryStore()} },
		).ClientCredentials("")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := src.Credential(ctx)
		require.ErrorIs(t, err, belay.ErrTransient)
		time.Sleep(2 * time.Second)
		_, err = src.Credential(ctx)
		require.NoError(t, err)
	})
	testkit.Bubble(t, "a code's panic is its caller's", func(t *testing.T) {
		i := testkit.NewIssuer(time.Hour)
		n := 0
		rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
			if n++; n == 1 {
				panic("as it was")
			}
			return i.RoundTrip(req)
		})
		o := app(t, rt, func(cfg *oauth.Config) { cfg.Limits = []belay.Limit{belay.PerSecond(1)} })
		consent, err := o.AuthCodeURL(nil)
		require.NoError(t, err)
		callback := url.Values{"state": {consent.State}, "code": {"c"}}
		require.PanicsWithValue(t, "as it was", func() { _ = o.Exchange(t.Context(), "acme", consent, callback) })
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.NoError(t, o.Exchange(ctx, "acme", consent, callback))
	})
}

// A token request has none of the options that a context holds for the caller's own.
func TestRefreshHasNoneOfTheCallersOptions(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "CallContext", func(t *testing.T) {
		i := testkit.NewIssuer(time.Hour)
		o := app(t, newClient(t, i).Transport())
		ctx := belay.CallContext(t.Context(), belay.Header("X-Tenant", "42"), belay.Auth(o.ClientCredentials("")))
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		require.NoError(t, get(ctx, newClient(t, i), "/"))
		require.Equal(t, 1, i.Asked())
		require.Empty(t, i.Headers[0].Get("X-Tenant"))
		require.Empty(t, i.Headers[0].Get("Authorization"))
	})
}

// The lifetime and the fields beside it, in shapes that are not the grammar's: the token is taken, as it may be
// the only one.
func TestOddTokenAnswersAreTaken(t *testing.T) {
	t.Parallel()
	const none = -time.Second
	for body, life := range map[string]time.Duration{
		`{"access_token":"a","refresh_token":"R2","expires_in":3600.0}`:                      time.Hour,
		`{"access_token":"a","refresh_token":"R2","expires_in":3599.98}`:                     time.Hour,
		`{"access_token":"a","refresh_token":"R2","expires_in":1e3}`:                         1000 * time.Second,
		`{"access_token":"a","refresh_token":"R2","expires_in":"3600.5"}`:                    time.Hour,
		`{"access_token":"a","refresh_token":"R2","expires_in":""}`:                          none,
		`{"access_token":"a","refresh_token":"R2","expires_in":true}`:                        none,
		`{"access_token":"a","refresh_token":"R2","expires_in":-4294963696}`:                 none,
		`{"access_token":"a","refresh_token":"R2","expires_in":99999999999999999999}`:        longestLife,
		`{"access_token":"a","refresh_token":"R2","expires_in":3600,"error":false}`:          time.Hour,
		`{"access_token":"a","refresh_token":"R2","expires_in":3600,"error":null}`:           time.Hour,
		`{"access_token":"a","refresh_token":"R2","expires_in":3600,"error_description":{}}`: time.Hour,
		"\xef\xbb\xbf" + `{"access_token":"a","refresh_token":"R2","expires_in":3600}`:       time.Hour,
	} {
		testkit.Bubble(t, body, func(t *testing.T) {
			s, store := &server{token: gives(body)}, oauth.NewMemoryStore()
			o := app(t, s, func(cfg *oauth.Config) { cfg.Store = store })
			seeded(t, o, "acme", past())
			require.NoError(t, get(t.Context(), newClient(t, s, belay.WithAuth(o.RefreshToken("acme"))), "/"))
			require.Equal(t, []string{"Bearer a"}, s.calls)
			kept, err := store.Load(t.Context(), "acme")
			require.NoError(t, err)
			require.Equal(t, "R2", kept.Refresh.Reveal())
			if life == none {
				require.Zero(t, kept.Expiry)
			} else {
				require.InDelta(t, life, kept.Expiry.Sub(kept.Obtained), float64(2*time.Second))
			}
		})
	}
	testkit.Bubble(t, "an end in the past, and a slow endpoint", func(t *testing.T) {
		s := &server{token: func(int, url.Values, http.Header) *http.Response {
			time.Sleep(2 * time.Second)
			return testkit.Raw(200, "application/json", `{"access_token":"a","expires_in":-1}`)
		}}
		c := newClient(t, s, belay.WithAuth(app(t, s).ClientCredentials("")))
		for range 5 {
			require.NoError(t, get(t.Context(), c, "/"))
		}
		require.Len(t, s.forms, 1)
	})
}

// The longest lifetime that is believed.
const longestLife = (1<<31 - 1) * time.Second

// An error is one line, whatever the integration is called.
func TestKeyWithALineBreak(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "key", func(t *testing.T) {
		i := testkit.NewIssuer(time.Hour)
		err := get(t.Context(), newClient(t, i, belay.WithAuth(app(t, i).RefreshToken("acme\r\nlevel=ERROR forged"))), "/")
		require.ErrorIs(t, err, belay.ErrAuth)
		require.ErrorContains(t, err, "acme  level=ERROR forged")
		require.NotContains(t, err.Error(), "\n")
		require.NotContains(t, err.Error(), "\r")
	})
}

// An integration that was forgotten has no token, which is no revocation, until there is another.
func TestForget(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "forget", func(t *testing.T) {
		i, d, store := testkit.NewIssuer(time.Hour), &diary{}, oauth.NewMemoryStore()
		i.Access["access-0-secret"] = time.Time{}
		o := app(t, i, d.into, func(cfg *oauth.Config) { cfg.Store = store })
		seeded(t, o, "acme", time.Time{})
		seeded(t, o, "other", time.Time{})
		c := newClient(t, i, belay.WithAuth(o.RefreshToken("acme")))
		require.NoError(t, get(t.Context(), c, "/"))
		require.NoError(t, o.Forget(t.Context(), "acme"))
		kept, err := store.Load(t.Context(), "acme")
		require.NoError(t, err)
		require.Empty(t, kept.Access.Reveal()+kept.Refresh.Reveal())
		for _, a := range []belay.Authenticator{nil, o.RefreshToken("acme")} { // the one from before, and one made afterwards
			err = get(t.Context(), c, "/", belay.MaxAttempts(1), orOwn(a))
			require.ErrorIs(t, err, belay.ErrAuth)
			require.ErrorContains(t, err, "no token")
		}
		require.Empty(t, d.Kinds())
		require.Zero(t, i.Asked())
		require.Equal(t, 1, i.Calls)
		require.Equal(t, "Bearer access-0-secret", authorization(t, o.RefreshToken("other")))
		seeded(t, o, "acme", time.Time{})
		require.NoError(t, get(t.Context(), newClient(t, i, belay.WithAuth(o.RefreshToken("acme"))), "/"))
		require.NoError(t, o.Forget(t.Context(), "never was"))
		require.ErrorIs(t, o.Forget(t.Context(), ""), belay.ErrInvalid)
		var none *oauth.App
		require.ErrorIs(t, none.Forget(t.Context(), "acme"), belay.ErrInvalid)
	})
}

func orOwn(a belay.Authenticator) belay.CallOption {
	if a == nil {
		return nil
	}
	return belay.Auth(a)
}

// A secret that was written down without Reveal is lost, and nothing takes it for one.
func TestSecretsThatWereWrittenDown(t *testing.T) {
	t.Parallel()
	i := testkit.NewIssuer(time.Hour)
	o := app(t, i)
	consent, err := o.AuthCodeURL(nil)
	require.NoError(t, err)
	data, err := json.Marshal(consent)
	require.NoError(t, err)
	var back oauth.Consent
	require.ErrorContains(t, json.Unmarshal(data, &back), "REDACTED")
	data, err = json.Marshal(aToken("a", "r", time.Time{}))
	require.NoError(t, err)
	var token oauth.Token
	require.ErrorContains(t, json.Unmarshal(data, &token), "REDACTED")
	var secret belay.Secret
	require.Error(t, secret.UnmarshalText([]byte("REDACTED")))
	require.Empty(t, secret.Reveal())
	lost := belay.NewSecret("REDACTED")
	_, err = belay.New("https://partner.test", belay.WithAuth(belay.Bearer(lost)))
	require.ErrorIs(t, err, belay.ErrInvalid)
	_, err = oauth.New(oauth.Config{TokenURL: "https://partner.test/token", ClientID: "app", ClientSecret: lost})
	require.ErrorIs(t, err, belay.ErrInvalid)
	require.ErrorIs(t, o.Put(t.Context(), "acme", oauth.Token{Access: lost}), belay.ErrInvalid)
	require.ErrorIs(
		t,
		o.Put(t.Context(), "acme", oauth.Token{Access: belay.NewSecret("a"), Refresh: lost}),
		belay.ErrInvalid,
	)
	consent.Verifier = lost
	require.ErrorIs(
		t,
		o.Exchange(t.Context(), "acme", consent, url.Values{"state": {consent.State}, "code": {"c"}}),
		belay.ErrInvalid,
	)
	require.Zero(t, i.Asked())
}

// A token that ends while its call waits in the queue is exchanged when its turn has come. However long that
// takes, no limit is exceeded: the call's permits count from when it goes.
func TestSlowTokenEndpointAtTheEndOfTheLine(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "slow endpoint", func(t *testing.T) {
		start, asked := time.Now(), 0
		o, err := oauth.New(oauth.Config{
			TokenURL: "https://partner.test/token", ClientID: "id", ClientSecret: belay.NewSecret("secret"),
			Transport: testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
				if asked++; asked > 1 {
					time.Sleep(8 * time.Second)
				}
				return testkit.JSONReply(
					200,
					map[string]any{"access_token": fmt.Sprint("t", asked), "token_type": "bearer", "expires_in": 5},
				), nil
			}),
		})
		require.NoError(t, err)
		var mu sync.Mutex
		var sent []time.Duration
		c, err := belay.New(
			"https://partner.test",
			belay.WithRateLimit(belay.Every(1, 10*time.Second)),
			belay.WithMaxInFlight(1),
			belay.WithTransport(testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
				mu.Lock()
				defer mu.Unlock()
				sent = append(sent, time.Since(start))
				return testkit.Reply(200), nil
			})),
		)
		require.NoError(t, err)
		a := belay.Auth(o.ClientCredentials("k"))
		require.NoError(t, get(t.Context(), c, "/", a))
		var wg sync.WaitGroup
		wg.Go(func() { require.NoError(t, get(t.Context(), c, "/", a)) }) // its turn comes at 10 s, its token ends at 5 s
		time.Sleep(time.Second)
		for range 3 {
			wg.Go(func() {
				require.NoError(t, get(t.Context(), c, "/", belay.Auth(belay.Bearer(belay.NewSecret("other")))))
			})
		}
		wg.Wait()
		require.Len(t, sent, 5)
		for i, at := range sent[1:] {
			require.GreaterOrEqual(t, at-sent[i], 10*time.Second, "%v", sent)
		}
	})
}

// Tokens that end in the queue change nothing of the order: whose turn comes before its deadline is served before it.
func TestTokensEndInLineInOrder(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "order", func(t *testing.T) {
		i := testkit.NewIssuer(20 * time.Second)
		c := newClient(
			t,
			i,
			belay.WithRateLimit(belay.Every(1, time.Second)),
			belay.WithAuth(app(t, i).ClientCredentials("")),
		)
		require.NoError(t, get(t.Context(), c, "/"))
		var wg sync.WaitGroup
		for n := range 60 {
			time.Sleep(time.Millisecond)
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(n+6)*time.Second)
				defer cancel()
				require.NoError(t, get(ctx, c, "/"), n)
			})
		}
		wg.Wait()
	})
}

// A token that ends while its call waits in a line that a refusal has narrowed is exchanged like any other.
func TestTokenEndsInANarrowedLine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		app, err := oauth.New(oauth.Config{
			TokenURL: "https://token.test/", ClientID: "me", ClientSecret: belay.NewSecret("a secret"),
			Transport: testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
				return testkit.Raw(200, "application/json", `{"access_token":"a","token_type":"bearer","expires_in":60}`), nil
			}),
		})
		require.NoError(t, err)
		c := newClient(t, testkit.Script(func(n int, _ *http.Request) (*http.Response, error) {
			if n == 1 {
				return testkit.Reply(429, "Retry-After", "100"), nil
			}
			return testkit.Reply(200), nil
		}), belay.WithAuth(app.ClientCredentials("")), belay.Without(belay.LayerRetry))
		require.ErrorIs(t, get(t.Context(), c, "/"), belay.ErrRateLimited)
		took, err := testkit.After(0, func() error { return get(t.Context(), c, "/", belay.Patience(time.Hour)) })()
		require.NoError(t, err)
		require.Equal(t, 100*time.Second, took)
	})
}
