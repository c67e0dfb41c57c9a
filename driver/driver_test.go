package driver_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/driver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

func answer(status int) *http.Response {
	return &http.Response{
		StatusCode: status,
		Header:     http.Header{"X-Request-Id": {"req-1"}},
		Body:       io.NopCloser(strings.NewReader("{}")),
	}
}

// crm is a driver.
type crm struct {
	integration driver.Integration
	closed      atomic.Int32
}

func (c *crm) Name() string { return "crm" }

func (c *crm) Check(ctx context.Context) error {
	_, err := belay.Get[belay.None](ctx, c.integration.Client, "/me")
	return err
}

func (c *crm) Close() error {
	c.closed.Add(1)
	return nil
}

func open(_ context.Context, i driver.Integration) (*crm, error) { return &crm{integration: i}, nil }

// office is a registry with one partner.
func office(
	t testing.TB,
	load driver.Load,
	rt roundTrip,
	rollout driver.Rollout,
	options ...belay.Option,
) (*driver.Registry, *driver.Factory[*crm]) {
	t.Helper()
	r, err := driver.NewRegistry(load)
	require.NoError(t, err)
	f, err := driver.Register(
		r,
		driver.Partner{
			Name:    "crm",
			BaseURL: "https://crm.test",
			Options: append([]belay.Option{belay.WithTransport(rt)}, options...),
			Rollout: rollout,
		},
		open,
	)
	require.NoError(t, err)
	return r, f
}

func settings(context.Context, string, string) (driver.Settings, error) {
	return driver.Settings{}, nil
}

// An integration is opened once, for all callers that ask at the same time; its base URL, credential and labels are its
// own, limits and breaker the partner's.
func TestOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen sync.Map
		loads := 0
		load := func(_ context.Context, partner, id string) (driver.Settings, error) {
			time.Sleep(time.Second)
			loads++
			require.Equal(t, "crm", partner)
			return driver.Settings{
				BaseURL: "https://" + id + ".crm.test",
				Auth:    belay.Bearer(belay.NewSecret("token-" + id)),
				Labels:  map[string]string{"plan": "gold"},
			}, nil
		}
		r, f := office(t, load, func(req *http.Request) (*http.Response, error) {
			seen.Store(req.URL.Host, req.Header.Get("Authorization"))
			return answer(200), nil
		}, driver.Rollout{}, belay.WithRateLimit(belay.PerMinute(3)))
		var wg sync.WaitGroup
		drivers := make([]*crm, 50)
		for i := range drivers {
			wg.Go(func() {
				d, err := f.Open(t.Context(), "acme")
				require.NoError(t, err)
				drivers[i] = d
			})
		}
		wg.Wait()
		require.Equal(t, 1, loads)
		for _, d := range drivers {
			require.Same(t, drivers[0], d)
		}
		require.NoError(t, drivers[0].Check(t.Context()))
		require.Equal(t, "gold", drivers[0].integration.Labels["plan"])
		other, err := f.Open(t.Context(), "globex")
		require.NoError(t, err)
		require.NoError(t, other.Check(t.Context()))
		a, _ := seen.Load("acme.crm.test")
		b, _ := seen.Load("globex.crm.test")
		require.Equal(t, []any{"Bearer token-acme", "Bearer token-globex"}, []any{a, b})
		require.NoError(t, drivers[0].Check(t.Context()))
		began := time.Now()
		require.NoError(t, other.Check(t.Context()), "the partner's limit is for all")
		require.Greater(t, time.Since(began), 50*time.Second)
		require.Equal(t, []string{"acme", "globex"}, f.Integrations())
		require.Equal(t, []string{"crm"}, r.Partners())
		// Switched off, and on again.
		require.True(t, f.SetDisabled("acme", true))
		require.ErrorIs(t, drivers[0].Check(t.Context()), belay.ErrDisabled)
		require.NoError(t, other.Check(t.Context()))
		require.True(t, f.SetDisabled("acme", false))
		require.NoError(t, drivers[0].Check(t.Context()))
		require.False(t, f.SetDisabled("nobody", true))
		// Reloaded: another driver, and the old one is closed.
		require.NoError(t, f.Reload("acme"))
		require.NoError(t, f.Reload("nobody"))
		require.EqualValues(t, 1, drivers[0].closed.Load())
		again, err := f.Open(t.Context(), "acme")
		require.NoError(t, err)
		require.NotSame(t, drivers[0], again)
		require.NoError(t, r.Close())
		require.EqualValues(t, 1, again.closed.Load())
		_, err = f.Open(t.Context(), "acme")
		require.ErrorIs(t, err, driver.ErrClosed)
		_, err = f.Client()
		require.ErrorIs(t, err, driver.ErrClosed)
		_, err = driver.Register(r, driver.Partner{Name: "x", BaseURL: "https://x.test"}, open)
		require.ErrorIs(t, err, driver.ErrClosed)
		require.NoError(t, r.Close())
	})
}

// An opening that fails is not kept, and the first caller does not fail the others by its own cancel.
func TestOpenFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		_, f := office(t, func(ctx context.Context, _, id string) (driver.Settings, error) {
			n++
			switch {
			case id == "slow" && n == 1:
				<-ctx.Done()
				return driver.Settings{}, ctx.Err()
			case id == "bad":
				return driver.Settings{}, errors.New("no such customer")
			case id == "plain":
				return driver.Settings{BaseURL: "http://crm.test", Auth: belay.Bearer(belay.NewSecret("t"))}, nil
			case id == "panics" && n%2 == 1:
				panic("mine")
			}
			return driver.Settings{Disabled: id == "off"}, nil
		}, func(*http.Request) (*http.Response, error) { return answer(200), nil }, driver.Rollout{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		first := make(chan error, 1)
		go func() { _, err := f.Open(ctx, "slow"); first <- err }()
		synctest.Wait()
		_, err := f.Open(t.Context(), "slow")
		require.NoError(t, err)
		require.ErrorIs(t, <-first, context.DeadlineExceeded)
		for range 2 {
			_, err = f.Open(t.Context(), "bad")
			require.ErrorContains(t, err, "driver: opening bad of crm: no such customer")
		}
		_, err = f.Open(t.Context(), "plain")
		require.ErrorContains(t, err, "plain http")
		off, err := f.Open(t.Context(), "off")
		require.NoError(t, err)
		require.ErrorIs(t, off.Check(t.Context()), belay.ErrDisabled)
		n = 0
		require.PanicsWithValue(t, "mine", func() { _, _ = f.Open(t.Context(), "panics") })
		_, err = f.Open(t.Context(), "panics")
		require.NoError(t, err)
		_, err = f.Open(t.Context(), "")
		require.ErrorContains(t, err, "empty")
	})
	_, err := driver.NewRegistry(nil)
	require.ErrorContains(t, err, "load is nil")
	r, err := driver.NewRegistry(settings)
	require.NoError(t, err)
	for says, p := range map[string]driver.Partner{
		"Partner.Name is empty":    {BaseURL: "https://x.test"},
		"Percent is 101":           {Name: "x", BaseURL: "https://x.test", Rollout: driver.Rollout{Percent: 101}},
		"Percent is NaN":           {Name: "x", BaseURL: "https://x.test", Rollout: driver.Rollout{Percent: math.NaN()}},
		"Partner.BaseURL is empty": {Name: "x"},
		"Rollout.Next is empty":    {Name: "x", BaseURL: "https://x.test", Rollout: driver.Rollout{Percent: 1}},
	} {
		_, err := driver.Register(r, p, open)
		require.ErrorContains(t, err, says)
	}
	_, err = driver.Register(r, driver.Partner{Name: "x", BaseURL: "https://x.test"}, open)
	require.NoError(t, err)
	_, err = driver.Register(r, driver.Partner{Name: "x", BaseURL: "https://x.test"}, open)
	require.ErrorContains(t, err, "registered already")
	_, err = driver.Register[*crm](r, driver.Partner{Name: "y"}, nil)
	require.ErrorContains(t, err, "open is nil")
	_, err = driver.Register(nil, driver.Partner{Name: "y"}, open)
	require.ErrorContains(t, err, "NewRegistry")
}

// A thousand integrations of one partner take half a KiB each, and no goroutine.
func TestIntegrationsAreSmall(t *testing.T) {
	auth := belay.Bearer(belay.NewSecret("token"))
	_, f := office(t, func(context.Context, string, string) (driver.Settings, error) {
		return driver.Settings{Auth: auth}, nil
	},
		func(*http.Request) (*http.Response, error) { return answer(200), nil }, driver.Rollout{})
	ids := make([]string, 1001)
	for i := range ids {
		ids[i] = fmt.Sprintf("customer-%d", i)
	}
	_, err := f.Open(t.Context(), ids[1000]) // the partner's own part
	require.NoError(t, err)
	goroutines := runtime.NumGoroutine()
	before := heap()
	for _, id := range ids[:1000] {
		_, err := f.Open(t.Context(), id)
		require.NoError(t, err)
	}
	took := heap() - before
	t.Logf("%d KiB", took>>10)
	require.LessOrEqual(t, took, uint64(512<<10))
	require.LessOrEqual(t, runtime.NumGoroutine(), goroutines) // one of an earlier test may have ended
	runtime.KeepAlive(f)
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A share that grows keeps its members; it is about as large as it says; single integrations have their own way.
func TestRollout(t *testing.T) {
	r := driver.Rollout{Stable: "v1", Next: "v2", Override: map[string]string{"vip": "v1", "friend": "v2"}}
	had := make(map[string]bool)
	for _, percent := range []float64{0, 1, 10, 50, 100} {
		r.Percent = percent
		n := 0
		for i := range 10_000 {
			id := fmt.Sprint("customer-", i)
			v := r.Version(id)
			require.Equal(t, v, r.Version(id))
			require.False(t, had[id] && v != "v2", "%s lost it at %v", id, percent)
			if v == "v2" {
				had[id] = true
				n++
			}
		}
		require.InDelta(t, percent*100, n, 150)
		require.Equal(t, []string{"v1", "v2"}, []string{r.Version("vip"), r.Version("friend")})
	}
	// The next version has other integrations first.
	a, b := driver.Rollout{Next: "v2", Percent: 10}, driver.Rollout{Next: "v3", Percent: 10}
	both := 0
	for i := range 10_000 {
		if id := fmt.Sprint(i); a.Version(id) != "" && b.Version(id) != "" {
			both++
		}
	}
	require.InDelta(t, 100, both, 60)

	_, f := office(
		t,
		settings,
		func(*http.Request) (*http.Response, error) { return answer(200), nil },
		driver.Rollout{Stable: "v1", Next: "v2"},
	)
	old := make(map[string]*crm)
	for i := range 100 {
		id := fmt.Sprint(i)
		d, err := f.Open(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, "v1", d.integration.Version)
		old[id] = d
	}
	require.NoError(t, f.SetRollout(driver.Rollout{Stable: "v1", Next: "v2", Percent: 50}))
	changed := 0
	for id, was := range old {
		d, err := f.Open(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, d.integration.Version == "v2", d != was, "only those that changed are opened again")
		if d != was {
			changed++
			require.EqualValues(t, 1, was.closed.Load())
		}
	}
	require.InDelta(t, 50, changed, 25)
	require.Error(t, f.SetRollout(driver.Rollout{Percent: -1}))
}

func TestFlex(t *testing.T) {
	type record struct {
		S driver.FlexString
		I driver.FlexInt
		B driver.FlexBool
		T driver.FlexTime
	}
	read := func(field, value string) (r record, err error) {
		err = json.Unmarshal([]byte(`{"`+field+`":`+value+`}`), &r)
		return r, err
	}
	for in, want := range map[string]driver.FlexString{
		`"a"`: "a", `12`: "12", `1.50`: "1.50", `true`: "true", `null`: "", `""`: "", `"\u00e9"`: "é",
	} {
		r, err := read("S", in)
		require.NoError(t, err, in)
		require.Equal(t, want, r.S, in)
	}
	for in, want := range map[string]driver.FlexInt{
		`12`: 12, `"12"`: 12, `12.0`: 12, `"12.0"`: 12, `"1e3"`: 1000, `-5`: -5, `null`: 0,
		`""`: 0, `9223372036854775807`: math.MaxInt64, `"-9223372036854775808"`: math.MinInt64,
	} {
		r, err := read("I", in)
		require.NoError(t, err, in)
		require.Equal(t, want, r.I, in)
	}
	for in, want := range map[string]driver.FlexBool{
		`true`: true, `"TRUE"`: true, `1`: true, `"1"`: true, `"Yes"`: true, `2`: true, `"on"`: true,
		`false`: false, `"no"`: false, `0`: false, `"0.0"`: false, `""`: false, `null`: false,
	} {
		r, err := read("B", in)
		require.NoError(t, err, in)
		require.Equal(t, want, r.B, in)
	}
	want := time.Date(2026, 11, 22, 10, 30, 5, 0, time.UTC)
	for in, t2 := range map[string]time.Time{
		`"2026-11-22T10:30:05Z"`: want, `"2026-11-22T11:30:05+01:00"`: want,
		`"2026-11-22T11:30:05+0100"`: want, `"2026-11-22T10:30:05"`: want, `"2026-11-22 10:30:05"`: want,
		`"2026-11-22 10:30:05 UTC"`: want, `"2026-11-22 11:30:05 +0100"`: want,
		`"2026-11-22T10:30:05.000Z"`: want, `"2026-11-22"`: time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC),
		`"Sun, 22 Nov 2026 10:30:05 GMT"`: want, `1795343405`: want, `"1795343405"`: want,
		`1795343405000`: want, `1795343405.5`: want.Add(500 * time.Millisecond), `null`: {}, `""`: {},
		`"2026-11-22T10:30:05.123456789Z"`: want.Add(123456789), `-1`: time.Unix(-1, 0),
		`"20261122"`: time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC),
	} {
		r, err := read("T", in)
		require.NoError(t, err, in)
		require.True(t, t2.Equal(r.T.Time), "%s: %s", in, r.T)
	}
	for _, bad := range [][2]string{
		{"S", `{}`},
		{"S", `[1]`},
		{"I", `"x"`},
		{"I", `1.5`},
		{"I", `1e30`},
		{"I", `"0x10"`},
		{"I", `true`},
		{"I", `[]`},
		{"B", `"maybe"`},
		{"B", `{}`},
		{"T", `"yesterday"`},
		{"T", `1e40`},
		{"T", `true`},
		{"T", `"2026-11-22 10:30:05 EST"`},
		{"T", `"2025"`},
		{"B", `"NaN"`},
		{"I", `"9007199254740993.0"`},
		{"T", `{}`},
		{"T", `"` + strings.Repeat("9", 1000) + `"`},
		{"I", `"` + strings.Repeat("x", 1000) + `"`},
	} {
		_, err := read(bad[0], bad[1])
		require.Error(t, err, bad)
		require.Less(t, len(err.Error()), 200)
	}
}

func FuzzFlex(f *testing.F) {
	for _, s := range []string{`"1"`, `1e400`, `-0`, `"2026-11-22"`, `null`, `"Infinity"`, `[`, `""`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(_ *testing.T, data []byte) {
		var r struct {
			S driver.FlexString
			I driver.FlexInt
			B driver.FlexBool
			T driver.FlexTime
		}
		_, _, _, _ = r.S.UnmarshalJSON(data), r.I.UnmarshalJSON(data), r.B.UnmarshalJSON(data), r.T.UnmarshalJSON(data)
	})
}

// Five at a time, each with a result and the partner's id of its call.
func TestEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int32
		c, err := belay.New(
			"https://crm.test",
			belay.WithTransport(roundTrip(func(req *http.Request) (*http.Response, error) {
				most.Store(max(most.Load(), now.Add(1)))
				defer now.Add(-1)
				time.Sleep(10 * time.Millisecond)
				if strings.HasSuffix(req.URL.Path, "/3") {
					return answer(422), nil
				}
				return answer(200), nil
			})),
		)
		require.NoError(t, err)
		upsert := func(ctx context.Context, id int, info *belay.Info) (string, error) {
			_, err := belay.Put[belay.None](
				ctx,
				c,
				"/contacts/{id}",
				map[string]int{"id": id},
				belay.PathValue("id", fmt.Sprint(id)),
				belay.Into(info),
			)
			return fmt.Sprint("saved ", id), err
		}
		results := driver.Each(t.Context(), []int{0, 1, 2, 3, 4, 5, 6, 7}, upsert)
		require.Len(t, results, 8)
		for i, r := range results {
			require.Equal(t, "req-1", r.RequestID)
			require.Equal(t, 1, r.Attempts)
			if i == 3 {
				require.ErrorIs(t, r.Err, belay.ErrInvalid)
				continue
			}
			require.NoError(t, r.Err)
			require.Equal(t, fmt.Sprint("saved ", i), r.Value)
		}
		require.EqualValues(t, 5, most.Load())
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Millisecond)
		defer cancel()
		results = driver.Each(ctx, make([]int, 20), upsert)
		require.NoError(t, results[0].Err)
		require.ErrorIs(t, results[19].Err, context.DeadlineExceeded)
	})
}

// One registry for the application, one factory for each partner, one driver for each customer.
func Example() {
	partner := roundTrip(func(req *http.Request) (*http.Response, error) {
		fmt.Println(req.Header.Get("Authorization"), req.URL)
		return answer(200), nil
	})
	registry, err := driver.NewRegistry(func(_ context.Context, _, integration string) (driver.Settings, error) {
		return driver.Settings{Auth: belay.Bearer(belay.NewSecret("token of " + integration))}, nil // from your database
	})
	if err != nil {
		panic(err)
	}
	defer registry.Close()
	crms, err := driver.Register(
		registry,
		driver.Partner{Name: "crm", BaseURL: "https://api.crm.test", Options: []belay.Option{belay.WithTransport(partner)}},
		open,
	)
	if err != nil {
		panic(err)
	}
	customer, err := crms.Open(context.Background(), "customer-7")
	if err != nil {
		panic(err)
	}
	fmt.Println(customer.Check(context.Background()))
	// Output:
	// Bearer token of customer-7 https://api.crm.test/me
	// <nil>
}
