package watch_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/inbox"
	"github.com/belay-go/belay/internal/testkit"
	"github.com/belay-go/belay/watch"
)

// told is a sink that remembers what it was sent.
type told struct {
	mu  sync.Mutex
	all []watch.Alert
}

func (s *told) Send(_ context.Context, a watch.Alert) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, a)
	return nil
}

// rules returns "rule" for each alert that fired and "-rule" for each that was resolved.
func (s *told) rules() (out []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.all {
		name := a.Rule
		if !a.Resolved.IsZero() {
			name = "-" + name
		}
		out = append(out, name)
	}
	return out
}

func (s *told) last() watch.Alert {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.all) == 0 {
		return watch.Alert{}
	}
	return s.all[len(s.all)-1]
}

// world is a history with rules that run.
type world struct {
	*watch.History
	rules              *watch.Rules
	told               *told
	probes             *watch.Checker
	inbox              atomic.Pointer[inbox.Numbers]
	failing, slow, off atomic.Bool
}

func newWorld(t *testing.T, change func(*watch.RulesConfig)) *world {
	w := &world{History: new(watch.History), told: new(told)}
	w.inbox.Store(new(inbox.Numbers))
	var err error
	w.probes, err = watch.NewChecker(watch.CheckerConfig{}, watch.Check{Name: "crm/acme", Probe: func(ctx context.Context) error {
		if w.slow.Load() {
			time.Sleep(3001 * time.Millisecond)
		}
		if w.off.Load() {
			return belay.ErrDisabled
		}
		if w.failing.Load() {
			return errors.New("broken")
		}
		return nil
	}})
	require.NoError(t, err)
	cfg := watch.RulesConfig{
		History: w.History, Checker: w.probes, Sinks: []watch.Sink{w.told},
		Inboxes: map[string]func() inbox.Numbers{
			"crm": func() inbox.Numbers { return *w.inbox.Load() }, "nil": nil,
			"panics": func() inbox.Numbers { panic("no") },
		},
		Runbook: "https://runbooks.example/{rule}?p={partner}",
	}
	if change != nil {
		change(&cfg)
	}
	w.rules, err = watch.NewRules(cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() { _ = w.rules.Run(ctx) })
	all.Go(func() { _ = w.probes.Run(ctx) })
	t.Cleanup(func() { cancel(); all.Wait() })
	return w
}

// call tells of a call that ended.
func (w *world) call(status int, route string) {
	w.of("acme", status, route)
}

func (w *world) of(integration string, status int, route string) {
	e := belay.CallDone{StatusCode: status, Attempts: 1, Duration: time.Second, Call: belay.CallInfo{
		Partner: "crm", Integration: integration, Method: "GET", Route: route, URL: "https://crm.example" + route,
	}}
	e.Verdict.Class = map[int]belay.Class{
		200: belay.ClassOK, 503: belay.ClassTransient, 0: belay.ClassTransient, 429: belay.ClassRateLimited,
		401: belay.ClassAuth, 403: belay.ClassAuth, 404: belay.ClassClient, -1: belay.ClassData,
	}[status]
	if e.Verdict.Class != belay.ClassOK {
		e.Err = fmt.Errorf("status %d", status)
	}
	w.Observe(context.Background(), e)
}

func (w *world) calls(n, status int) {
	for range n {
		w.call(status, "/things/{id}")
	}
}

func (w *world) tell(e belay.Event) { w.Observe(context.Background(), e) }

// Each rule fires at its threshold and not one below, once, and is resolved once, five minutes after the last time.
func TestRules(t *testing.T) {
	type step = func(w *world)
	open := func(w *world, state belay.BreakerState) {
		w.tell(belay.CircuitChanged{Call: belay.CallInfo{Partner: "crm"}, Origin: "https://crm.example", State: state})
	}
	ending := func(w *world, in time.Duration) {
		w.tell(belay.Deprecated{
			Call: belay.CallInfo{Partner: "crm", Method: "GET", Route: "/v1/{id}"}, Sunset: time.Now().Add(in), Link: "https://crm.example/v2",
		})
	}
	handled := func(w *world, n int, err error) {
		for range n {
			w.tell(belay.EventHandled{Partner: "crm", Err: err})
		}
	}
	importing := func(w *world, e belay.ImportProgress) {
		e.Partner, e.Integration, e.Import = "crm", "acme", "people"
		w.tell(e)
	}
	day := 24 * time.Hour
	token := func(life time.Duration) step {
		return func(w *world) {
			w.tell(belay.TokenRefreshed{Partner: "crm", Integration: "acme", RefreshExpiry: time.Now().Add(life)})
		}
	}
	for _, c := range []struct {
		rule     string
		below    step // what is no alert yet
		reach    step // what makes it one
		end      step // what ends it, nil for time alone
		severity watch.Severity
		what     string
		every    time.Duration // 0 for 5 s
	}{
		{
			rule:  "unavailable",
			below: func(w *world) { w.calls(3, 503) },
			reach: func(w *world) { w.calls(4, 503) },
			what:  "4 of 4 calls of the last minute failed (4 5xx)", severity: watch.P1,
		},
		{
			rule:  "unavailable",
			below: func(w *world) { w.calls(397, 200); w.calls(3, 503); w.call(404, "/x") },
			reach: func(w *world) { w.calls(396, 200); w.calls(3, 503); w.calls(1, 0) },
			what:  "4 of 400 calls of the last minute failed (3 5xx, 1 no answer)", severity: watch.P1,
		},
		{
			rule:  "unavailable",
			below: func(w *world) { w.calls(397, 200); w.calls(4, 503) }, // below 1 %
			reach: func(w *world) { w.calls(495, 200); w.calls(5, 503) },
			what:  "5 of 500 calls", severity: watch.P1,
		},
		{
			rule:  "unusable_answers",
			below: func(w *world) { w.calls(3, -1); w.calls(100, 404) },
			reach: func(w *world) { w.calls(4, -1) },
			what:  "4 of 4 calls of the last minute had an answer that could not be used", severity: watch.P2,
		},
		{
			rule:  "rate_limited",
			below: func(w *world) { w.calls(5, 429); w.calls(10, 200) },
			reach: func(w *world) { w.calls(6, 429) },
			what:  "6 of 6 calls of the last minute failed by 429", severity: watch.P2,
		},
		{
			rule:  "unauthorized",
			below: func(w *world) { w.calls(1, 403); w.calls(1, 404); w.calls(1, 200) },
			reach: func(w *world) { w.calls(1, 401) },
			end:   func(w *world) { w.calls(1, 200) },
			what:  "the partner refuses the credential: status 401", severity: watch.P1,
		},
		{
			rule:  "unauthorized", // once, on a busy integration
			below: func(*world) {},
			reach: func(w *world) { w.calls(100, 200); w.calls(1, 401); w.calls(100, 200) },
			end:   func(*world) {},
			what:  "the partner refuses the credential: status 401", severity: watch.P1,
		},
		{
			rule:  "forbidden",
			below: func(w *world) { w.calls(5, 403); w.calls(1, 200); w.calls(2, 403) },
			reach: func(w *world) { w.calls(1, 200); w.calls(3, 403) },
			end:   func(w *world) { w.calls(1, 200) },
			what:  "403 on GET /things/{id}", severity: watch.P2,
		},
		{
			rule: "circuit_open",
			below: func(w *world) {
				open(w, belay.BreakerOpen)
				time.Sleep(299 * time.Second)
				open(w, belay.BreakerClosed)
				w.calls(1, 200)
			},
			reach: func(w *world) { open(w, belay.BreakerOpen); time.Sleep(301 * time.Second); w.calls(1, 200) },
			end:   func(w *world) { open(w, belay.BreakerClosed) },
			what:  "the circuit of https://crm.example has been open for 5 min", severity: watch.P1,
		},
		{
			rule:     "probe_failed",
			below:    func(w *world) { w.failing.Store(true); time.Sleep(100 * time.Second); w.failing.Store(false) },
			reach:    func(w *world) { w.failing.Store(true); time.Sleep(200 * time.Second) },
			end:      func(w *world) { w.failing.Store(false) },
			what:     "probes in a row have failed: broken",
			severity: watch.P1,
		},
		{
			rule: "probe_slow", // and not of a check that was switched off behind a slow probe that failed
			below: func(w *world) {
				w.slow.Store(true)
				w.failing.Store(true)
				time.Sleep(70 * time.Second)
				w.off.Store(true)
				time.Sleep(70 * time.Second)
				w.slow.Store(false)
				w.failing.Store(false)
				w.off.Store(false)
				time.Sleep(70 * time.Second)
			},
			reach:    func(w *world) { w.slow.Store(true); time.Sleep(70 * time.Second) },
			end:      func(w *world) { w.slow.Store(false) },
			what:     "the last probe took 3 s",
			severity: watch.P2,
		},
		{
			rule:  "webhooks_failing",
			below: func(w *world) { handled(w, 19, nil); handled(w, 1, errors.New("no")) },
			reach: func(w *world) { time.Sleep(10 * time.Minute); handled(w, 18, nil); handled(w, 2, errors.New("no")) },
			end:   func(*world) { time.Sleep(8 * time.Minute) },
			what:  "2 of 20 events of the last ten minutes failed", severity: watch.P2,
		},
		{
			rule: "token_failing",
			below: func(w *world) {
				w.tell(belay.TokenRefreshFailed{Partner: "crm", Integration: "acme", Err: errors.New("no"), Action: "wait"})
				time.Sleep(4 * time.Minute)
				w.tell(belay.TokenRefreshed{Partner: "crm", Integration: "acme"})
			},
			reach: func(w *world) {
				w.tell(belay.TokenRefreshFailed{Partner: "crm", Integration: "acme", Err: errors.New("no"), Action: "wait"})
				time.Sleep(5*time.Minute + time.Second)
			},
			end:  func(w *world) { w.tell(belay.TokenRefreshed{Partner: "crm", Integration: "acme"}) },
			what: "the token cannot be refreshed: no", severity: watch.P2,
		},
		{
			rule: "token_revoked",
			below: func(w *world) {
				w.tell(belay.TokenRefreshFailed{Partner: "crm", Integration: "acme", Err: errors.New("no")})
				w.tell(belay.TokenRefreshed{Partner: "crm", Integration: "acme"})
			},
			reach: func(w *world) {
				w.tell(belay.TokenRevoked{Partner: "crm", Integration: "acme", Err: errors.New("no token=canary123456")})
			},
			end:  func(w *world) { w.tell(belay.TokenRefreshed{Partner: "crm", Integration: "acme"}) },
			what: "the grant was refused for good: no", severity: watch.P1,
		},
		{
			rule:  "refresh_ending",
			below: func(w *world) { token(29 * day)(w); time.Sleep(21 * day); token(29 * day)(w) },
			reach: func(w *world) { token(29 * day)(w); time.Sleep(22*day + time.Minute) },
			end:   token(60 * day),
			what:  "the refresh token ends on", severity: watch.P2, every: time.Minute,
		},
		{
			rule:  "refresh_ending", // of a short one
			below: func(w *world) { token(8 * day)(w); time.Sleep(5 * day); token(8 * day)(w) },
			reach: func(w *world) { token(8 * day)(w); time.Sleep(6*day + time.Minute) },
			end:   token(60 * day),
			what:  "the refresh token ends on", severity: watch.P2, every: time.Minute,
		},
		{
			rule: "refresh_ending", // of one that this process has only loaded
			below: func(w *world) {
				w.tell(belay.TokenLoaded{Partner: "crm", Integration: "acme", Obtained: time.Now().Add(-80 * day), RefreshExpiry: time.Now().Add(8 * day)})
			},
			reach: func(w *world) {
				w.tell(belay.TokenLoaded{Partner: "crm", Integration: "acme", Obtained: time.Now().Add(-80 * day), RefreshExpiry: time.Now().Add(7*day - time.Second)})
			},
			end:  func(w *world) { w.tell(belay.TokenLoaded{Partner: "crm", Integration: "acme"}) }, // it was removed
			what: "the refresh token ends on", severity: watch.P2,
		},
		{
			rule: "banned",
			below: func(w *world) {
				w.tell(belay.Paused{Call: belay.CallInfo{Partner: "crm"}, Scope: belay.ScopePartner, For: time.Hour - time.Second})
				time.Sleep(time.Hour)
			},
			reach: func(w *world) {
				w.tell(belay.Paused{Call: belay.CallInfo{Partner: "crm"}, Scope: belay.ScopePartner, For: time.Hour, Verdict: belay.Verdict{RetryAfter: 26 * time.Hour}})
			},
			end:  func(w *world) { time.Sleep(26*time.Hour - 2*time.Minute) },
			what: "the partner asks to wait 26 h 0 min (partner), until ", severity: watch.P1,
		},
		{
			rule:  "schema_changed",
			below: func(w *world) {},
			reach: func(w *world) { w.tell(belay.SchemaChanged{Partner: "crm", What: "people", Difference: "missing id"}) },
			end:   func(w *world) { time.Sleep(24*time.Hour - 2*time.Minute) },
			what:  "people: missing id", severity: watch.P2,
		},
		{
			rule:  "endpoint_ending",
			below: func(w *world) { ending(w, 91*day); time.Sleep(day - 10*time.Minute) },
			reach: func(w *world) { ending(w, 91*day); time.Sleep(day + time.Minute) },
			end:   func(w *world) { ending(w, 400*day) },
			what:  "GET /v1/{id} ends on ", severity: watch.P2, every: time.Minute,
		},
		{
			rule:  "endpoint_ending", // soon
			below: func(w *world) {},
			reach: func(w *world) { ending(w, 6*day) },
			end:   func(w *world) { ending(w, 400*day) },
			what:  "GET /v1/{id} ends on ", severity: watch.P1,
		},
		{
			rule: "imports_rejecting",
			below: func(w *world) {
				importing(w, belay.ImportProgress{Read: 10, Rejected: 4})
				importing(w, belay.ImportProgress{Read: 500, Rejected: 5, Ended: true})
			},
			reach: func(w *world) { importing(w, belay.ImportProgress{Read: 499, Rejected: 5, Ended: true}) },
			end:   func(w *world) { importing(w, belay.ImportProgress{Read: 500, Ended: true}) },
			what:  "people: 5 of 499 records were rejected", severity: watch.P2,
		},
		{
			rule:  "import_failed",
			below: func(w *world) { importing(w, belay.ImportProgress{Ended: true}) },
			reach: func(w *world) { importing(w, belay.ImportProgress{Ended: true, Read: 7, Err: errors.New("no")}) },
			end:   func(w *world) { importing(w, belay.ImportProgress{Read: 500}) },
			what:  "people ended early after 7 records: no", severity: watch.P2,
		},
		{
			rule:  "import_memory",
			below: func(w *world) { importing(w, belay.ImportProgress{PeakHeap: 1 << 30}) },
			reach: func(w *world) { importing(w, belay.ImportProgress{PeakHeap: 1<<30 + 1<<20}) },
			end:   func(w *world) { importing(w, belay.ImportProgress{Ended: true}) },
			what:  "people: the heap had 1025 MiB", severity: watch.P2,
		},
		{
			rule:  "inbox_deep",
			below: func(w *world) { w.inbox.Store(&inbox.Numbers{Pending: 5000}) },
			reach: func(w *world) { w.inbox.Store(&inbox.Numbers{Pending: 5001}) },
			end:   func(w *world) { w.inbox.Store(&inbox.Numbers{}) },
			what:  "5001 events wait", severity: watch.P2,
		},
		{
			rule:  "inbox_old",
			below: func(w *world) { w.inbox.Store(&inbox.Numbers{Pending: 1, Oldest: 15 * time.Minute}) },
			reach: func(w *world) { w.inbox.Store(&inbox.Numbers{Pending: 1, Oldest: 15*time.Minute + time.Second}) },
			end:   func(w *world) { w.inbox.Store(&inbox.Numbers{}) },
			what:  "the oldest of 1 events has waited for 15 min 1 s", severity: watch.P2,
		},
	} {
		testkit.Bubble(t, c.rule, func(t *testing.T) {
			every := cmp.Or(c.every, 5*time.Second)
			w := newWorld(t, func(cfg *watch.RulesConfig) { cfg.Every = every })
			w.call(200, "/worked")
			time.Sleep(75 * time.Second)
			c.below(w)
			time.Sleep(30*time.Second + every)
			require.Empty(t, w.told.rules(), "below the threshold")
			require.Empty(t, w.rules.Alerts())
			time.Sleep(2 * time.Minute) // what was counted is over
			began := time.Now()
			c.reach(w)
			time.Sleep(every + time.Second)
			require.Equal(t, []string{c.rule}, w.told.rules())
			a := w.told.last()
			require.Equal(t, "crm", a.Partner)
			require.Equal(t, c.severity, a.Severity)
			require.Contains(t, a.What, c.what)
			require.NotContains(t, a.String(), "canary")
			require.NotEmpty(t, a.Cause)
			require.NotEmpty(t, a.Action)
			require.Equal(t, "https://runbooks.example/"+c.rule+"?p=crm", a.Runbook)
			require.False(t, a.LastSuccess.IsZero())
			require.False(t, a.Since.After(time.Now()))
			require.WithinDuration(t, began, a.Since, 60*day)
			require.Equal(t, a.ID, w.rules.Alerts()[0].ID)
			time.Sleep(time.Minute)
			require.Len(t, w.told.rules(), 1, "it fires once")
			if c.end != nil {
				c.end(w)
			}
			time.Sleep(4 * time.Minute)
			require.Len(t, w.told.rules(), 1, "not resolved before it was quiet for five minutes")
			time.Sleep(5 * time.Minute)
			require.Equal(t, []string{c.rule, "-" + c.rule}, w.told.rules())
			require.Equal(t, a.ID, w.told.last().ID)
			require.Empty(t, w.rules.Alerts())
			time.Sleep(2 * time.Hour)
			require.Len(t, w.told.rules(), 2, "it is resolved once")
		})
	}
}

// The strict forms leave the share out, and take any 403.
func TestStrictRules(t *testing.T) {
	testkit.Bubble(t, "", func(t *testing.T) {
		w := newWorld(t, func(c *watch.RulesConfig) { c.Strict = true })
		w.calls(5000, 200)
		w.calls(4, 503)
		w.calls(1, 403)
		time.Sleep(6 * time.Second)
		require.ElementsMatch(t, []string{"unavailable", "forbidden"}, w.told.rules())
	})
}

// Refused credentials of many integrations are one alert, and so is what an outage causes one after the other. An
// alert that becomes worse is sent again under its ID.
func TestGroups(t *testing.T) {
	testkit.Bubble(t, "many credentials", func(t *testing.T) {
		w := newWorld(t, nil)
		time.Sleep(time.Second) // behind the first look
		for i := range 30 {
			w.of(fmt.Sprintf("customer-%02d", i), 200, "/a")
			w.of(fmt.Sprintf("customer-%02d", i), 401, "/a")
		}
		time.Sleep(6 * time.Second)
		require.Len(t, w.told.rules(), 1)
		a := w.told.last()
		require.Equal(t, 30, a.Affected)
		require.Len(t, a.Integrations, 20)
		require.Contains(t, a.String(), "crm (30 integrations)")
		require.Len(t, append(a.Also, a.Rule), 2, "auth_burst and unauthorized: %v", a.Also)
		time.Sleep(11 * time.Minute)
		w.of("late", 401, "/a") // another day, another cause
		time.Sleep(6 * time.Second)
		require.Equal(t, "late", w.told.last().Integration)
	})
	testkit.Bubble(t, "an outage", func(t *testing.T) {
		w := newWorld(t, nil)
		w.slow.Store(true)
		time.Sleep(80 * time.Second)
		require.Equal(t, []string{"probe_slow"}, w.told.rules())
		w.failing.Store(true)
		w.tell(belay.CircuitChanged{Call: belay.CallInfo{Partner: "crm"}, Origin: "https://crm.example", State: belay.BreakerOpen})
		for range 60 {
			w.calls(10, 503)
			time.Sleep(10 * time.Second)
		}
		require.Equal(t, []string{"probe_slow", "unavailable"}, w.told.rules(), "P2, then worse, and then nothing new")
		a, now := w.told.last(), w.rules.Alerts()
		require.Equal(t, w.told.all[0].ID, a.ID)
		require.Len(t, now, 1)
		require.Equal(t, []string{"circuit_open", "probe_failed"}, now[0].Also)
		w.slow.Store(false)
		w.failing.Store(false)
		w.tell(belay.CircuitChanged{Call: belay.CallInfo{Partner: "crm"}, Origin: "https://crm.example", State: belay.BreakerClosed})
		time.Sleep(10 * time.Minute)
		require.Len(t, w.told.rules(), 3)
		require.False(t, w.told.last().Resolved.IsZero())
	})
	testkit.Bubble(t, "a partner that is slow again as it comes back", func(t *testing.T) {
		w := newWorld(t, nil)
		w.slow.Store(true)
		time.Sleep(80 * time.Second)
		w.slow.Store(false)
		for range 70 {
			w.calls(10, 503)
			time.Sleep(10 * time.Second)
		}
		w.slow.Store(true)
		time.Sleep(3 * time.Minute)
		w.slow.Store(false)
		require.Equal(t, []string{"probe_slow", "unavailable"}, w.told.rules())
		time.Sleep(10 * time.Minute)
		require.Equal(t, []string{"probe_slow", "unavailable", "-probe_slow"}, w.told.rules())
	})
	testkit.Bubble(t, "flapping", func(t *testing.T) {
		w := newWorld(t, nil)
		for range 30 { // bad for a minute, good for three
			w.calls(20, 503)
			time.Sleep(time.Minute)
			w.calls(20, 200)
			time.Sleep(3 * time.Minute)
		}
		require.Equal(t, []string{"unavailable"}, w.told.rules())
	})
}

// A sink that blocks, panics or errs delays no call and no other sink, and is counted.
func TestSinksThatFail(t *testing.T) {
	testkit.Bubble(t, "", func(t *testing.T) {
		hold := make(chan struct{})
		defer close(hold)
		good := new(told)
		w := newWorld(t, func(c *watch.RulesConfig) {
			c.Quiet, c.Every = time.Second, time.Second
			c.Sinks = []watch.Sink{
				watch.SinkFunc(func(context.Context, watch.Alert) error { <-hold; return nil }),
				watch.SinkFunc(func(context.Context, watch.Alert) error { panic("password=canary12345") }),
				watch.SinkFunc(func(context.Context, watch.Alert) error { return errors.New("no") }),
				watch.LogSink(nil), good,
			}
		})
		began := time.Now()
		for range 120 { // fires and is resolved, each time
			w.calls(4, 503)
			require.Zero(t, time.Since(began)%(90*time.Second), "no call waits")
			time.Sleep(90 * time.Second)
		}
		require.Len(t, good.rules(), 240)
		all := w.rules.Sinks()
		require.GreaterOrEqual(t, all[0].Failed+all[0].Dropped, 240)
		require.Positive(t, all[0].Failed)
		for _, s := range all[1:4] {
			require.GreaterOrEqual(t, s.Failed, 240, "%+v", s)
			require.NotEmpty(t, s.Error)
			require.NotContains(t, s.Error, "canary")
		}
		require.Equal(t, 240, all[4].Sent)
	})
}

func TestRulesBadInput(t *testing.T) {
	t.Parallel()
	h := new(watch.History)
	for _, c := range []struct {
		cfg  watch.RulesConfig
		want string
	}{
		{watch.RulesConfig{}, "History is nil"},
		{watch.RulesConfig{History: h, Unavailable: -1}, "Unavailable is -1"},
		{watch.RulesConfig{History: h, Share: math.NaN()}, "Share is NaN"},
		{watch.RulesConfig{History: h, Rejects: math.Inf(1)}, "Rejects is +Inf"},
		{watch.RulesConfig{History: h, WebhookFailures: 1.5}, "WebhookFailures is 1.5"},
		{watch.RulesConfig{History: h, Quiet: -1}, "Quiet is -1"},
		{watch.RulesConfig{History: h, Off: []string{"nonsense"}}, `no rule "nonsense"`},
		{watch.RulesConfig{History: h, Sinks: []watch.Sink{nil}}, "sink 0 is nil"},
	} {
		_, err := watch.NewRules(c.cfg)
		require.ErrorContains(t, err, c.want)
	}
	require.Error(t, h.Add(nil))
	require.Error(t, h.Add(new(belay.Client)))
	_, err := watch.NewRules(watch.RulesConfig{History: h, Off: []string{"unavailable"}})
	require.NoError(t, err)
}

// Names that a user's code makes are shortened, and their number is bounded.
func TestHistoryIsBounded(t *testing.T) {
	t.Parallel()
	h := new(watch.History)
	done := func(partner, integration, url string) {
		h.Observe(context.Background(), belay.CallDone{Call: belay.CallInfo{
			Partner: partner, Integration: integration, Method: "GET", URL: url,
		}})
	}
	for i := range 100_000 {
		done("crm", fmt.Sprint("customer-", i), fmt.Sprintf("https://crm.example/things%d/%d", i, i))
	}
	long := strings.Repeat("x", 10<<10)
	done(long, long, "https://crm.example/"+long)
	done("<script>\n", "a\x00b", "")
	for i := range 2000 {
		done(fmt.Sprint("partner-", i), "", "")
	}
	all := h.Status()
	require.Len(t, all, 500)
	for _, p := range all {
		require.LessOrEqual(t, len(p.Partner), 210)
		if p.Partner == "crm" {
			require.Len(t, p.Integrations, 2000)
			require.LessOrEqual(t, len(p.Routes), 201)
			require.Equal(t, 100_000, p.Hour.OK)
		}
	}
}

// What an attack on the rules has found.
func TestGroupsThatChange(t *testing.T) {
	testkit.Bubble(t, "several that are over at once", func(t *testing.T) {
		w := newWorld(t, nil)
		time.Sleep(time.Second)
		for _, name := range []string{"a", "b", "c"} {
			w.of(name, 401, "/x")
		}
		time.Sleep(time.Minute)
		for _, name := range []string{"a", "b", "c"} {
			w.of(name, 200, "/x")
		}
		time.Sleep(time.Hour)
		require.Equal(t, []string{"unauthorized", "-unauthorized"}, w.told.rules())
		require.Equal(t, 3, w.told.last().Affected, "it ends with all that it has concerned")
	})
	testkit.Bubble(t, "one customer, then all", func(t *testing.T) {
		w := newWorld(t, nil)
		time.Sleep(time.Second)
		w.of("a", 401, "/x")
		time.Sleep(time.Minute)
		for i := range 500 {
			w.of(fmt.Sprint("customer-", i), 401, "/x")
		}
		time.Sleep(time.Minute)
		require.Len(t, w.told.rules(), 2, "it is told again")
		a := w.told.last()
		require.Equal(t, "auth_burst", a.Rule)
		require.Equal(t, 501, a.Affected)
		require.Equal(t, w.told.all[0].ID, a.ID)
	})
	testkit.Bubble(t, "one after the other", func(t *testing.T) {
		w := newWorld(t, nil)
		for i := range 20 {
			w.tell(belay.TokenRevoked{Partner: "crm", Integration: fmt.Sprint("customer-", i), Err: errors.New("no")})
			time.Sleep(9 * time.Minute)
		}
		require.GreaterOrEqual(t, len(w.told.rules()), 10, "a group does not grow for hours")
	})
	testkit.Bubble(t, "a circuit that opens before the first call ends", func(t *testing.T) {
		w := newWorld(t, nil)
		for _, integration := range []string{"", "acme"} {
			w.tell(belay.CircuitChanged{
				Call: belay.CallInfo{Partner: "crm"}, Origin: "https://crm.example", Integration: integration, State: belay.BreakerOpen,
			})
		}
		time.Sleep(6 * time.Minute)
		require.Equal(t, []string{"circuit_open"}, w.told.rules())
		require.Equal(t, 1, w.told.last().Affected, "and the integration's")
		time.Sleep(2 * time.Hour)
		require.Empty(t, w.rules.Alerts(), "nobody calls any more")
	})
	testkit.Bubble(t, "kept answers are no successes", func(t *testing.T) {
		w := newWorld(t, nil)
		w.calls(1, 401)
		hit := belay.CallDone{Call: belay.CallInfo{Partner: "crm", Integration: "acme", Route: "/a"}, Kept: true, StatusCode: 200}
		for range 2000 {
			w.tell(hit)
		}
		w.calls(10, 503)
		time.Sleep(10 * time.Second)
		require.ElementsMatch(t, []string{"unauthorized", "unavailable"}, w.told.rules())
	})
	testkit.Bubble(t, "a job that is refused every two hours", func(t *testing.T) {
		w := newWorld(t, nil)
		for range 24 {
			w.calls(1, 401)
			time.Sleep(2 * time.Hour)
		}
		require.Equal(t, []string{"unauthorized"}, w.told.rules())
	})
	testkit.Bubble(t, "a sink that fails once", func(t *testing.T) {
		n := 0
		good := new(told)
		w := newWorld(t, func(c *watch.RulesConfig) {
			c.Sinks = []watch.Sink{watch.SinkFunc(func(ctx context.Context, a watch.Alert) error {
				if n++; n == 1 {
					return errors.New("502")
				}
				return good.Send(ctx, a)
			})}
		})
		w.calls(1, 401)
		time.Sleep(2 * time.Minute)
		require.Equal(t, []string{"unauthorized"}, good.rules())
		time.Sleep(time.Hour)
		require.Len(t, good.rules(), 1)
	})
	testkit.Bubble(t, "an inbox that hangs", func(t *testing.T) {
		hold := make(chan struct{})
		defer close(hold)
		w := newWorld(t, func(c *watch.RulesConfig) {
			c.Inboxes = map[string]func() inbox.Numbers{"hangs": func() inbox.Numbers { <-hold; return inbox.Numbers{} }}
		})
		w.calls(1, 401)
		time.Sleep(time.Minute)
		require.Equal(t, []string{"unauthorized"}, w.told.rules())
	})
	testkit.Bubble(t, "a refresh token that is used and ends nevertheless", func(t *testing.T) {
		w := newWorld(t, func(c *watch.RulesConfig) { c.Every = time.Minute })
		end := time.Now().Add(30 * 24 * time.Hour)
		for range 24 * 24 {
			w.tell(belay.TokenRefreshed{Partner: "crm", Integration: "acme", RefreshExpiry: end})
			time.Sleep(time.Hour)
		}
		require.Equal(t, []string{"refresh_ending"}, w.told.rules())
	})
}

// A limit that the partner states below the configured one of the same window is an alert; one above it is none.
func TestLimitTightened(t *testing.T) {
	for q, want := range map[string][]string{"300": {"limit_tightened"}, "600": nil, "900": nil} {
		testkit.Bubble(t, q, func(t *testing.T) {
			w := newWorld(t, nil)
			c, err := belay.New("https://crm.example", belay.WithName("crm"), belay.WithRateLimit(belay.PerMinute(600)),
				belay.WithTransport(testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
					return testkit.Reply(200, "RateLimit-Policy", `"default";q=`+q+`;w=60`, "RateLimit", `"default";r=200;t=30`), nil
				})))
			require.NoError(t, err)
			require.NoError(t, w.Add(c))
			for range 5 {
				_, err = belay.Get[belay.None](t.Context(), c, "/x")
				require.NoError(t, err)
			}
			time.Sleep(6 * time.Second)
			require.Equal(t, want, w.told.rules())
			require.Len(t, c.Limiter().Status().Tightened(), len(want))
		})
	}
}

// What a sink has not taken does not come after what is newer.
func TestAlertsInOrder(t *testing.T) {
	testkit.Bubble(t, "", func(t *testing.T) {
		var got []string
		fails := true
		w := newWorld(t, func(c *watch.RulesConfig) {
			c.Quiet, c.Every = 2*time.Second, time.Second
			c.Sinks = []watch.Sink{watch.SinkFunc(func(_ context.Context, a watch.Alert) error {
				if fails {
					time.Sleep(9 * time.Second) // the end comes meanwhile
					fails = false
					return errors.New("502")
				}
				got = append(got, fmt.Sprint(a.Rule, " ", a.Resolved.IsZero()))
				return nil
			})}
		})
		time.Sleep(time.Second)
		w.calls(1, 401)
		time.Sleep(2 * time.Second)
		w.calls(1, 200)
		time.Sleep(time.Hour)
		require.Equal(t, []string{"unauthorized false"}, got, "only that it is over")
	})
}
