package belay_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/belaytest"
	"github.com/belay-go/belay/internal/testkit"
	"github.com/belay-go/belay/oauth"
)

// laterAuths are the credentials that are got, rotated or computed.
func laterAuths(t *testing.T) map[string]belay.Authenticator {
	t.Helper()
	o := leakyApp(t, oauth.StyleBody, nil, testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
		return testkit.JSONReply(
			200,
			map[string]string{"access_token": testkit.Canary, "refresh_token": "r-" + testkit.Canary},
		), nil
	}))
	require.NoError(
		t,
		o.Put(
			t.Context(),
			"acme",
			oauth.Token{Access: belay.NewSecret(testkit.Canary), Refresh: belay.NewSecret("r-" + testkit.Canary)},
		),
	)
	rotating, err := belay.NewRotating(belay.Bearer(belay.NewSecret("old-" + testkit.Canary)))
	require.NoError(t, err)
	require.NoError(t, rotating.Rotate(t.Context(), belay.APIKey("X-Api-Key", belay.NewSecret(testkit.Canary)), nil))
	return map[string]belay.Authenticator{
		"OAuth2": o.RefreshToken("acme"), "client credentials": o.ClientCredentials(""), "rotating": rotating,
		"signed": belay.Sign(func(req *http.Request, _ []byte) error {
			req.Header.Set("X-Mac", testkit.Canary)
			return nil
		}),
	}
}

// leakyApp has the canary for a client secret.
func leakyApp(t *testing.T, style oauth.Style, o belay.Observer, rt http.RoundTripper) *oauth.App {
	t.Helper()
	return app(t, rt, func(cfg *oauth.Config) {
		cfg.ClientSecret, cfg.Style, cfg.Observer = belay.NewSecret("c-"+testkit.Canary), style, o
		cfg.Params = url.Values{"subject_token": {"s-" + testkit.Canary}}
	})
}

// A token endpoint that says back all that it was sent, in every shape, to every sink: access and refresh token,
// client secret, code, verifier and parameters are in none.
func TestNoTokenRequestLeaks(t *testing.T) {
	t.Parallel()
	echo := map[string]func(text string) *http.Response{
		"refused": func(text string) *http.Response {
			return testkit.JSONReply(
				400,
				map[string]string{"error": "invalid_grant", "error_description": text, "error_uri": text},
			)
		},
		"code": func(text string) *http.Response { return testkit.JSONReply(401, map[string]string{"error": text}) },
		"nested": func(text string) *http.Response {
			return testkit.JSONReply(403, map[string]any{"message": text, "errors": []string{text}})
		},
		"trouble": func(text string) *http.Response { return testkit.JSONReply(500, map[string]string{"message": text}) },
		"limited": func(text string) *http.Response { return testkit.JSONReply(429, map[string]string{"message": text}) },
		"HTML": func(text string) *http.Response {
			r := testkit.Reply(200, "Content-Type", "text/html")
			r.Body = io.NopCloser(strings.NewReader("<p>" + text))
			return r
		},
		"false success": func(text string) *http.Response {
			return testkit.JSONReply(200, map[string]string{"error": "x", "error_description": text})
		},
		"bad token": func(text string) *http.Response {
			return testkit.JSONReply(200, map[string]string{"access_token": text + "\n"})
		},
		"bad type": func(text string) *http.Response {
			return testkit.JSONReply(200, map[string]string{"access_token": "x", "token_type": text})
		},
		"request id": func(text string) *http.Response { return replyWith(400, "X-Request-Id", text) },
		"redirect": func(text string) *http.Response {
			return replyWith(307, "Location", "https://evil.test/?"+url.QueryEscape(text))
		},
		"error": nil,
	}
	grants := map[string]func(ctx context.Context, o *oauth.App) error{
		"refresh": func(ctx context.Context, o *oauth.App) error {
			_, err := o.RefreshToken("acme").Credential(ctx)
			return err
		},
		"client credentials": func(ctx context.Context, o *oauth.App) error {
			_, err := o.ClientCredentials("").Credential(ctx)
			return err
		},
		"code": func(ctx context.Context, o *oauth.App) error {
			consent := oauth.Consent{State: "state", Verifier: belay.NewSecret("v-" + testkit.Canary)}
			return o.Exchange(ctx, "acme", consent, url.Values{"state": {"state"}, "code": {testkit.Canary}})
		},
	}
	n := 0
	for shape, answer := range echo {
		for grant, begin := range grants {
			for _, style := range []oauth.Style{oauth.StyleBody, oauth.StyleHeader} {
				testkit.Bubble(t, fmt.Sprint(shape, "/", grant, "/", style), func(t *testing.T) {
					n++
					asked := 0
					rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
						text := dump(req)
						require.Equal(t, "partner.test", req.URL.Host, "a redirect is not followed")
						require.True(t, testkit.Seen(text), "the endpoint got no secret")
						asked++
						if answer == nil {
							return nil, &url.Error{Op: "Post", URL: req.URL.String(), Err: errors.New(text)}
						}
						return answer(text), nil
					})
					var log bytes.Buffer
					var events []belay.Event
					o := leakyApp(t, style, tell(&log, &events), rt)
					require.NoError(t, o.Put(t.Context(), "acme", oauth.Token{
						Access: belay.NewSecret(
							testkit.Canary,
						), Refresh: belay.NewSecret("r-" + testkit.Canary), Expiry: time.Now().Add(-time.Hour),
					}))
					err := begin(t.Context(), o)
					require.Error(t, err)
					synctest.Wait() // for the events
					require.NotZero(t, asked)
					var e *belay.Error
					require.ErrorAs(t, err, &e)
					require.NotEmpty(t, e.Integration)
					require.NotEmpty(t, e.Message, "what to do")
					cfg := oauth.Config{
						ClientSecret: belay.NewSecret(testkit.Canary),
						Params:       url.Values{"subject_token": {testkit.Canary}},
					}
					data, _ := json.Marshal(cfg)
					fmt.Fprintf(&log, "%v %+v %#v %s", o, o, o.RefreshToken("acme"), data)
					log.WriteString(testkit.Verbs(cfg) + testkit.Verbs(&cfg))
					require.Empty(t, leaks(&world{}, log.String(), events, nil, err))
				})
			}
		}
	}
	t.Logf("%d combinations", n)
}

func replyWith(status int, header, value string) *http.Response {
	r := testkit.Reply(status)
	r.Header.Set(header, strings.ReplaceAll(value, "\n", " "))
	return r
}

// tell writes events down, as they are and as a log at debug has them.
func tell(log io.Writer, events *[]belay.Event) belay.Observer {
	sink := belay.NewLogObserver(slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	return belay.ObserverFunc(func(ctx context.Context, e belay.Event) {
		*events = append(*events, e)
		sink.Observe(ctx, e)
	})
}

// A cassette of any call holds no credential.
func TestNoCassetteLeaks(t *testing.T) {
	t.Setenv("CI", "") // A cassette is not recorded where it is set.
	auths := laterAuths(t)
	auths["Bearer"], auths["Basic"] = belay.Bearer(
		belay.NewSecret(testkit.Canary),
	), belay.Basic(
		"user",
		belay.NewSecret(testkit.Canary),
	)
	auths["APIKeyQuery"], auths["own"], auths["own by URL"] = belay.APIKeyQuery(
		"api_key",
		belay.NewSecret(testkit.Canary),
	), ownAuth{}, ownAuth{
		query: true,
	}
	dir := t.TempDir()
	for name, auth := range auths {
		for _, code := range []int{400, 302, 200} {
			path := filepath.Join(dir, fmt.Sprint(name, code))
			t.Run(fmt.Sprint(name, code), func(t *testing.T) {
				w := &world{
					partner: "https://partner.test",
					code:    code,
					to:      "https://partner.test/?token=" + url.QueryEscape(testkit.Canary),
				}
				tape := belaytest.Cassette{Path: path, Record: true, Real: w}.Open(t)
				require.Empty(t, exercise(t, w, auth, belay.RedirectNone, "HTTPClient", belay.WithTransport(tape)))
				require.NotZero(t, w.authed)
			})
			data, err := os.ReadFile(path + ".yaml")
			require.NoError(t, err)
			require.False(t, testkit.Seen(string(data)), string(data))
			require.Contains(t, string(data), "MASKED-")
		}
	}
}

// What a panic holds that is contained goes nowhere.
func TestNoPanicLeaks(t *testing.T) {
	t.Parallel()
	w := &world{partner: "https://partner.test", code: 400}
	boom := func() { panic("holds " + testkit.Canary) }
	for name, option := range map[string]belay.Option{
		"observer": belay.WithObserver(belay.ObserverFunc(func(context.Context, belay.Event) { boom() })),
		"redactor": belay.WithRedactor(func(string, []byte) string { boom(); return "" }),
	} {
		require.Empty(
			t,
			exercise(t, w, belay.Bearer(belay.NewSecret(testkit.Canary)), belay.RedirectNone, "Post", option),
			name,
		)
	}
	o := app(t, w, func(cfg *oauth.Config) { cfg.Store = panickingStore{} })
	_, err := o.ClientCredentials("").Credential(t.Context())
	require.Error(t, err)
	require.Empty(t, leaks(&world{}, "", nil, nil, err))
	// One that is not contained is the caller's, as it was.
	c, err := belay.New(
		w.partner,
		belay.WithAuth(belay.Bearer(belay.NewSecret(testkit.Canary))),
		belay.WithTransport(testkit.RoundTrip(func(*http.Request) (*http.Response, error) { panic("as it was") })),
	)
	require.NoError(t, err)
	require.PanicsWithValue(t, "as it was", func() { _ = get(t.Context(), c, "/") })
}

type panickingStore struct{ oauth.Store }

func (panickingStore) Update(
	context.Context,
	string,
	func(context.Context, oauth.Token) (oauth.Token, error),
) (oauth.Token, error) {
	panic("holds " + testkit.Canary)
}

// The sinks are looked at: each of them notices what it is shown.
func TestSinksNotice(t *testing.T) {
	t.Setenv("CI", "") // A cassette is not recorded where it is set.
	shown := "holds " + testkit.Canary
	require.NotEmpty(t, leaks(&world{}, shown, nil, nil, nil))
	require.NotEmpty(t, leaks(&world{visitors: []string{shown}}, "", nil, nil, nil))
	require.NotEmpty(t, leaks(&world{}, "", []belay.Event{belay.TokenRevoked{Action: shown}}, nil, nil))
	require.NotEmpty(t, leaks(&world{}, "", nil, nil, errors.New(shown)))
	require.NotEmpty(t, leaks(&world{}, "", nil, nil, &belay.Error{Fields: map[string]string{"a": shown}}))
	health, err := json.Marshal(belay.Health{Failure: belay.Verdict{Message: shown}})
	require.NoError(t, err)
	require.True(t, testkit.Seen(string(health)))
	// A transport that copies the credential into a header that is known to be harmless.
	path := filepath.Join(t.TempDir(), "leaky")
	t.Run("cassette", func(t *testing.T) {
		w := &world{partner: "https://partner.test", code: 200}
		tape := belaytest.Cassette{Path: path, Record: true, Real: w}.Open(t)
		leaky := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
			clone := req.Clone(req.Context())
			clone.Header.Set("Accept-Language", testkit.Canary)
			return tape.RoundTrip(clone)
		})
		exercise(
			t,
			w,
			belay.Bearer(belay.NewSecret("another")),
			belay.RedirectNone,
			"HTTPClient",
			belay.WithTransport(leaky),
		)
	})
	data, err := os.ReadFile(path + ".yaml")
	require.NoError(t, err)
	require.True(t, testkit.Seen(string(data)))
}
