package oauth_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
	"github.com/belay-go/belay/oauth"
)

// server is a partner that is told what to answer: its token endpoint, then its API.
type server struct {
	token func(n int, form url.Values, h http.Header) *http.Response
	api   func(n int, bearer string) *http.Response // nil answers 200
	forms []url.Values
	calls []string // the credentials that the API saw
}

func (s *server) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Path == "/token" {
		body, _ := io.ReadAll(req.Body)
		form, _ := url.ParseQuery(string(body))
		s.forms = append(s.forms, form)
		return s.token(len(s.forms), form, req.Header), nil
	}
	s.calls = append(s.calls, req.Header.Get("Authorization"))
	if s.api == nil {
		return testkit.Reply(200), nil
	}
	return s.api(len(s.calls), strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer ")), nil
}

// gives answers every token request with one body.
func gives(body string) func(int, url.Values, http.Header) *http.Response {
	return func(int, url.Values, http.Header) *http.Response { return testkit.Raw(200, "application/json", body) }
}

// How partners differ in handing out tokens and in refusing them, a row each.
func TestTokensAsPartnersDoThem(t *testing.T) {
	t.Parallel()
	own := func(o *oauth.App) belay.Authenticator { return o.ClientCredentials("") }
	granted := func(o *oauth.App) belay.Authenticator { return o.RefreshToken("acme") }
	type partner struct {
		name   string
		config func(*oauth.Config)
		auth   func(*oauth.App) belay.Authenticator
		seed   *oauth.Token // stored before
		server server
		run    func(t *testing.T, s *server, o *oauth.App, c *belay.Client)
	}
	token := func(access, refresh string) *oauth.Token {
		return &oauth.Token{Access: belay.NewSecret(access), Refresh: belay.NewSecret(refresh)}
	}
	ok := func(t *testing.T, c *belay.Client) {
		t.Helper()
		require.NoError(t, get(t.Context(), c, "/"))
	}
	for _, p := range []partner{
		{
			name: "Attio: a code for a token without end and without refresh token",
			auth: granted,
			server: server{
				token: gives(`{"access_token":"a1","token_type":"Bearer"}`),
				api: func(n int, _ string) *http.Response {
					if n > 1 {
						return testkit.Raw(
							401, "application/json",
							`{"status_code":401,"type":"auth_error","code":"unauthorized","message":"The token was revoked"}`,
						)
					}
					return testkit.Reply(200)
				},
			},
			run: func(t *testing.T, s *server, o *oauth.App, c *belay.Client) {
				consent, err := o.AuthCodeURL(nil)
				require.NoError(t, err)
				require.NoError(t, o.Exchange(t.Context(), "acme", consent, url.Values{"state": {consent.State}, "code": {"c"}}))
				time.Sleep(10_000 * time.Hour)
				ok(t, c)
				err = get(t.Context(), c, "/")
				require.ErrorIs(t, err, belay.ErrAuth)
				require.ErrorContains(t, err, "connect again")
				require.Len(t, s.forms, 1)
			},
		},
		{
			name:   "Attio takes the token as the user of Basic",
			auth:   func(*oauth.App) belay.Authenticator { return belay.Basic("", belay.NewSecret("a1")) },
			server: server{token: gives(`{}`)},
			run: func(t *testing.T, s *server, _ *oauth.App, c *belay.Client) {
				ok(t, c)
				require.Equal(t, "Basic "+base64.StdEncoding.EncodeToString([]byte("a1:")), s.calls[0])
			},
		},
		{
			name: "Guesty: client credentials with a scope, a day each, five a day, shared",
			config: func(cfg *oauth.Config) {
				cfg.Scopes, cfg.Limits = []string{"open-api"}, []belay.Limit{belay.PerDay(5)}
			},
			auth: own,
			server: server{token: func(n int, form url.Values, h http.Header) *http.Response {
				if form.Get("grant_type") != "client_credentials" || form.Get("scope") != "open-api" ||
					form.Get("client_id") != "app" || form.Get("client_secret") == "" || h.Get("Authorization") != "" {
					return testkit.Reply(400)
				}
				return testkit.Raw(
					200, "application/json",
					fmt.Sprintf(`{"token_type":"Bearer","expires_in":86400,"access_token":"g%d","scope":"open-api"}`, n),
				)
			}},
			run: func(t *testing.T, s *server, _ *oauth.App, c *belay.Client) {
				for range 96 { // four days
					ok(t, c)
					time.Sleep(time.Hour)
				}
				require.InDelta(t, 4, len(s.forms), 1)
			},
		},
		{
			name:   "Guesty's booking engine: renewed five minutes ahead",
			config: func(cfg *oauth.Config) { cfg.Scopes = []string{"booking_engine:api"} },
			auth:   own,
			server: server{token: gives(`{"access_token":"b","expires_in":86400}`)},
			run: func(t *testing.T, s *server, _ *oauth.App, c *belay.Client) {
				ok(t, c)
				time.Sleep(24*time.Hour - 5*time.Minute - time.Second)
				ok(t, c)
				require.Len(t, s.forms, 1)
				time.Sleep(2 * time.Second)
				ok(t, c)
				synctest.Wait() // while the old one serves
				require.Len(t, s.forms, 2)
			},
		},
		{
			name: "no expires_in: refreshed after a 401 only",
			auth: granted, seed: token("old", "r"),
			server: server{token: gives(`{"access_token":"new"}`), api: func(_ int, bearer string) *http.Response {
				if bearer == "old" {
					return testkit.Reply(401)
				}
				return testkit.Reply(200)
			}},
			run: func(t *testing.T, s *server, _ *oauth.App, c *belay.Client) {
				time.Sleep(1000 * time.Hour)
				ok(t, c)
				require.Equal(t, []string{"Bearer old", "Bearer new"}, s.calls)
				time.Sleep(1000 * time.Hour)
				ok(t, c)
				require.Len(t, s.forms, 1)
			},
		},
		{
			name: "eBay's expires_in of milliseconds is believed, and a 401 mends it",
			auth: own,
			server: server{token: gives(`{"access_token":"e","expires_in":7200000}`), api: func(n int, _ string) *http.Response {
				if n == 2 {
					return testkit.Reply(401)
				}
				return testkit.Reply(200)
			}},
			run: func(t *testing.T, s *server, _ *oauth.App, c *belay.Client) {
				ok(t, c)
				time.Sleep(3 * time.Hour)
				err := get(t.Context(), c, "/")
				require.NoError(t, err)
				require.Len(t, s.forms, 2)
			},
		},
		{
			name: "PayPal's expires_in is a string",
			auth: own, server: server{token: gives(`{"access_token":"p","expires_in":"32400"}`)},
			run: func(t *testing.T, s *server, _ *oauth.App, c *belay.Client) {
				ok(t, c)
				time.Sleep(10 * time.Hour)
				ok(t, c)
				require.Len(t, s.forms, 2)
			},
		},
		{
			name: "GitHub answers a form",
			auth: own,
			server: server{token: func(int, url.Values, http.Header) *http.Response {
				return testkit.Raw(
					200, "application/x-www-form-urlencoded; charset=utf-8", "access_token=gh&expires_in=28800&token_type=bearer",
				)
			}},
			run: func(t *testing.T, s *server, _ *oauth.App, c *belay.Client) {
				ok(t, c)
				require.Equal(t, []string{"Bearer gh"}, s.calls)
			},
		},
		{
			name: "GitHub refuses with 200",
			auth: granted, seed: token("", "r"),
			server: server{token: gives(
				`{"error":"bad_verification_code","error_description":"The code passed is incorrect or expired.","error_uri":"https://docs"}`,
			)},
			run: func(t *testing.T, s *server, _ *oauth.App, c *belay.Client) {
				for range 3 {
					require.ErrorIs(t, get(t.Context(), c, "/"), belay.ErrAuth)
				}
				require.Len(t, s.forms, 1)
			},
		},
		{
			name: "GitHub's other refusal with 200",
			auth: own, server: server{token: gives(`{"error":"incorrect_client_credentials"}`)},
			run: func(t *testing.T, _ *server, _ *oauth.App, c *belay.Client) {
				require.ErrorContains(t, get(t.Context(), c, "/"), "check its client id and secret")
			},
		},
		{
			name: "Slack refuses with ok:false",
			auth: granted, seed: token("", "r"), server: server{token: gives(`{"ok":false,"error":"invalid_refresh_token"}`)},
			run: func(t *testing.T, _ *server, _ *oauth.App, c *belay.Client) {
				require.ErrorContains(t, get(t.Context(), c, "/"), "connect again")
			},
		},
		{
			name: "Basic: id and secret are form-encoded first (RFC 6749 section 2.3.1), and not sent twice",
			config: func(cfg *oauth.Config) {
				cfg.Style, cfg.ClientID, cfg.ClientSecret = oauth.StyleHeader, "an app", belay.NewSecret("a+b:c/d")
			},
			auth: own,
			server: server{token: func(_ int, form url.Values, h http.Header) *http.Response {
				if form.Has("client_id") || form.Has("client_secret") ||
					h.Get("Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte("an+app:a%2Bb%3Ac%2Fd")) {
					return testkit.JSONReply(401, map[string]string{"error": "invalid_client"})
				}
				return testkit.Raw(200, "application/json", `{"access_token":"x"}`)
			}},
			run: func(t *testing.T, _ *server, _ *oauth.App, c *belay.Client) { ok(t, c) },
		},
		{
			name: "JSON that is called text/plain, as a server calls it that sets no Content-Type",
			auth: own,
			server: server{token: func(int, url.Values, http.Header) *http.Response {
				return testkit.Raw(200, "text/plain; charset=utf-8", " {\"access_token\":\"x\",\"expires_in\":3600}\n")
			}},
			run: func(t *testing.T, _ *server, _ *oauth.App, c *belay.Client) { ok(t, c) },
		},
		{
			name: "a form that is called text/plain",
			auth: own,
			server: server{token: func(int, url.Values, http.Header) *http.Response {
				return testkit.Raw(200, "text/plain", "access_token=x&expires_in=3600")
			}},
			run: func(t *testing.T, _ *server, _ *oauth.App, c *belay.Client) { ok(t, c) },
		},
		{
			name: "the style is not probed: a refusal is one request",
			auth: own,
			server: server{token: func(int, url.Values, http.Header) *http.Response {
				r := testkit.JSONReply(401, map[string]string{"error": "invalid_client"})
				r.Header.Set("Www-Authenticate", `Basic realm="token"`)
				return r
			}},
			run: func(t *testing.T, s *server, _ *oauth.App, c *belay.Client) {
				require.ErrorContains(t, get(t.Context(), c, "/"), "style")
				require.Len(t, s.forms, 1)
			},
		},
		{
			name: "GitHub Apps, Slack, Xero and others rotate: each refresh token is sent once, and kept before it is used",
			auth: granted, seed: token("", "r0"),
			server: server{token: func(n int, form url.Values, _ http.Header) *http.Response {
				if form.Get("refresh_token") != fmt.Sprintf("r%d", n-1) {
					return testkit.JSONReply(400, map[string]string{"error": "invalid_grant"})
				}
				return testkit.JSONReply(
					200, map[string]any{"access_token": fmt.Sprint("a", n), "refresh_token": fmt.Sprint("r", n), "expires_in": 28800},
				)
			}},
			run: func(t *testing.T, s *server, _ *oauth.App, c *belay.Client) {
				for range 50 {
					ok(t, c)
					time.Sleep(9 * time.Hour)
				}
				require.Len(t, s.forms, 50)
			},
		},
		{
			name: "HubSpot keeps the refresh token and does not repeat it",
			auth: granted, seed: token("", "for-ever"), server: server{token: gives(`{"access_token":"h","expires_in":1800}`)},
			run: func(t *testing.T, s *server, _ *oauth.App, c *belay.Client) {
				for range 3 {
					ok(t, c)
					time.Sleep(time.Hour)
				}
				require.Equal(t, "for-ever", s.forms[2].Get("refresh_token"))
			},
		},
		{
			name:   "Shopify wants expiring=1, Zendesk a lifetime",
			config: func(cfg *oauth.Config) { cfg.Params = url.Values{"expiring": {"1"}, "expires_in": {"1800"}} },
			auth:   granted, seed: token("", "r"), server: server{token: gives(`{"access_token":"s","expires_in":1800}`)},
			run: func(t *testing.T, s *server, _ *oauth.App, c *belay.Client) {
				ok(t, c)
				require.Equal(
					t, []string{"1", "1800", "refresh_token"},
					[]string{s.forms[0].Get("expiring"), s.forms[0].Get("expires_in"), s.forms[0].Get("grant_type")},
				)
			},
		},
		{
			name: "HubSpot's refusal has a name of its own",
			auth: granted, seed: token("", "r"),
			server: server{token: func(int, url.Values, http.Header) *http.Response {
				return testkit.Raw(
					400, "application/json", `{"status":"BAD_REFRESH_TOKEN","message":"missing or invalid refresh token"}`,
				)
			}},
			run: func(t *testing.T, _ *server, _ *oauth.App, c *belay.Client) {
				require.ErrorIs(t, get(t.Context(), c, "/"), belay.ErrAuth)
			},
		},
		{
			name: "RFC 6750: invalid_token is 401, and a refresh helps",
			auth: granted, seed: token("old", "r"),
			server: server{token: gives(`{"access_token":"new"}`), api: func(_ int, bearer string) *http.Response {
				if bearer == "new" {
					return testkit.Reply(200)
				}
				return testkit.Reply(
					401, "Www-Authenticate", `Bearer realm="x", error="invalid_token", error_description="expired"`,
				)
			}},
			run: func(t *testing.T, _ *server, _ *oauth.App, c *belay.Client) { ok(t, c) },
		},
		{
			name: "RFC 6750: insufficient_scope is 403, and no refresh helps",
			auth: granted, seed: token("a", "r"),
			server: server{token: gives(`{"access_token":"new"}`), api: func(int, string) *http.Response {
				return testkit.Reply(403, "Www-Authenticate", `Bearer error="insufficient_scope", scope="contacts.write"`)
			}},
			run: func(t *testing.T, s *server, _ *oauth.App, c *belay.Client) {
				err := get(t.Context(), c, "/")
				require.ErrorIs(t, err, belay.ErrForbidden)
				require.ErrorContains(t, err, "contacts.write")
				require.Empty(t, s.forms)
			},
		},
		{
			name: "RFC 6750: invalid_request is 400, and no refresh helps",
			auth: granted, seed: token("a", "r"),
			server: server{token: gives(`{}`), api: func(int, string) *http.Response {
				return testkit.Reply(400, "Www-Authenticate", `Bearer error="invalid_request"`)
			}},
			run: func(t *testing.T, s *server, _ *oauth.App, c *belay.Client) {
				require.ErrorIs(t, get(t.Context(), c, "/"), belay.ErrInvalid)
				require.Empty(t, s.forms)
			},
		},
		{
			name: "GitHub's 403 of a limit is no matter of the token, and its 404 none either",
			auth: granted, seed: token("a", "r"),
			server: server{token: gives(`{}`), api: func(n int, _ string) *http.Response {
				if n == 1 {
					return testkit.Reply(403, "X-Ratelimit-Remaining", "0", "X-Ratelimit-Limit", "60", "Retry-After", "2")
				}
				return testkit.Reply(404)
			}},
			run: func(t *testing.T, s *server, _ *oauth.App, c *belay.Client) {
				require.ErrorIs(t, get(t.Context(), c, "/"), belay.ErrNotFound)
				require.Len(t, s.calls, 2)
				require.Empty(t, s.forms)
			},
		},
		{
			name: "Salesforce: INVALID_SESSION_ID is 401, and REQUEST_LIMIT_EXCEEDED a limit",
			auth: granted, seed: token("old", "r"),
			server: server{token: gives(`{"access_token":"new"}`), api: func(_ int, bearer string) *http.Response {
				if bearer == "old" {
					return testkit.Raw(
						401, "application/json", `[{"message":"Session expired or invalid","errorCode":"INVALID_SESSION_ID"}]`,
					)
				}
				return testkit.Raw(
					403, "application/json", `[{"message":"TotalRequests Limit exceeded.","errorCode":"REQUEST_LIMIT_EXCEEDED"}]`,
				)
			}},
			run: func(t *testing.T, s *server, _ *oauth.App, c *belay.Client) {
				err := get(t.Context(), c, "/", belay.MaxAttempts(1))
				require.ErrorIs(t, err, belay.ErrRateLimited)
				require.Equal(t, []string{"Bearer old", "Bearer new"}, s.calls)
				require.Len(t, s.forms, 1)
			},
		},
		{
			name: "RFC 8693: a token for a token",
			config: func(cfg *oauth.Config) {
				cfg.Params = url.Values{
					"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "subject_token": {"subject"},
					"subject_token_type": {"urn:ietf:params:oauth:token-type:id_token"},
				}
			},
			auth: own,
			server: server{token: gives(
				`{"access_token":"x","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"Bearer"}`,
			)},
			run: func(t *testing.T, s *server, _ *oauth.App, c *belay.Client) {
				ok(t, c)
				require.Equal(t, "urn:ietf:params:oauth:grant-type:token-exchange", s.forms[0].Get("grant_type"))
				require.Equal(t, "subject", s.forms[0].Get("subject_token"))
			},
		},
		{
			name: "GitHub tells when a token ends in a header of the API, for the caller to read",
			auth: granted, seed: token("a", ""),
			server: server{token: gives(`{}`), api: func(int, string) *http.Response {
				return testkit.Reply(200, "Github-Authentication-Token-Expiration", "2027-01-02 15:04:05 UTC")
			}},
			run: func(t *testing.T, _ *server, _ *oauth.App, c *belay.Client) {
				var info belay.Info
				require.NoError(t, get(t.Context(), c, "/", belay.Into(&info)))
				require.Equal(t, "2027-01-02 15:04:05 UTC", info.Header.Get("Github-Authentication-Token-Expiration"))
			},
		},
	} {
		testkit.Bubble(t, p.name, func(t *testing.T) {
			change := p.config
			if change == nil {
				change = func(*oauth.Config) {}
			}
			o := app(t, &p.server, change)
			if p.seed != nil {
				seed := *p.seed
				if seed.Access.Reveal() == "" { // one that has ended
					seed.Access, seed.Expiry = belay.NewSecret("gone"), time.Now().Add(-time.Hour)
				}
				require.NoError(t, o.Put(t.Context(), "acme", seed))
			}
			p.run(t, &p.server, o, newClient(t, &p.server, belay.WithAuth(p.auth(o))))
		})
	}
	for code := range map[string]bool{
		"invalid_request": true, "invalid_client": true, "invalid_grant": true,
		"unauthorized_client": true, "unsupported_grant_type": true, "invalid_scope": true,
	} {
		testkit.Bubble(t, "RFC 6749 section 5.2: "+code, func(t *testing.T) {
			s := &server{token: func(int, url.Values, http.Header) *http.Response {
				return testkit.JSONReply(400, map[string]string{"error": code})
			}}
			c := newClient(t, s, belay.WithAuth(app(t, s).ClientCredentials("")))
			for range 3 {
				err := get(t.Context(), c, "/")
				require.ErrorIs(t, err, belay.ErrAuth)
				var e *belay.Error
				require.ErrorAs(t, err, &e)
				require.Equal(t, code, e.Code)
				require.NotEmpty(t, e.Message)
			}
			require.Len(t, s.forms, 1)
		})
	}
}

// FuzzTokenAnswer: whatever a token endpoint answers, there is a token that can be sent, or a typed error that
// names the integration and holds no secret; and after an error the stored token is as it was.
func FuzzTokenAnswer(f *testing.F) {
	for _, contentType := range []string{
		"application/json", "application/x-www-form-urlencoded", "text/plain", "text/html; charset=x", "",
	} {
		for _, body := range []string{
			`{"access_token":"a","token_type":"Bearer","expires_in":3600,"refresh_token":"r"}`,
			`{"access_token":"a","expires_in":"3600"}`,
			`{"access_token":"a","expires_in":null}`, `{"access_token":"a","expires_in":-1e99}`,
			`{"access_token":"a\nb"}`, `{"access_token":""}`, `{}`, `[]`, ``,
			`{"error":"invalid_grant","error_description":"refresh-0-secret"}`,
			`{"ok":false,"error":"x"}`, `access_token=a&expires_in=5&token_type=mac`,
			`<html>client-secret</html>`, `{"access_token":"a","token_type":"a b"}`,
			`{"access_token":"a","access_token":{}}`, "error=refresh-0-secret", `{"access_token":"é"}`,
		} {
			for _, status := range []int{200, 201, 302, 400, 401, 403} {
				f.Add(status, contentType, body)
			}
		}
	}
	store := oauth.NewMemoryStore()
	var answer *http.Response
	rt := testkit.RoundTrip(func(*http.Request) (*http.Response, error) { return answer, nil })
	f.Fuzz(func(t *testing.T, status int, contentType, body string) {
		if status < 200 || status == 408 || status == 425 || status == 429 || status >= 500 {
			status = 400 // those are repeated after a wait: TestTokenEndpointAnswers has them
		}
		answer = &http.Response{
			StatusCode: status,
			Header:     http.Header{"Content-Type": {contentType}},
			Body:       io.NopCloser(strings.NewReader(body)),
		}
		o, err := oauth.New(
			oauth.Config{
				TokenURL:     "https://partner.test/token",
				ClientID:     "app",
				ClientSecret: belay.NewSecret("client-secret"),
				Store:        store,
				Transport:    rt,
			},
		)
		require.NoError(t, err)
		require.NoError(
			t,
			o.Put(
				t.Context(),
				"acme",
				oauth.Token{
					Access:  belay.NewSecret("access-0-secret"),
					Refresh: belay.NewSecret("refresh-0-secret"),
					Expiry:  time.Unix(1, 0),
				},
			),
		)
		cred, err := o.RefreshToken("acme").Credential(t.Context())
		kept, lerr := store.Load(t.Context(), "acme")
		require.NoError(t, lerr)
		if err == nil {
			req, _ := http.NewRequest(http.MethodGet, "https://partner.test/", nil)
			require.NoError(t, cred.Apply(req))
			value := req.Header.Get("Authorization")
			require.NotContains(t, value, "\n")
			require.Equal(t, value[strings.IndexByte(value, ' ')+1:], kept.Access.Reveal(), "it was kept before it was used")
			return
		}
		var e *belay.Error
		if !errors.As(err, &e) {
			t.Fatalf("%T %v", err, err)
		}
		require.Equal(t, "acme", e.Integration)
		require.NotEmpty(t, e.Message)
		printed, _ := json.Marshal(e)
		for _, text := range []string{err.Error(), fmt.Sprintf("%+v %#v", e, e), string(printed)} {
			for _, secret := range []string{"refresh-0-secret", "client-secret", "access-0-secret"} {
				require.NotContains(t, text, secret)
			}
		}
		if e.Code == "unknown_token_type" {
			require.NotEqual(t, "access-0-secret", kept.Access.Reveal(), "it is kept, and not used")
			return
		}
		require.Equal(t, "access-0-secret", kept.Access.Reveal())
		if kept.Refresh.Reveal() != "refresh-0-secret" {
			require.Contains(t, strings.ToLower(body), "refresh", "a new one is kept")
		}
	})
}
