package oauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
	"github.com/belay-go/belay/oauth"
)

// endpoint answers token requests with the same answer, and calls with 200.
type endpoint struct {
	status int
	answer string
	sent   []*http.Request
	bodies []string
	auth   string // of the last call
}

func (e *endpoint) RoundTrip(req *http.Request) (*http.Response, error) {
	if !strings.Contains(req.URL.Path, "token") {
		e.auth = req.Header.Get("Authorization")
		return testkit.Reply(200), nil
	}
	body, _ := io.ReadAll(req.Body)
	e.sent, e.bodies = append(e.sent, req), append(e.bodies, string(body))
	return testkit.Raw(e.status, "application/json", e.answer), nil
}

// The kinds that mean Bearer are sent as Bearer; another kind is kept, and no call is sent with it.
func TestTokenTypes(t *testing.T) {
	t.Parallel()
	for told, want := range map[string]string{
		`"Bearer"`: "Bearer", `"bearer"`: "Bearer", `"BEARER"`: "Bearer", `"bearer "`: "Bearer", `"Bearer Token"`: "Bearer",
		`"bearertoken"`: "Bearer", `"BearerToken"`: "Bearer", `"bearer_token"`: "Bearer",
		`"User Access Token"`: "Bearer", `"Application Access Token"`: "Bearer", `"access_token"`: "Bearer",
		`"bot"`: "Bearer", `"user"`: "Bearer", `"OAuth2"`: "Bearer", `""`: "Bearer", `null`: "Bearer", `5`: "Bearer",
		`"urn:ietf:params:oauth:token-type:access_token"`: "Bearer", `"JWT"`: "Bearer", `"DPoP-bound bearer"`: "",
		`"mac"`: "", `"MAC"`: "", `"DPoP"`: "", `"pop"`: "", `"hmac"`: "", `"N_A"`: "", `"urn:x:token-type:jwt"`: "",
	} {
		testkit.Bubble(t, told, func(t *testing.T) {
			e := &endpoint{status: 200, answer: `{"access_token":"a1","refresh_token":"r1","expires_in":3600,"token_type":` + told + `}`}
			store := oauth.NewMemoryStore()
			o := app(t, e, func(c *oauth.Config) { c.Store = store })
			seeded(t, o, "acme", past())
			c := newClient(t, e, belay.WithAuth(o.RefreshToken("acme")))
			err := get(t.Context(), c, "/")
			kept, lerr := store.Load(t.Context(), "acme")
			require.NoError(t, lerr)
			require.Equal(t, "a1 r1", kept.Access.Reveal()+" "+kept.Refresh.Reveal(), "the tokens are kept whatever they are")
			if want != "" {
				require.NoError(t, err)
				require.Equal(t, want+" a1", e.auth)
				return
			}
			require.ErrorIs(t, err, belay.ErrAuth)
			require.ErrorContains(t, err, strings.Trim(told, `"`))
			require.Empty(t, e.auth, "no call was sent")
			require.Error(t, get(t.Context(), c, "/"))
			require.Len(t, e.sent, 1, "the endpoint is not asked again for what it does not have")

			o = app(t, e, func(c *oauth.Config) { c.Store, c.TokenType = store, "Custom" })
			seeded(t, o, "acme", past())
			require.NoError(t, get(t.Context(), newClient(t, e, belay.WithAuth(o.RefreshToken("acme"))), "/"))
			require.Equal(t, "Custom a1", e.auth)
		})
	}
}

// A refresh token that comes in an answer that cannot be used is kept: it may be the only valid one.
func TestRefreshTokenOfABadAnswer(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status         int
		answer         string
		access, refreh string // what is stored then
	}{
		"no access token":        {200, `{"refresh_token":"r1"}`, "access-0-secret", "r1"},
		"an access token of ''":  {200, `{"access_token":"","refresh_token":"r1"}`, "access-0-secret", "r1"},
		"a line break":           {200, `{"access_token":"a\nb","refresh_token":"r1"}`, "access-0-secret", "r1"},
		"an error beside it":     {200, `{"error":"warning_x","access_token":"a1","refresh_token":"r1"}`, "a1", "r1"},
		"a refusal for good":     {200, `{"error":"invalid_grant","refresh_token":"r1"}`, "access-0-secret", "refresh-0-secret"},
		"a refusal with 400":     {400, `{"error":"invalid_x","refresh_token":"r1"}`, "access-0-secret", "refresh-0-secret"},
		"trouble beside it":      {200, `{"error":"server_error","refresh_token":"r1"}`, "access-0-secret", "r1"},
		"an echo with 500":       {500, `{"request":{"refresh_token":"refresh-0-secret"}}`, "access-0-secret", "refresh-0-secret"},
		"tokens with no grant":   {400, `{"error":"invalid_grant","access_token":"a1","refresh_token":"r1"}`, "access-0-secret", "refresh-0-secret"},
		"a token of 100 KB":      {200, `{"access_token":"` + strings.Repeat("a", 100<<10) + `","refresh_token":"r1"}`, "access-0-secret", "r1"},
		"a number":               {200, `{"refresh_token":1234567}`, "access-0-secret", "1234567"},
		"in an envelope":         {200, `{"data":{"access_token":"a1","refresh_token":"r1"}}`, "access-0-secret", "r1"},
		"in an array of one":     {200, `{"data":[{"accessToken":"a1","refreshToken":"r1"}]}`, "access-0-secret", "r1"},
		"in a text":              {200, `{"data":"{\"refresh_token\":\"r1\"}"}`, "access-0-secret", "r1"},
		"the old one":            {200, `{"refresh_token":"refresh-0-secret"}`, "access-0-secret", "refresh-0-secret"},
		"a refresh token of two": {200, `{"access_token":"a1","refresh_token":"r1\nx"}`, "a1", "r1\nx"},
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			e := &endpoint{status: c.status, answer: c.answer}
			store := oauth.NewMemoryStore()
			o := app(t, e, func(c *oauth.Config) { c.Store = store })
			seeded(t, o, "acme", past())
			cl := newClient(t, e, belay.WithAuth(o.RefreshToken("acme")))
			err := get(t.Context(), cl, "/")
			kept, lerr := store.Load(t.Context(), "acme")
			require.NoError(t, lerr)
			require.Equal(t, c.access+" "+c.refreh, kept.Access.Reveal()+" "+kept.Refresh.Reveal())
			if name == "a refresh token of two" {
				require.NoError(t, err)
				return
			}
			require.Error(t, err)
			require.NotContains(t, shown(err), "r1")
			if c.refreh != "r1" {
				return
			}
			// The next refresh is made with it.
			e.answer = `{"access_token":"a2","refresh_token":"r2","expires_in":3600}`
			time.Sleep(time.Hour)
			require.NoError(t, get(t.Context(), cl, "/"))
			form, err := url.ParseQuery(e.bodies[len(e.bodies)-1])
			require.NoError(t, err)
			if len(e.sent) > 1 {
				require.Equal(t, "r1", form.Get("refresh_token"))
			}
		})
	}
	testkit.Bubble(t, "of a code", func(t *testing.T) {
		e := &endpoint{status: 200, answer: `{"refresh_token":"r1"}`}
		store := oauth.NewMemoryStore()
		o := app(t, e, func(c *oauth.Config) { c.Store = store })
		consent, err := o.AuthCodeURL(nil)
		require.NoError(t, err)
		require.Error(t, o.Exchange(t.Context(), "acme", consent, url.Values{"state": {consent.State}, "code": {"c"}}))
		e.answer = `{"access_token":"a2"}`
		require.NoError(t, get(t.Context(), newClient(t, e, belay.WithAuth(o.RefreshToken("acme"))), "/"))
		require.Equal(t, "Bearer a2", e.auth)
	})
}

// What a token endpoint tells beside the token is kept with it, over a refresh and a restart, and is not printed.
func TestExtraFields(t *testing.T) {
	t.Parallel()
	e := &endpoint{status: 200, answer: `{
		"access_token":"a1","refresh_token":"r1","expires_in":1,"scope":"x y","id_token":"e30.canary-id",
		"instance_url":"https://eu7.partner.test","locationId":"L1","n":5,"authed":{"id":7}}`}
	dir := t.TempDir()
	key := belay.NewSecret(strings.Repeat("k", 32))
	store, err := oauth.NewFileStore(dir, key)
	require.NoError(t, err)
	o := app(t, e, func(c *oauth.Config) { c.Store = store })
	_, err = o.Token(t.Context(), "acme")
	require.ErrorIs(t, err, belay.ErrAuth)
	consent, err := o.AuthCodeURL(nil)
	require.NoError(t, err)
	require.NoError(t, o.Exchange(t.Context(), "acme", consent, url.Values{"state": {consent.State}, "code": {"c"}}))
	want := map[string]string{
		"scope": "x y", "id_token": "e30.canary-id", "instance_url": "https://eu7.partner.test", "locationId": "L1", "n": "5",
		"authed": `{"id":7}`,
	}
	check := func(o *oauth.App) {
		tok, err := o.Token(t.Context(), "acme")
		require.NoError(t, err)
		got := map[string]string{}
		for name, v := range tok.Extra {
			got[name] = v.Reveal()
		}
		require.Equal(t, want, got)
		data, err := json.Marshal(tok)
		require.NoError(t, err)
		require.NotContains(t, fmt.Sprintf("%v %+v %#v %s", tok, tok, tok, data), "canary")
	}
	check(o)
	e.answer = `{"access_token":"a2","scope":"x"}`
	want["scope"] = "x"
	tok, err := o.Token(t.Context(), "acme")
	require.NoError(t, err)
	tok.Expiry = time.Now().Add(-time.Minute)
	require.NoError(t, o.Put(t.Context(), "acme", tok))
	require.NoError(t, get(t.Context(), newClient(t, e, belay.WithAuth(o.RefreshToken("acme"))), "/"))
	check(o)
	again, err := oauth.NewFileStore(dir, key)
	require.NoError(t, err)
	check(app(t, e, func(c *oauth.Config) { c.Store = again }))
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	for _, name := range files {
		data, err := os.ReadFile(name)
		require.NoError(t, err)
		require.NotContains(t, string(data), "canary")
	}
}

// The requests of partners with a way of their own.
// Tokens are understood in every writing, and those of two grants are not mixed.
func TestAnswersOfADialect(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer, path, want string // empty: an error
	}{
		"camel case":          {`{"accessToken":"a1","refreshToken":"r1","expiresIn":60}`, "", "a1 r1"},
		"upper case":          {`{"AccessToken":"a1","RefreshToken":"r1"}`, "", "a1 r1"},
		"a refresh number":    {`{"access_token":"a1","refresh_token":1234567}`, "", "a1 1234567"},
		"a form as HTML":      {"access_token=a1&refresh_token=r1", "", "a1 r1"},
		"an error of 0":       {`{"error":0,"access_token":"a1","refresh_token":"r1"}`, "", "a1 r1"},
		"an empty error":      {`{"error":{},"access_token":"a1","refresh_token":"r1"}`, "", "a1 r1"},
		"an error of none":    {`{"error":"none","access_token":"a1","refresh_token":"r1"}`, "", "a1 r1"},
		"another grant":       {`{"access_token":"bot","refresh_token":"rb","authed_user":{"id":"U1"}}`, "authed_user", ""},
		"half of another one": {`{"access_token":"bot","refresh_token":"rb","expires_in":60,"authed_user":{"access_token":"user"}}`, "authed_user", "user "},
		"both":                {`{"access_token":"bot","refresh_token":"rb","authed_user":{"access_token":"user","refresh_token":"ru"}}`, "authed_user", "user ru"},
		"an end around it":    {`{"expires_in":60,"data":{"access_token":"a1","refresh_token":"r1"}}`, "data", "a1 r1"},
		"without the object":  {`{"access_token":"a1","refresh_token":"r1"}`, "data", "a1 r1"},
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			store := oauth.NewMemoryStore()
			o := app(t, &endpoint{status: 200, answer: c.answer}, func(cfg *oauth.Config) { cfg.Store, cfg.TokenPath = store, c.path })
			consent, err := o.AuthCodeURL(nil)
			require.NoError(t, err)
			err = o.Exchange(t.Context(), "acme", consent, url.Values{"state": {consent.State}, "code": {"c"}})
			if c.want == "" {
				require.Error(t, err)
				return
			}
			require.NoError(t, err)
			kept, err := store.Load(t.Context(), "acme")
			require.NoError(t, err)
			require.Equal(t, c.want, kept.Access.Reveal()+" "+kept.Refresh.Reveal())
		})
	}
}

// What an endpoint says of its limits is no refusal of the grant, and neither is a proxy's answer.
func TestLimitsOfATokenEndpoint(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		answer string
	}{
		"a limit as a wrong request": {400, `{"error":"invalid_request","error_description":"Too many requests, try again in 20 seconds"}`},
		"and in other words":         {400, `{"error":"invalid_request","error_description":"rate limit exceeded"}`},
		"a limit as 403":             {403, `{"error":"x","error_description":"API rate limit exceeded"}`},
		"a proxy's 404":              {404, `{"error":"invalid_request"}`},
		"a proxy's 403":              {403, `{"error":"invalid_grant"}`},
		"and 422":                    {422, `{"error":"invalid_grant"}`},
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			e := &endpoint{status: c.status, answer: c.answer}
			o := app(t, e)
			seeded(t, o, "acme", past())
			cl := newClient(t, e, belay.WithAuth(o.RefreshToken("acme")))
			require.Error(t, get(t.Context(), cl, "/"))
			time.Sleep(2 * time.Hour)
			e.status, e.answer = 200, `{"access_token":"a1","refresh_token":"r1","expires_in":3600}`
			require.NoError(t, get(t.Context(), cl, "/"), "the grant was good all the time")
		})
	}
}

func TestTokenRequestsOfADialect(t *testing.T) {
	t.Parallel()
	const wrapped = `{"code":0,"message":"ok","data":{"access_token":"a1","refresh_token":"r1","expires_in":3600,"open_id":"o"}}`
	run := func(t *testing.T, e *endpoint, change func(*oauth.Config)) *oauth.App {
		o := app(t, e, change)
		consent, err := o.AuthCodeURL(nil)
		require.NoError(t, err)
		u, err := url.Parse(consent.URL)
		require.NoError(t, err)
		require.Equal(t, consent.Verifier.Reveal() != "", u.Query().Has("code_challenge"))
		require.NoError(t, o.Exchange(t.Context(), "acme", consent, url.Values{"state": {consent.State}, "code": {"c"}}))
		return o
	}
	t.Run("no PKCE", func(t *testing.T) {
		e := &endpoint{status: 200, answer: `{"access_token":"a1"}`}
		run(t, e, func(c *oauth.Config) { c.NoPKCE = true })
		require.NotContains(t, e.bodies[0], "code_verifier")
		run(t, e, func(*oauth.Config) {})
		require.Contains(t, e.bodies[1], "code_verifier")
	})
	t.Run("JSON", func(t *testing.T) {
		e := &endpoint{status: 200, answer: `{"access_token":"a1"}`}
		run(t, e, func(c *oauth.Config) { c.JSON, c.Style = true, oauth.StyleHeader })
		var body map[string]any
		require.NoError(t, json.Unmarshal([]byte(e.bodies[0]), &body))
		require.Equal(t, "authorization_code", body["grant_type"])
		require.Equal(t, "c", body["code"])
		require.Equal(t, "application/json", e.sent[0].Header.Get("Content-Type"))
		require.True(t, strings.HasPrefix(e.sent[0].Header.Get("Authorization"), "Basic "))
		require.NotContains(t, body, "client_secret")
	})
	t.Run("within data, and a refresh URL", func(t *testing.T) {
		e := &endpoint{status: 200, answer: wrapped}
		o := run(t, e, func(c *oauth.Config) {
			c.TokenPath, c.RefreshURL = "data", "https://partner.test/v2/token_refresh"
		})
		tok, err := o.Token(t.Context(), "acme")
		require.NoError(t, err)
		require.Equal(t, "a1 r1 o ok", tok.Access.Reveal()+" "+tok.Refresh.Reveal()+" "+tok.Extra["open_id"].Reveal()+" "+
			tok.Extra["message"].Reveal())
		tok.Expiry = time.Now().Add(-time.Minute)
		require.NoError(t, o.Put(t.Context(), "acme", tok))
		require.NoError(t, get(t.Context(), newClient(t, e, belay.WithAuth(o.RefreshToken("acme"))), "/"))
		require.Equal(t, "/token", e.sent[0].URL.Path)
		require.Equal(t, "/v2/token_refresh", e.sent[1].URL.Path)
	})
	t.Run("an error within the wrapping", func(t *testing.T) {
		e := &endpoint{status: 200, answer: `{"code":10010,"message":"refresh token is bad","data":{}}`}
		o := app(t, e, func(c *oauth.Config) { c.TokenPath = "data" })
		seeded(t, o, "acme", past())
		err := get(t.Context(), newClient(t, e, belay.WithAuth(o.RefreshToken("acme"))), "/")
		require.Error(t, err)
		require.Contains(t, err.Error(), "10010")
		require.Contains(t, err.Error(), "refresh token is bad")
	})
	for name, change := range map[string]func(*oauth.Config){
		"RefreshURL": func(c *oauth.Config) { c.RefreshURL = "http://partner.test/token" },
		"TokenType":  func(c *oauth.Config) { c.TokenType = "a b" },
		"TokenPath":  func(c *oauth.Config) { c.TokenPath = ".data" },
	} {
		cfg := oauth.Config{TokenURL: "https://partner.test/token", ClientID: "app"}
		change(&cfg)
		_, err := oauth.New(cfg)
		require.ErrorIs(t, err, belay.ErrInvalid)
		require.ErrorContains(t, err, name)
	}
}

// What an endpoint repeats of a request is not shown.
func TestEchoesOfATokenRequest(t *testing.T) {
	t.Parallel()
	var secrets []string
	rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
		body, _ := io.ReadAll(req.Body)
		form, _ := url.ParseQuery(string(body))
		secrets = append(secrets[:0], form.Get("code"), form.Get("code_verifier"), form.Get("client_secret"), form.Get("tenant_pin"))
		return testkit.JSONReply(400, map[string]string{
			"error": "invalid_request", "error_description": "bad " + strings.Join(secrets, " "),
		}), nil
	})
	o := app(t, rt, func(c *oauth.Config) { c.Params = url.Values{"tenant_pin": {"pin-canary"}} })
	consent, err := o.AuthCodeURL(nil)
	require.NoError(t, err)
	err = o.Exchange(t.Context(), "acme", consent, url.Values{"state": {consent.State}, "code": {"code-canary"}})
	require.Error(t, err)
	require.Len(t, secrets, 4)
	for _, s := range secrets {
		require.NotEmpty(t, s)
		require.NotContains(t, shown(err), s)
	}
}

// leaky is a store that fails with the token in its error.
type leaky struct{ oauth.Store }

func (leaky) Update(
	ctx context.Context, key string, f func(context.Context, oauth.Token) (oauth.Token, error),
) (oauth.Token, error) {
	t, err := f(ctx, aToken("access-canary", "refresh-canary", past()))
	if err != nil {
		return oauth.Token{}, err
	}
	return oauth.Token{}, fmt.Errorf("INSERT %s, %s: refresh-canary: disk full", t.Access.Reveal(), t.Refresh.Reveal())
}

// A store of the user's may put the token into its error.
// A login's function may fail with what it sent.
func TestErrorsOfALogin(t *testing.T) {
	t.Parallel()
	for name, make := range map[string]func(oauth.Token) error{
		"a URL": func(oauth.Token) error {
			return &url.Error{Op: "Post", URL: "https://p.test/login?password=login-canary", Err: errors.New("EOF")}
		},
		"a wrapped URL": func(oauth.Token) error {
			return fmt.Errorf("login: %w", &url.Error{Op: "Post", URL: "https://p.test/login?password=login-canary", Err: errors.New("EOF")})
		},
		"the old token": func(old oauth.Token) error { return errors.New("refused " + old.Access.Reveal()) },
		"in an error": func(old oauth.Token) error {
			return &belay.Error{Verdict: belay.Verdict{Class: belay.ClassAuth, Message: "refused " + old.Access.Reveal()}}
		},
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			l, err := oauth.NewLogin(oauth.LoginConfig{Name: "crm"})
			require.NoError(t, err)
			n := 0
			cred := l.Credential("acme", func(_ context.Context, old oauth.Token) (oauth.Token, error) {
				if n++; n == 1 {
					return oauth.Token{Access: belay.NewSecret("access-canary-1"), Expiry: time.Now().Add(time.Hour)}, nil
				}
				return oauth.Token{}, make(old)
			})
			c := newClient(t, &endpoint{status: 200, answer: "{}"}, belay.WithAuth(cred))
			require.NoError(t, get(t.Context(), c, "/"))
			time.Sleep(2 * time.Hour)
			err = get(t.Context(), c, "/")
			require.Error(t, err)
			require.NotContains(t, fmt.Sprintf("%v %+v", err, err), "canary")
		})
	}
}

func TestErrorsOfAStore(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "", testErrorsOfAStore)
}

func testErrorsOfAStore(t *testing.T) {
	e := &endpoint{status: 200, answer: `{"access_token":"new-canary-1","refresh_token":"new-canary-2"}`}
	o := app(t, e, func(c *oauth.Config) { c.Store = leaky{oauth.NewMemoryStore()} })
	auth := o.RefreshToken("acme")
	err := get(t.Context(), newClient(t, e, belay.WithAuth(auth)), "/")
	require.ErrorContains(t, err, "disk full")
	require.NotContains(t, shown(err), "canary")
	require.NotContains(t, testkit.Verbs(auth)+testkit.Verbs(o), "canary")
	err = o.Put(t.Context(), "acme", aToken("put-canary-1", "put-canary-2", past()))
	require.ErrorContains(t, err, "disk full")
	require.NotContains(t, shown(err), "canary")
}
