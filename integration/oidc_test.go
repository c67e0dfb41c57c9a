package integration

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/oauth"
)

const appSecret = "a+secret/of:the=app"

// authServer is oidc-provider, in a process of its own.
type authServer struct {
	issuer string

	mu     sync.Mutex
	events map[string]int // "granted refresh_token", "refused invalid_grant refresh token already used", "revoked", …
}

func (s *authServer) count(event string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, times := range s.events {
		if strings.HasPrefix(name, event) {
			n += times
		}
	}
	return n
}

// settled waits until the server has told of that many events, which it does beside its answers, and a moment more.
func (s *authServer) settled(event string, least int) int {
	for deadline := time.Now().Add(10 * time.Second); s.count(event) < least && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(200 * time.Millisecond)
	return s.count(event)
}

// startAuthServer installs oidc-provider from npm and starts it.
func startAuthServer(t *testing.T) *authServer {
	t.Helper()
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("SKIPPED: there is no %s, so no authorization server can be started; install Node 18 or later", tool)
		}
	}
	dir := t.TempDir()
	for _, name := range []string{"package.json", "server.mjs"} {
		data, err := os.ReadFile(filepath.Join("oidc", name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
	install := exec.Command("npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts")
	install.Dir = dir
	out, err := install.CombinedOutput()
	require.NoError(t, err, "%s", out)
	cmd := exec.Command("node", "server.mjs")
	cmd.Dir = dir
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	s := &authServer{events: make(map[string]int)}
	listening, ended := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			var e struct{ Event, Issuer, Grant, Error, Detail string }
			if json.Unmarshal(lines.Bytes(), &e) != nil {
				continue
			}
			if e.Event == "listening" {
				listening <- e.Issuer
			}
			s.mu.Lock()
			s.events[strings.Join(strings.Fields(strings.Join([]string{e.Event, e.Grant, e.Error, e.Detail}, " ")), " ")]++
			s.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-ended
		_ = cmd.Wait()
	})
	select {
	case s.issuer = <-listening:
	case <-time.After(time.Minute):
		t.Fatal("the authorization server did not say where it listens")
	}
	return s
}

// app is an oauth.App at the server.
func (s *authServer) app(t *testing.T, id string, style oauth.Style, store oauth.Store, o belay.Observer) *oauth.App {
	t.Helper()
	a, err := oauth.New(oauth.Config{
		TokenURL: s.issuer + "/token", AuthURL: s.issuer + "/auth", RedirectURL: "http://127.0.0.1:1/callback",
		ClientID: id, ClientSecret: belay.NewSecret(appSecret), Style: style,
		Scopes: []string{"openid", "offline_access"}, Store: store, Observer: o,
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = a.Close() })
	return a
}

// consent does what the user does in a browser: signs in, agrees, and is sent back.
func (s *authServer) consent(t *testing.T, page string) url.Values {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	var back url.Values
	browser := &http.Client{Jar: jar, CheckRedirect: func(req *http.Request, _ []*http.Request) error {
		if req.URL.Path == "/callback" {
			back = req.URL.Query()
			return http.ErrUseLastResponse
		}
		return nil
	}}
	defer browser.CloseIdleConnections()
	resp, err := browser.Get(page)
	require.NoError(t, err)
	for _, form := range []url.Values{
		{"prompt": {"login"}, "login": {"ada"}, "password": {"any"}}, {"prompt": {"consent"}},
	} {
		_ = resp.Body.Close()
		require.Equal(t, 200, resp.StatusCode)
		require.Contains(t, resp.Request.URL.Path, "/interaction/")
		resp, err = browser.PostForm(resp.Request.URL.String(), form)
		require.NoError(t, err)
	}
	_ = resp.Body.Close()
	require.NotNil(t, back, "the user was not sent back")
	return back
}

// connect lets a customer connect, and returns the token that is stored.
func (s *authServer) connect(t *testing.T, app *oauth.App, store oauth.Store, key string) oauth.Token {
	t.Helper()
	consent, err := app.AuthCodeURL(url.Values{"prompt": {"consent"}})
	require.NoError(t, err)
	require.NoError(t, app.Exchange(t.Context(), key, consent, s.consent(t, consent.URL)))
	token, err := store.Load(t.Context(), key)
	require.NoError(t, err)
	require.NotEmpty(t, token.Refresh.Reveal())
	return token
}

// TestRecordServer records the cassette of package oauth, with BELAY_RECORD=1: make cassettes.
func TestRecordServer(t *testing.T) {
	if os.Getenv("BELAY_RECORD") == "" {
		t.Skip("BELAY_RECORD is not set")
	}
	s := startAuthServer(t)
	store := oauth.NewMemoryStore()
	token := s.connect(t, s.app(t, "body", oauth.StyleBody, store, nil), store, "acme")
	record := exec.Command("go", "test", "-count=1", "-run", "TestRecordedServer", "./oauth",
		"-server", strings.TrimPrefix(s.issuer, "http://"), "-refresh", token.Refresh.Reveal(), "-secret", appSecret)
	record.Dir = ".."
	if out, err := record.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func (s *authServer) client(t *testing.T, app *oauth.App, key string) *belay.Client {
	t.Helper()
	c, err := belay.New(s.issuer, belay.WithAuth(app.RefreshToken(key)), belay.WithIntegration(key))
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func me(ctx context.Context, c *belay.Client) error {
	who, err := belay.Get[struct{ Sub string }](ctx, c, "/me")
	if err == nil && who.Sub != "ada" {
		err = fmt.Errorf("it is %q", who.Sub)
	}
	return err
}

// A real authorization server with refresh rotation: the code grant with PKCE, refreshes ahead of expiry by many
// calls and two processes' worth of apps, reuse, and revocation.
func TestAuthorizationServer(t *testing.T) {
	s := startAuthServer(t)
	var mu sync.Mutex
	var seen []string
	watch := belay.ObserverFunc(func(_ context.Context, e belay.Event) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, fmt.Sprintf("%T", e))
	})
	saw := func(event string) (n int) {
		mu.Lock()
		defer mu.Unlock()
		for _, e := range seen {
			if e == event {
				n++
			}
		}
		return n
	}
	dir := t.TempDir()
	files := func() *oauth.FileStore {
		store, err := oauth.NewFileStore(dir, belay.NewSecret(strings.Repeat("k", 32)))
		require.NoError(t, err)
		return store
	}

	t.Run("the code grant with PKCE, and what it refuses", func(t *testing.T) {
		for id, style := range map[string]oauth.Style{"body": oauth.StyleBody, "header": oauth.StyleHeader} {
			store := oauth.NewMemoryStore()
			app := s.app(t, id, style, store, nil)
			s.connect(t, app, store, "acme")
			require.NoError(t, me(t.Context(), s.client(t, app, "acme")))
		}
		app := s.app(t, "body", oauth.StyleBody, nil, nil)
		consent, err := app.AuthCodeURL(url.Values{"prompt": {"consent"}})
		require.NoError(t, err)
		back := s.consent(t, consent.URL)
		other, err := app.AuthCodeURL(nil)
		require.NoError(t, err)
		require.ErrorIs(t, app.Exchange(t.Context(), "acme", other, back), belay.ErrAuth, "another state")
		stolen := consent
		stolen.Verifier = other.Verifier
		err = app.Exchange(t.Context(), "acme", stolen, back)
		require.ErrorIs(t, err, belay.ErrAuth, "another verifier")
		var e *belay.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, "invalid_grant", e.Code)
		wrong, err := oauth.New(
			oauth.Config{TokenURL: s.issuer + "/token", ClientID: "machine", ClientSecret: belay.NewSecret("another")},
		)
		require.NoError(t, err)
		defer wrong.Close()
		_, err = wrong.ClientCredentials("").Credential(t.Context())
		require.ErrorIs(t, err, belay.ErrAuth)
		require.ErrorContains(t, err, "check its client id, its secret and the style")
	})

	t.Run("client credentials", func(t *testing.T) {
		app, err := oauth.New(
			oauth.Config{TokenURL: s.issuer + "/token", ClientID: "machine", ClientSecret: belay.NewSecret(appSecret)},
		)
		require.NoError(t, err)
		defer app.Close()
		_, err = app.ClientCredentials("").Credential(t.Context())
		require.NoError(t, err)
		require.Equal(t, 1, s.settled("granted client_credentials", 1))
	})

	// Two apps on one directory of files are what two processes are: each has an opening of the lock of its own.
	t.Run("refreshes, rotated, by two apps and many calls", func(t *testing.T) {
		apps := []*oauth.App{
			s.app(t, "body", oauth.StyleBody, files(), watch),
			s.app(t, "body", oauth.StyleBody, files(), watch),
		}
		s.connect(t, apps[0], files(), "acme")
		before := s.count("granted refresh_token")
		until, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		var wg sync.WaitGroup
		failed := make(chan error, 1000)
		calls := 0
		for i := range 16 {
			c := s.client(t, apps[i%2], "acme")
			wg.Go(func() {
				for s.count("granted refresh_token")-before < 5 && until.Err() == nil {
					if err := me(t.Context(), c); err != nil {
						failed <- err
					}
					mu.Lock()
					calls++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		require.NoError(t, until.Err(), "it ended by its refreshes")
		close(failed)
		for err := range failed {
			require.NoError(t, err)
		}
		require.Zero(t, s.settled("revoked", 0), "no refresh token was used twice")
		t.Logf("%d calls by 16 workers, %d refreshes, failed 0, reused 0", calls, s.count("granted refresh_token")-before)
	})

	t.Run("reuse revokes the grant, and is not repeated", func(t *testing.T) {
		store := oauth.NewMemoryStore()
		app := s.app(t, "body", oauth.StyleBody, store, watch)
		old := s.connect(t, app, store, "acme")
		c := s.client(t, app, "acme")
		spend := old // the first use is fine
		spend.Expiry = time.Now().Add(-time.Second)
		require.NoError(t, app.Put(t.Context(), "acme", spend))
		require.NoError(t, me(t.Context(), c))
		require.NoError(t, app.Put(t.Context(), "acme", spend)) // a backup that was restored
		refused := s.settled("refused refresh_token", 0)
		for range 10 {
			err := me(t.Context(), c)
			require.ErrorIs(t, err, belay.ErrAuth)
			require.ErrorContains(t, err, "connect again")
		}
		require.Equal(t, refused+1, s.settled("refused refresh_token", refused+1), "a dead grant is not hammered")
		require.Equal(t, 1, s.settled("revoked", 1))
		require.Eventually(t, func() bool { return saw("belay.TokenRevoked") == 1 }, 10*time.Second, 5*time.Millisecond)
		s.connect(t, app, store, "acme")
		require.NoError(t, me(t.Context(), c), "connected again")
	})

	t.Run("revocation", func(t *testing.T) {
		store := oauth.NewMemoryStore()
		app := s.app(t, "header", oauth.StyleHeader, store, watch)
		token := s.connect(t, app, store, "acme")
		c := s.client(t, app, "acme")
		require.NoError(t, me(t.Context(), c))
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.issuer+"/token/revocation",
			strings.NewReader(url.Values{"token": {token.Refresh.Reveal()}}.Encode()))
		require.NoError(t, err)
		req.SetBasicAuth("header", url.QueryEscape(appSecret))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		_ = resp.Body.Close()
		require.Equal(t, 200, resp.StatusCode)
		err = me(t.Context(), c) // 401, one refresh, invalid_grant
		require.ErrorIs(t, err, belay.ErrAuth)
		require.ErrorContains(t, err, "connect again")
		var e *belay.Error
		require.True(t, errors.As(err, &e))
		require.NotContains(t, fmt.Sprintf("%+v", err), token.Refresh.Reveal())
		require.Equal(t, belay.HealthDown, c.Health().State)
		// The observer is told once the calls have their answer.
		require.Eventually(t, func() bool { return saw("belay.TokenRevoked") == 2 }, 10*time.Second, 5*time.Millisecond)
	})
	http.DefaultClient.CloseIdleConnections()
}
