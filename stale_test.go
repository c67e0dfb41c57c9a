package belay_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

// shop is a partner whose answers say for whom they are.
type shop struct {
	down    atomic.Bool
	asked   atomic.Int64
	status  int // while it is down
	header  []string
	answers atomic.Int64
}

func (s *shop) RoundTrip(req *http.Request) (*http.Response, error) {
	s.asked.Add(1)
	if req.Body != nil {
		_ = req.Body.Close()
	}
	if s.down.Load() {
		if s.status == 0 {
			return nil, errors.New("connection refused")
		}
		return testkit.Raw(s.status, "text/html", "<h1>maintenance</h1>"), nil
	}
	if tag := req.Header.Get("If-None-Match"); tag == `"same"` {
		return testkit.Reply(304, s.header...), nil
	}
	body := fmt.Sprintf(`{"For":%q,"N":%d,"URL":%q}`, req.Header.Get("Authorization")+req.Header.Get("X-User"),
		s.answers.Add(1), req.URL.RequestURI())
	resp := testkit.Raw(200, "application/json", body)
	for i := 0; i+1 < len(s.header); i += 2 {
		resp.Header.Add(s.header[i], s.header[i+1])
	}
	return resp, nil
}

type offer struct {
	For, URL string
	N        int
}

func memory(t testing.TB) *belay.MemoryCache {
	c, err := belay.NewMemoryCache(64<<20, 100_000)
	require.NoError(t, err)
	return c
}

// A partner that is down for an hour: each of ten thousand keys that was read within maxAge is served, marked, and what
// is older is not.
func TestStaleForAnHour(t *testing.T) {
	testkit.Bubble(t, "", func(t *testing.T) {
		s := new(shop)
		var stale, fresh atomic.Int64
		c := newClient(t, s, belay.WithStaleIfError(memory(t), 2*time.Hour), belay.WithMaxInFlight(100),
			belay.WithRetry(belay.RetryPolicy{MaxAttempts: 2}), belay.WithBreakerPolicy(belay.BreakerPolicy{}),
			belay.WithObserver(belay.ObserverFunc(func(_ context.Context, e belay.Event) {
				if e, ok := e.(belay.CallDone); ok {
					if !e.Stale {
						fresh.Add(1)
						return
					}
					if stale.Add(1); e.Err == nil || e.Verdict.Class == belay.ClassOK || !e.Kept {
						t.Errorf("the failure is not told: %+v", e)
					}
				}
			})))
		const keys = 10_000
		read := func(i int, wantStale bool) {
			var info belay.Info
			got, err := belay.Get[offer](t.Context(), c, "/offers/{id}", belay.PathValue("id", fmt.Sprint(i)), belay.Into(&info))
			require.NoError(t, err)
			require.Equal(t, fmt.Sprint("/offers/", i), got.URL)
			require.Equal(t, wantStale, info.Stale)
			require.Equal(t, wantStale, info.Age > 0)
		}
		for i := range keys {
			read(i, false)
		}
		time.Sleep(time.Minute)
		s.down.Store(true)
		began, before := time.Now(), s.asked.Load()
		for time.Since(began) < time.Hour {
			for i := range keys / 60 {
				read((int(time.Since(began)/time.Minute)*keys/60+i)%keys, true)
			}
			time.Sleep(time.Minute)
		}
		require.Less(t, s.asked.Load()-before, int64(400), "the circuit holds the calls back")
		require.Greater(t, stale.Load(), int64(9000))
		time.Sleep(time.Hour)
		_, err := belay.Get[offer](t.Context(), c, "/offers/1")
		require.ErrorIs(t, err, belay.ErrUnavailable, "it is too old")
		_, err = belay.Get[offer](t.Context(), c, "/offers/never-read")
		require.ErrorIs(t, err, belay.ErrUnavailable)
		s.down.Store(false)
		time.Sleep(time.Hour)
		read(1, false)
	})
}

// Each way in which a partner cannot answer is served from the cache, and what a caller may not have is not.
func TestWhatIsStale(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		stale  bool
	}{
		{"no connection", 0, true},
		{"503", 503, true},
		{"500", 500, true},
		{"429", 429, true},
		{"an answer that is no JSON", 200, true},
		{"401", 401, false},
		{"403", 403, false},
		{"404", 404, false},
		{"422", 422, false},
	} {
		testkit.Bubble(t, c.name, func(t *testing.T) {
			s := &shop{status: c.status}
			cl := newClient(t, s, belay.WithStaleIfError(memory(t), time.Hour),
				belay.WithRetry(belay.RetryPolicy{MaxAttempts: 2}))
			first, err := belay.Get[offer](t.Context(), cl, "/offers")
			require.NoError(t, err)
			s.down.Store(true)
			time.Sleep(time.Second)
			var info belay.Info
			got, err := belay.Get[offer](t.Context(), cl, "/offers", belay.Into(&info))
			if !c.stale {
				require.Error(t, err)
				require.Zero(t, got)
				require.False(t, info.Stale)
				return
			}
			require.NoError(t, err)
			require.Equal(t, first, got)
			require.True(t, info.Stale)
			require.GreaterOrEqual(t, info.Age, time.Second)
			require.Equal(t, 200, info.StatusCode)
			// A raw response says so in Cache-Status (RFC 9211).
			req, err := cl.NewRequest(t.Context(), "GET", "/offers", nil)
			require.NoError(t, err)
			resp, err := cl.HTTPClient().Do(req)
			require.NoError(t, err)
			defer resp.Body.Close()
			if c.status == 200 { // nobody has found out
				return
			}
			require.Equal(t, "belay; hit; detail=STALE", resp.Header.Get("Cache-Status"))
			require.NotEmpty(t, resp.Header.Get("Age"))
			_, err = belay.Post[belay.None](t.Context(), cl, "/offers", offer{})
			require.Error(t, err, "a write is never answered by a kept answer")
		})
	}
	testkit.Bubble(t, "switched off", func(t *testing.T) {
		s := new(shop)
		var off atomic.Bool
		c := newClient(t, s, belay.WithStaleIfError(memory(t), time.Hour),
			belay.WithEnabled(func() bool { return !off.Load() }))
		_, err := belay.Get[offer](t.Context(), c, "/offers")
		require.NoError(t, err)
		off.Store(true)
		_, err = belay.Get[offer](t.Context(), c, "/offers")
		require.ErrorIs(t, err, belay.ErrDisabled)
	})
	testkit.Bubble(t, "lists, polls and operations", func(t *testing.T) {
		s := new(shop)
		c := newClient(t, s, belay.WithStaleIfError(memory(t), time.Hour),
			belay.WithCache(memory(t), belay.CachePolicy{TTL: time.Hour}), belay.WithRetry(belay.RetryPolicy{MaxAttempts: 1}))
		n := 0
		_, err := belay.Poll(t.Context(), c, "/state", func(o offer) (bool, error) { n++; return o.N >= 4, nil })
		require.NoError(t, err)
		require.Equal(t, 4, n, "each poll asks")
		pages := func() (err error) {
			for _, e := range belay.Pages[offer](t.Context(), c, "/list", belay.LinkPages{}) {
				err = errors.Join(err, e)
			}
			return err
		}
		_ = pages()
		s.down.Store(true)
		require.ErrorIs(t, pages(), belay.ErrUnavailable)
	})
}

// Nobody is served what another credential got, however the credentials are given.
func TestKeptForOneCredential(t *testing.T) {
	dynamic := func(name string) belay.Authenticator { // has no identity
		return belay.Sign(func(req *http.Request, _ []byte) error { req.Header.Set("Authorization", name); return nil })
	}
	ways := map[string]func(t *testing.T, c *belay.Client, user string) func(path string) (offer, error){
		"WithAuth": func(t *testing.T, c *belay.Client, user string) func(string) (offer, error) {
			of, err := c.With(belay.WithAuth(belay.Bearer(belay.NewSecret(user))))
			require.NoError(t, err)
			return func(path string) (offer, error) { return belay.Get[offer](context.Background(), of, path) }
		},
		"WithAuth without identity": func(t *testing.T, c *belay.Client, user string) func(string) (offer, error) {
			of, err := c.With(belay.WithAuth(dynamic(user)))
			require.NoError(t, err)
			return func(path string) (offer, error) { return belay.Get[offer](context.Background(), of, path) }
		},
		"Auth": func(_ *testing.T, c *belay.Client, user string) func(string) (offer, error) {
			return func(path string) (offer, error) {
				return belay.Get[offer](context.Background(), c, path, belay.Auth(belay.Bearer(belay.NewSecret(user))))
			}
		},
		"a header": func(_ *testing.T, c *belay.Client, user string) func(string) (offer, error) {
			return func(path string) (offer, error) {
				return belay.Get[offer](context.Background(), c, path, belay.Header("X-User", user))
			}
		},
		"WithHeader": func(t *testing.T, c *belay.Client, user string) func(string) (offer, error) {
			of, err := c.With(belay.WithHeader("X-User", user))
			require.NoError(t, err)
			return func(path string) (offer, error) { return belay.Get[offer](context.Background(), of, path) }
		},
	}
	for name, way := range ways {
		testkit.Bubble(t, name, func(t *testing.T) {
			s := &shop{header: []string{"Cache-Control", "private, max-age=3600"}}
			shared := memory(t)
			c := newClient(t, s, belay.WithStaleIfError(shared, time.Hour),
				belay.WithCache(shared, belay.CachePolicy{}), belay.WithRetry(belay.RetryPolicy{MaxAttempts: 1}))
			a, b, third := way(t, c, "user-a"), way(t, c, "user-b"), way(t, c, "user-c")
			for range 3 {
				got, err := a("/me")
				require.NoError(t, err)
				require.Contains(t, got.For, "user-a")
				got, err = b("/me")
				require.NoError(t, err)
				require.Contains(t, got.For, "user-b")
			}
			if name == "WithAuth without identity" {
				require.EqualValues(t, 6, s.asked.Load(), "nothing is kept")
				return
			}
			require.EqualValues(t, 2, s.asked.Load(), "and each is served its own")
			s.down.Store(true)
			_, err := third("/me")
			require.Error(t, err)
		})
	}
	testkit.Bubble(t, "Auth without identity", func(t *testing.T) {
		s := &shop{header: []string{"Cache-Control", "max-age=3600"}}
		c := newClient(t, s, belay.WithCache(memory(t), belay.CachePolicy{}))
		for range 3 {
			_, err := belay.Get[offer](t.Context(), c, "/me", belay.Auth(dynamic("user-a")))
			require.NoError(t, err)
		}
		require.EqualValues(t, 3, s.asked.Load(), "it is not kept")
	})
	t.Run("at the same time", func(t *testing.T) {
		t.Parallel()
		s := &shop{header: []string{"Cache-Control", "private, max-age=3600"}}
		shared := memory(t)
		c := newClient(t, s, belay.WithStaleIfError(shared, time.Hour),
			belay.WithCache(shared, belay.CachePolicy{}), belay.WithMaxInFlight(100))
		var all sync.WaitGroup
		for user := range 20 {
			name := fmt.Sprintf("user-%02d", user)
			of, err := c.With(belay.WithIntegration(name), belay.WithAuth(belay.Bearer(belay.NewSecret(name))))
			require.NoError(t, err)
			all.Go(func() {
				for i := range 100 {
					got, err := belay.Get[offer](context.Background(), of, fmt.Sprint("/x/", i%10))
					if err != nil || !strings.Contains(got.For, name) {
						t.Errorf("%s got %+v %v", name, got, err)
					}
					if i%10 == 9 {
						_, _ = belay.Delete[belay.None](context.Background(), of, fmt.Sprint("/x/", i%10))
					}
				}
			})
		}
		all.Wait()
	})
}

// A kept answer is used as long as the partner says, or for the TTL, then asked for with its ETag; a write forgets it.
func TestCache(t *testing.T) {
	testkit.Bubble(t, "the partner says how long", func(t *testing.T) {
		s := &shop{header: []string{"Cache-Control", "max-age=60", "ETag", `"same"`}}
		c := newClient(t, s, belay.WithCache(memory(t), belay.CachePolicy{TTL: time.Hour}))
		get := func() (offer, belay.Info) {
			var info belay.Info
			got, err := belay.Get[offer](t.Context(), c, "/a", belay.Into(&info))
			require.NoError(t, err)
			return got, info
		}
		first, info := get()
		require.Zero(t, info.Age)
		time.Sleep(59 * time.Second)
		got, info := get()
		require.Equal(t, first, got)
		require.Equal(t, 59*time.Second, info.Age)
		require.False(t, info.Stale)
		require.Zero(t, info.Attempts)
		time.Sleep(time.Second)
		got, info = get() // 304
		require.Equal(t, first, got)
		require.EqualValues(t, 2, s.asked.Load())
		require.Equal(t, 1, info.Attempts)
		time.Sleep(59 * time.Second)
		_, _ = get()
		require.EqualValues(t, 2, s.asked.Load(), "the 304 has made it fresh again")
		_, err := belay.Put[belay.None](t.Context(), c, "/a", offer{})
		require.NoError(t, err)
		got, _ = get()
		require.NotEqual(t, first, got, "the write has made it wrong")
		// The caller may want the partner's own answer.
		before := s.asked.Load()
		_, err = belay.Get[offer](t.Context(), c, "/a", belay.Header("Cache-Control", "no-cache"))
		require.NoError(t, err)
		require.Equal(t, before+1, s.asked.Load())
	})
	testkit.Bubble(t, "the option says how long", func(t *testing.T) {
		s := new(shop)
		c := newClient(t, s, belay.WithCache(memory(t), belay.CachePolicy{TTL: 5 * time.Minute}))
		for range 30 {
			_, err := belay.Get[offer](t.Context(), c, "/a")
			require.NoError(t, err)
			time.Sleep(time.Minute)
		}
		require.EqualValues(t, 6, s.asked.Load())
	})
	testkit.Bubble(t, "Do", func(t *testing.T) {
		s := &shop{header: []string{"Cache-Control", "max-age=60"}}
		c := newClient(t, s, belay.WithCache(memory(t), belay.CachePolicy{}))
		for i := range 4 {
			req, err := c.NewRequest(t.Context(), "GET", "/a", nil)
			require.NoError(t, err)
			resp, err := c.Do(req)
			require.NoError(t, err)
			if i == 0 { // closed early: it is not kept
				require.NoError(t, resp.Body.Close())
				continue
			}
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			require.Contains(t, string(body), `"N":2`)
		}
		require.EqualValues(t, 2, s.asked.Load())
	})
	testkit.Bubble(t, "a 304 that costs nothing", func(t *testing.T) {
		for _, free := range []bool{false, true} {
			s := &shop{header: []string{"Cache-Control", "no-cache", "ETag", `"same"`}}
			c := newClient(t, s, belay.WithRateLimit(belay.PerHour(100)),
				belay.WithCache(memory(t), belay.CachePolicy{FreeNotModified: free}))
			for range 11 {
				_, err := belay.Get[offer](t.Context(), c, "/a")
				require.NoError(t, err)
			}
			require.EqualValues(t, 11, s.asked.Load())
			want := 11
			if free {
				want = 1
			}
			require.Equal(t, want, c.Limiter().Status().Limits[0].Used)
		}
	})
}

type brokenCache struct{ panics bool }

func (b brokenCache) Get(ctx context.Context, _ string) ([]byte, bool) {
	if b.panics {
		panic("no")
	}
	<-ctx.Done()
	return []byte("\x01\x01nonsense"), true
}

func (b brokenCache) Set(ctx context.Context, _ string, _ []byte, _ time.Duration) { b.Get(ctx, "") }

func (b brokenCache) Delete(ctx context.Context, _ string) { b.Get(ctx, "") }

// A cache that panics, blocks or returns nonsense costs at most a second each time.
func TestBrokenCache(t *testing.T) {
	for _, panics := range []bool{true, false} {
		testkit.Bubble(t, "", func(t *testing.T) {
			s := &shop{header: []string{"Cache-Control", "max-age=60"}}
			c := newClient(t, s, belay.WithCache(brokenCache{panics}, belay.CachePolicy{}),
				belay.WithStaleIfError(brokenCache{panics}, time.Hour), belay.WithRetry(belay.RetryPolicy{MaxAttempts: 1}))
			began := time.Now()
			_, err := belay.Get[offer](t.Context(), c, "/a")
			require.NoError(t, err)
			_, err = belay.Delete[belay.None](t.Context(), c, "/a")
			require.NoError(t, err)
			require.LessOrEqual(t, time.Since(began), 5*time.Second)
			s.down.Store(true)
			_, err = belay.Get[offer](t.Context(), c, "/a")
			require.ErrorIs(t, err, belay.ErrUnavailable)
		})
	}
}

func TestCacheBadInput(t *testing.T) {
	t.Parallel()
	for _, bounds := range [][2]int{{0, 1}, {1, 0}, {-1, -1}} {
		_, err := belay.NewMemoryCache(int64(bounds[0]), bounds[1])
		require.ErrorIs(t, err, belay.ErrInvalid)
	}
	for _, o := range []belay.Option{
		belay.WithCache(memory(t), belay.CachePolicy{TTL: -1}), belay.WithCache(memory(t), belay.CachePolicy{TTL: 25 * time.Hour}),
		belay.WithStaleIfError(memory(t), 0), belay.WithStaleIfError(memory(t), -1),
	} {
		_, err := belay.New("https://shop.example", o)
		require.Error(t, err)
	}
	// It holds its bounds, and prints no value.
	m, err := belay.NewMemoryCache(100_000, 50)
	require.NoError(t, err)
	for i := range 1000 {
		m.Set(t.Context(), fmt.Sprint(i), make([]byte, 1000), time.Hour)
	}
	m.Set(t.Context(), "large", make([]byte, 20_000), time.Hour)
	_, there := m.Get(t.Context(), "large")
	require.False(t, there)
	_, there = m.Get(t.Context(), "999")
	require.True(t, there)
	_, there = m.Get(t.Context(), "949")
	require.False(t, there)
	require.Equal(t, "belay.MemoryCache(50 entries, 60150 bytes)", fmt.Sprintf("%+v", m))
}

func ExampleOrElse() {
	down := testkit.RoundTrip(func(*http.Request) (*http.Response, error) { return testkit.Reply(503), nil })
	client, err := belay.New("https://api.rates.example", belay.WithTransport(down),
		belay.WithRetry(belay.RetryPolicy{MaxAttempts: 1}))
	if err != nil {
		panic(err)
	}
	rate, err := belay.OrElse(belay.Get[float64](context.Background(), client, "/rates/eur"))(1.08)
	fmt.Println(rate, err)
	// Output: 1.08 <nil>
}

type userKey struct{}

type ofContext struct{}

func (ofContext) Credential(ctx context.Context) (belay.Credential, error) {
	name, _ := ctx.Value(userKey{}).(string)
	return belay.Bearer(belay.NewSecret(name)).Credential(ctx)
}

// What an attack on kept answers has found.
func TestKeptAnswersUnderAttack(t *testing.T) {
	fresh := []string{"Cache-Control", "max-age=3600", "ETag", `"same"`}
	shopClient := func(t *testing.T, s *shop, opts ...belay.Option) *belay.Client {
		shared := memory(t)
		return newClient(t, s, append([]belay.Option{
			belay.WithCache(shared, belay.CachePolicy{}), belay.WithStaleIfError(shared, time.Hour),
			belay.WithRetry(belay.RetryPolicy{MaxAttempts: 2}),
		}, opts...)...)
	}
	me := func(ctx context.Context, c *belay.Client, opts ...belay.CallOption) offer {
		got, _ := belay.Get[offer](ctx, c, "/me", opts...)
		return got
	}
	testkit.Bubble(t, "a credential that depends on the context", func(t *testing.T) {
		c := shopClient(t, &shop{header: fresh}, belay.WithAuth(ofContext{}))
		for _, user := range []string{"alice-1", "bob-1", "alice-1"} {
			require.Contains(t, me(context.WithValue(t.Context(), userKey{}, user), c).For, user)
		}
	})
	testkit.Bubble(t, "a rotated key and another session", func(t *testing.T) {
		r, err := belay.NewRotating(belay.Bearer(belay.NewSecret("alice-1")))
		require.NoError(t, err)
		s := &shop{header: fresh}
		c := shopClient(t, s, belay.WithAuth(r))
		require.Contains(t, me(t.Context(), c).For, "alice-1")
		require.Contains(t, me(t.Context(), c).For, "alice-1")
		require.EqualValues(t, 1, s.asked.Load(), "it is kept")
		require.NoError(t, r.Rotate(t.Context(), belay.Bearer(belay.NewSecret("bob-1")), nil))
		require.Contains(t, me(t.Context(), c).For, "bob-1")
	})
	testkit.Bubble(t, "another login in the same jar", func(t *testing.T) {
		jar, err := cookiejar.New(nil)
		require.NoError(t, err)
		partner, err := url.Parse("https://partner.test")
		require.NoError(t, err)
		s := &shop{header: fresh}
		c := shopClient(t, s, belay.WithCookieJar(jar))
		for i, sid := range []string{"alice", "alice", "bob"} {
			jar.SetCookies(partner, []*http.Cookie{{Name: "sid", Value: sid}})
			require.NotZero(t, me(t.Context(), c))
			require.EqualValues(t, 1+i/2, s.asked.Load(), sid)
		}
	})
	testkit.Bubble(t, "writes with headers of their own", func(t *testing.T) {
		for _, header := range []string{"If-Match", "Prefer", "X-Idem-Key", "Content-Language"} {
			s := &shop{header: fresh}
			c := shopClient(t, s, belay.WithIdempotencyKeys("X-Idem-Key"))
			first := me(t.Context(), c)
			_, err := belay.Post[belay.None](t.Context(), c, "/me", offer{}, belay.Header(header, "x"))
			require.NoError(t, err)
			if header == "Content-Language" {
				continue // what may change the answer stays in the key
			}
			require.NotEqual(t, first, me(t.Context(), c), header)
		}
	})
	testkit.Bubble(t, "a middleware that wraps bodies", func(t *testing.T) {
		s := &shop{header: fresh, status: 503}
		c := shopClient(t, s, belay.WithCallMiddleware(func(next http.RoundTripper) http.RoundTripper {
			return testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
				resp, err := next.RoundTrip(req)
				if resp != nil {
					resp.Body = struct{ io.ReadCloser }{resp.Body}
				}
				return resp, err
			})
		}))
		first := me(t.Context(), c)
		require.Equal(t, first, me(t.Context(), c))
		require.EqualValues(t, 1, s.asked.Load())
	})
	testkit.Bubble(t, "an answer that does not fit is not mixed with the kept one", func(t *testing.T) {
		n := 0
		c := newClient(t, testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
			if n++; n == 1 {
				return testkit.Raw(200, "application/json", `{"For":"alice"}`), nil
			}
			return testkit.Raw(200, "application/json", `{"URL":"/other","N":"seven","For":"bob"}`), nil
		}), belay.WithStaleIfError(memory(t), time.Hour))
		first := me(t.Context(), c)
		require.Equal(t, first, me(t.Context(), c))
		require.Equal(t, offer{For: "alice"}, first)
	})
	testkit.Bubble(t, "refused, deleted, and then down", func(t *testing.T) {
		for _, status := range []int{401, 403, 404, 410} {
			s := &shop{status: status}
			c := newClient(t, s, belay.WithStaleIfError(memory(t), time.Hour), belay.WithRetry(belay.RetryPolicy{MaxAttempts: 1}))
			require.NotZero(t, me(t.Context(), c))
			s.down.Store(true)
			require.Zero(t, me(t.Context(), c))
			s.status = 503
			require.Zero(t, me(t.Context(), c), "it does not come back after %d", status)
		}
	})
	testkit.Bubble(t, "a write while the answer is read", func(t *testing.T) {
		s := &shop{header: fresh}
		c := shopClient(t, s)
		req, err := c.NewRequest(t.Context(), "GET", "/me", nil)
		require.NoError(t, err)
		resp, err := c.Do(req)
		require.NoError(t, err)
		_, err = belay.Put[belay.None](t.Context(), c, "/me", offer{})
		require.NoError(t, err)
		_, err = io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, 3, me(t.Context(), c).N, "the answer before the write is not kept")
	})
	testkit.Bubble(t, "writes elsewhere while answers are read", func(t *testing.T) {
		s := &shop{header: fresh}
		c := shopClient(t, s)
		for i := range 20 {
			req, err := c.NewRequest(t.Context(), "GET", fmt.Sprint("/a", i), nil)
			require.NoError(t, err)
			resp, err := c.Do(req)
			require.NoError(t, err)
			_, err = belay.Put[belay.None](t.Context(), c, "/elsewhere", offer{})
			require.NoError(t, err)
			_, err = io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
		}
		before := s.asked.Load()
		for i := range 20 {
			_, err := belay.Get[offer](t.Context(), c, fmt.Sprint("/a", i))
			require.NoError(t, err)
		}
		require.LessOrEqual(t, s.asked.Load()-before, int64(2), "the answers are kept, but for one in 256")
	})
	testkit.Bubble(t, "moved since it was kept", func(t *testing.T) {
		moved := false
		c := newClient(t, testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
			switch {
			case moved && req.URL.Path == "/me":
				return testkit.Reply(302, "Location", "/there"), nil
			case req.Header.Get("If-None-Match") != "":
				return testkit.Reply(304), nil
			}
			resp := testkit.Raw(200, "application/json", `{"For":"alice"}`)
			resp.Header.Set("Etag", `"same"`)
			return resp, nil
		}), belay.WithCache(memory(t), belay.CachePolicy{}))
		require.NotZero(t, me(t.Context(), c))
		moved = true
		require.NotZero(t, me(t.Context(), c))
	})
	testkit.Bubble(t, "switched off during the backoff", func(t *testing.T) {
		var off atomic.Bool
		s := &shop{status: 503}
		c := newClient(t, s, belay.WithStaleIfError(memory(t), time.Hour), belay.WithEnabled(func() bool { return !off.Load() }))
		require.NotZero(t, me(t.Context(), c))
		s.down.Store(true)
		time.AfterFunc(time.Millisecond, func() { off.Store(true) })
		require.Zero(t, me(t.Context(), c))
	})
}
