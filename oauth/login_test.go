package oauth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
	"github.com/belay-go/belay/oauth"
)

// office is a partner with a login of its own: POST /login for a token that lasts for an hour.
type office struct {
	logins, calls atomic.Int32
	refuse, down  atomic.Bool
	takes         time.Duration
	valid         atomic.Value // the token that is good
}

func (p *office) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Path == "/login" {
		n := p.logins.Add(1)
		time.Sleep(p.takes)
		switch {
		case p.down.Load():
			return testkit.Reply(503), nil
		case p.refuse.Load():
			return testkit.JSONReply(400, map[string]string{"message": "Failed to authenticate."}), nil
		}
		token := fmt.Sprint("t", n)
		p.valid.Store(token)
		return testkit.JSONReply(200, map[string]any{"token": token}), nil
	}
	p.calls.Add(1)
	if req.Header.Get("Authorization") != "Bearer "+fmt.Sprint(p.valid.Load()) {
		return testkit.Reply(401), nil
	}
	return testkit.Reply(200), nil
}

// renew logs in with the client c, which has no credential.
func renew(c *belay.Client) oauth.Renew {
	return func(ctx context.Context, _ oauth.Token) (oauth.Token, error) {
		got, err := belay.Post[map[string]string](ctx, c, "/login", map[string]string{"name": "ann", "password": "x"})
		if err != nil {
			return oauth.Token{}, err
		}
		return oauth.Token{Access: belay.NewSecret(got["token"]), Expiry: time.Now().Add(time.Hour)}, nil
	}
}

func newLogin(t *testing.T, cfg oauth.LoginConfig) *oauth.Login {
	t.Helper()
	cfg.Name = "office"
	l, err := oauth.NewLogin(cfg)
	require.NoError(t, err)
	return l
}

// A partner's own login has what OAuth2 has: one renewal at a time, ahead of the end, after a 401, refusals remembered.
func TestLogin(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "one at a time, and ahead of the end", func(t *testing.T) {
		p := &office{takes: time.Second}
		bare := newClient(t, p)
		c := newClient(t, p, belay.WithAuth(newLogin(t, oauth.LoginConfig{}).Credential("acme", renew(bare))))
		require.Empty(t, testkit.Work(20, 100, func(int) error { return get(t.Context(), c, "/") }))
		require.EqualValues(t, 1, p.logins.Load())
		time.Sleep(56 * time.Minute)
		began := time.Now()
		require.NoError(t, get(t.Context(), c, "/"))
		require.Zero(t, time.Since(began), "the old token serves meanwhile")
		time.Sleep(2 * time.Second)
		require.EqualValues(t, 2, p.logins.Load())
		p.valid.Store("another")
		require.NoError(t, get(t.Context(), c, "/"))
		require.EqualValues(t, 3, p.logins.Load())
	})
	testkit.Bubble(t, "a refusal is remembered", func(t *testing.T) {
		p := &office{}
		p.refuse.Store(true)
		diary := &testkit.Diary[belay.Event]{}
		l := newLogin(t, oauth.LoginConfig{Observer: belay.ObserverFunc(diary.Observe)})
		c := newClient(t, p, belay.WithAuth(l.Credential("acme", renew(newClient(t, p)))))
		for range 50 {
			require.ErrorIs(t, get(t.Context(), c, "/"), belay.ErrAuth)
			time.Sleep(time.Minute / 2)
		}
		require.EqualValues(t, 1, p.logins.Load())
		require.Equal(t, []string{"TokenRevoked"}, diary.Kinds())
		p.refuse.Store(false)
		p.valid.Store("x")
		require.NoError(t, l.Put(t.Context(), "acme", oauth.Token{Access: belay.NewSecret("x")}))
		require.NoError(t, get(t.Context(), c, "/"))
		require.NoError(t, l.Forget(t.Context(), "acme"))
		require.ErrorIs(t, get(t.Context(), c, "/"), belay.ErrAuth)
	})
	testkit.Bubble(t, "an outage of the login passes", func(t *testing.T) {
		p := &office{}
		p.down.Store(true)
		bare := newClient(t, p, belay.Without(belay.LayerRetry, belay.LayerBreaker))
		c := newClient(t, p, belay.WithAuth(newLogin(t, oauth.LoginConfig{}).Credential("acme", renew(bare))))
		began := time.Now()
		err := get(t.Context(), c, "/")
		require.ErrorIs(t, err, belay.ErrUnavailable)
		require.LessOrEqual(t, p.logins.Load(), int32(3))
		require.Less(t, time.Since(began), time.Minute)
		time.AfterFunc(time.Minute, func() { p.down.Store(false) })
		require.NoError(t, get(t.Context(), c, "/", belay.Patience(time.Hour)))
	})
	testkit.Bubble(t, "one customer's trouble is not another's", func(t *testing.T) {
		p := &office{}
		l := newLogin(t, oauth.LoginConfig{})
		broken := func(context.Context, oauth.Token) (oauth.Token, error) { return oauth.Token{}, errors.New("trouble") }
		bad := newClient(t, p, belay.WithAuth(l.Credential("bad1", broken)))
		good := newClient(t, p, belay.WithAuth(l.Credential("good2", renew(newClient(t, p)))))
		for range 3 {
			require.Error(t, get(t.Context(), bad, "/"))
		}
		require.NoError(t, get(t.Context(), good, "/"))
	})
	testkit.Bubble(t, "bad input", func(t *testing.T) {
		_, err := oauth.NewLogin(oauth.LoginConfig{Timeout: -1})
		require.ErrorIs(t, err, belay.ErrInvalid)
		require.ErrorContains(t, err, "Name is empty")
		require.ErrorContains(t, err, "Timeout is -1ns")
		for name, a := range map[string]belay.Authenticator{
			"nil login":   (*oauth.Login)(nil).Credential("k", renew(nil)),
			"no key":      newLogin(t, oauth.LoginConfig{}).Credential("", renew(nil)),
			"no function": newLogin(t, oauth.LoginConfig{}).Credential("k", nil),
		} {
			_, err := belay.New("https://partner.test", belay.WithAuth(a))
			require.ErrorIs(t, err, belay.ErrInvalid, name)
		}
		l := newLogin(t, oauth.LoginConfig{})
		empty := func(context.Context, oauth.Token) (oauth.Token, error) { return oauth.Token{}, nil }
		panics := func(context.Context, oauth.Token) (oauth.Token, error) { panic("x") }
		require.Error(t, get(t.Context(), newClient(t, &office{}, belay.WithAuth(l.Credential("a", empty))), "/"))
		require.Error(t, get(t.Context(), newClient(t, &office{}, belay.WithAuth(l.Credential("b", panics))), "/"))
		require.Equal(t, "Login{office}", fmt.Sprintf("%+v", l))
	})
}

// A token endpoint that hangs or fails costs a default call three requests and a minute at most; a slow one works.
func TestBudgetOfATokenRequest(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		takes  time.Duration // 0 is for ever
		status int
		works  bool
	}{
		"hangs": {}, "503": {takes: time.Millisecond, status: 503}, "429": {takes: time.Millisecond, status: 429},
		"31 s":             {takes: 31 * time.Second, status: 200, works: true},
		"45 s":             {takes: 45*time.Second - 1, status: 200, works: true},
		"slow and failing": {takes: 20 * time.Second, status: 500},
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			var asked atomic.Int32
			rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
				if req.URL.Path != "/token" {
					return testkit.Reply(200), nil
				}
				asked.Add(1)
				var done <-chan time.Time
				if tc.takes > 0 {
					done = time.After(tc.takes)
				}
				select {
				case <-done:
				case <-req.Context().Done():
					return nil, req.Context().Err()
				}
				if tc.status == 200 {
					return testkit.JSONReply(200, map[string]any{"access_token": "a", "expires_in": 3600}), nil
				}
				return testkit.Reply(tc.status), nil
			})
			o, err := oauth.New(oauth.Config{TokenURL: "https://partner.test/token", ClientID: "app", Transport: rt})
			require.NoError(t, err)
			c := newClient(t, rt, belay.WithAuth(o.ClientCredentials("")))
			began := time.Now()
			err = get(t.Context(), c, "/")
			if tc.works {
				require.NoError(t, err)
				require.EqualValues(t, 1, asked.Load())
			} else {
				require.ErrorIs(t, err, belay.ErrUnavailable)
				require.LessOrEqual(t, asked.Load(), int32(3))
			}
			require.LessOrEqual(t, time.Since(began), time.Minute)
		})
	}
}

// Limits that several Apps share, as when an App is made wherever integrations are loaded.
func TestLimiterOfSeveralApps(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "", func(t *testing.T) {
		shared, err := belay.NewLimiter(belay.PerDay(2))
		require.NoError(t, err)
		i := testkit.NewIssuer(time.Hour)
		refused := 0
		for range 6 {
			o, err := oauth.New(oauth.Config{
				TokenURL: "https://partner.test/token", ClientID: "app", Transport: i, Limiter: shared,
			})
			require.NoError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			if _, err := o.ClientCredentials("").Credential(ctx); err != nil {
				require.ErrorIs(t, err, belay.ErrUnavailable)
				refused++
			}
			cancel()
		}
		require.Equal(t, 4, refused)
		require.Equal(t, 2, i.Asked())
	})
}
