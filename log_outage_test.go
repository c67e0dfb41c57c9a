package belay_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

// lines returns the records that f has written to a log of a level, as level, message and some attributes.
func lines(t *testing.T, level slog.Level, f func(*slog.Logger), attrs ...string) (out []string) {
	t.Helper()
	var log bytes.Buffer
	f(slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: level})))
	for line := range strings.Lines(log.String()) {
		var r map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &r))
		text := fmt.Sprint(r["level"], " ", strings.TrimPrefix(r["msg"].(string), "belay: "))
		for _, name := range attrs {
			if v, ok := r[name]; ok {
				text += fmt.Sprintf(" %s=%v", name, v)
			}
		}
		out = append(out, text)
	}
	return out
}

func failedCall(integration string, class belay.Class, status int, err error) belay.CallDone {
	return belay.CallDone{
		Call:    belay.CallInfo{Partner: "crm", Integration: integration, Method: "GET", Route: "/x"},
		Verdict: belay.Verdict{Class: class}, StatusCode: status, Attempts: 1, Err: err,
	}
}

// An outage of an hour, with ten thousand calls of a hundred customers, is a line for each change and one a minute.
func TestLogOfAnOutage(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "outage", func(t *testing.T) {
		got := lines(t, slog.LevelInfo, func(l *slog.Logger) {
			o := belay.NewLogObserver(l)
			for i := range 10_000 {
				if i > 0 {
					time.Sleep(360 * time.Millisecond)
				}
				e := failedCall(fmt.Sprint("customer ", i%100), belay.ClassTransient, 503, errors.New("down"))
				if i%50 > 0 { // the circuit is open; its probes fail
					e = failedCall(fmt.Sprint("customer ", i%100), belay.ClassRefused, 0, belay.ErrCircuitOpen)
				}
				o.Observe(t.Context(), belay.AttemptDone{Call: e.Call, Verdict: e.Verdict, Err: e.Err})
				o.Observe(t.Context(), belay.Retrying{Call: e.Call, Verdict: e.Verdict})
				o.Observe(t.Context(), e)
			}
			for range 5 {
				o.Observe(t.Context(), belay.CallDone{Call: failedCall("customer 7", 0, 200, nil).Call, StatusCode: 200, Attempts: 1})
			}
			o.Observe(t.Context(), failedCall("customer 7", belay.ClassTransient, 503, errors.New("down")))
		}, "integration", "failed", "not_shown", "for_ms")
		var calls, still int
		var rest []string
		for _, line := range got {
			switch {
			case strings.Contains(line, " call "):
				calls++
			case strings.Contains(line, "still failing"):
				still++
			case !strings.Contains(line, "attempt") && !strings.Contains(line, "retrying"):
				rest = append(rest, line)
			}
		}
		require.Equal(t, 6, calls, "five, and one after it worked")
		require.InDelta(t, 59, still, 1, "one a minute")
		require.Len(t, rest, 2)
		require.Equal(t, "ERROR failing: the same failures are counted from here failed=5 for_ms=1440", rest[0])
		require.Regexp(t, `^INFO works again failed=10000 not_shown=\d+ for_ms=3.59964e\+06$`, rest[1])
		require.Less(t, len(got), 90)
		var notShown int
		for _, line := range got {
			if i := strings.Index(line, "not_shown="); i > 0 {
				var n int
				_, err := fmt.Sscanf(line[i:], "not_shown=%d", &n)
				require.NoError(t, err)
				notShown += n
			}
		}
		require.Equal(t, 10_000, notShown+calls-1, "every failure is a line or in a number")
	})
}

// What is not of one kind, not in a row, or the call's own fault stays a line each.
func TestLogShowsWhatIsNoOutage(t *testing.T) {
	t.Parallel()
	works := belay.CallDone{Call: failedCall("", 0, 200, nil).Call, StatusCode: 200, Attempts: 1}
	for name, c := range map[string]struct {
		events func(i int) []belay.Event
		want   int // lines of calls
	}{
		"every second one fails":  {func(int) []belay.Event { return []belay.Event{failedCall("", belay.ClassTransient, 500, nil), works} }, 100},
		"invalid calls":           {func(int) []belay.Event { return []belay.Event{failedCall("", belay.ClassClient, 422, nil)} }, 100},
		"records that are secret": {func(int) []belay.Event { return []belay.Event{failedCall("", belay.ClassAuth, 403, nil)} }, 100},
		"the same":                {func(int) []belay.Event { return []belay.Event{failedCall("", belay.ClassTransient, 500, nil)} }, 5},
		"a dead credential of each of ten": {func(i int) []belay.Event {
			return []belay.Event{failedCall(fmt.Sprint(i%10), belay.ClassAuth, 401, nil)}
		}, 50},
		"two kinds": {func(i int) []belay.Event {
			return []belay.Event{failedCall("", []belay.Class{belay.ClassTransient, belay.ClassData}[i/50], 500, nil)}
		}, 6},
		"kept answers are no sign of life": {func(int) []belay.Event {
			kept := works
			kept.Kept, kept.Attempts = true, 0
			return []belay.Event{failedCall("", belay.ClassTransient, 500, nil), kept}
		}, 5},
		"a 404 is": {func(int) []belay.Event {
			return []belay.Event{failedCall("", belay.ClassTransient, 500, nil), failedCall("", belay.ClassClient, 404, nil)}
		}, 200},
	} {
		got := lines(t, slog.LevelInfo, func(l *slog.Logger) {
			o := belay.NewLogObserver(l)
			for i := range 100 {
				for _, e := range c.events(i) {
					o.Observe(t.Context(), e)
				}
			}
		})
		n := 0
		for _, line := range got {
			if strings.HasSuffix(line, " call") {
				n++
			}
		}
		require.Equal(t, c.want, n, name)
	}
}

// tally plays events, and returns the lines, with the failures that are lines and those that are in numbers.
func tally(
	t *testing.T, play func(fail func(integration string, class belay.Class, err error), works func(integration string)),
) (got []string, shown, counted int) {
	t.Helper()
	got = lines(t, slog.LevelInfo, func(l *slog.Logger) {
		o := belay.NewLogObserver(l)
		play(func(integration string, class belay.Class, err error) {
			o.Observe(t.Context(), failedCall(integration, class, 500, err))
		}, func(integration string) {
			o.Observe(t.Context(), belay.CallDone{Call: failedCall(integration, 0, 200, nil).Call, StatusCode: 200, Attempts: 1})
		})
	}, "integration", "not_shown")
	for _, line := range got {
		if strings.Contains(line, " call") {
			shown++
		}
		if i := strings.Index(line, "not_shown="); i > 0 {
			n := 0
			_, err := fmt.Sscanf(line[i:], "not_shown=%d", &n)
			require.NoError(t, err)
			counted += n
		}
	}
	return got, shown, counted
}

// Every failure is a line or in a number, whichever rows end or speak at once.
func TestLogLosesNoFailure(t *testing.T) {
	t.Parallel()
	type fails = func(integration string, class belay.Class, err error)
	down := errors.New("down")
	testkit.Bubble(t, "two rows", func(t *testing.T) {
		failures := 0
		got, shown, counted := tally(t, func(fail fails, works func(string)) {
			for range 100 { // one customer, beside another that is well
				for range 3 {
					fail("a", belay.ClassTransient, down)
					failures++
				}
				works("b")
				time.Sleep(time.Second)
			}
			for i := range 200 { // all of them
				fail(fmt.Sprint("customer ", i%20), belay.ClassTransient, down)
				fail("a", belay.ClassData, down)
				failures += 2
				time.Sleep(7 * time.Second)
			}
			for range 10 {
				for _, name := range []string{"a", "b", "customer 1"} {
					works(name)
				}
			}
			for i := range 20 {
				works(fmt.Sprint("customer ", i))
			}
		})
		require.Equal(t, failures, shown+counted, "%v", got)
		require.Less(t, shown, 40)
	})
	testkit.Bubble(t, "one customer is down, and others are well", func(t *testing.T) {
		got, shown, counted := tally(t, func(fail fails, works func(string)) {
			for range 1000 {
				for range 9 {
					fail("a", belay.ClassTransient, down)
				}
				works("b")
				time.Sleep(time.Second)
			}
			time.Sleep(time.Minute)
			works("a")
		})
		require.Equal(t, 9000, shown+counted)
		require.Less(t, len(got), 30)
		for _, line := range got {
			require.Contains(t, line, "integration=a", "the partner is well")
		}
	})
	testkit.Bubble(t, "what one customer's own switch refuses hides nobody's failure", func(t *testing.T) {
		got, _, _ := tally(t, func(fail fails, _ func(string)) {
			for range 10 {
				fail("off", belay.ClassRefused, belay.ErrDisabled)
			}
			for range 10 {
				fail("", belay.ClassAuth, nil) // of the client without an integration
			}
			for _, name := range []string{"b", "c", "d"} {
				fail(name, belay.ClassTransient, down)
			}
		})
		for _, name := range []string{"b", "c", "d"} {
			require.Contains(t, got, "ERROR call integration="+name)
		}
	})
	testkit.Bubble(t, "without an integration", func(t *testing.T) {
		got, shown, counted := tally(t, func(fail fails, works func(string)) {
			for range 1000 {
				fail("", belay.ClassAuth, nil)
				works("b")
			}
			time.Sleep(time.Minute)
			works("")
		})
		require.Equal(t, 1000, shown+counted)
		require.Less(t, len(got), 10)
	})
}

// Customers who fail once and are gone take no room for ever; beyond the bound each failure is a line.
func TestLogOfOutagesIsBounded(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "bounded", func(t *testing.T) {
		for gone, want := range map[time.Duration]int{0: 10_010, 2 * time.Hour: 10_005} {
			_, shown, _ := tally(t, func(fail func(string, belay.Class, error), _ func(string)) {
				for i := range 10_000 {
					fail(fmt.Sprint(i), belay.ClassAuth, nil)
				}
				time.Sleep(gone)
				for range 10 {
					fail("one more", belay.ClassAuth, nil)
				}
			})
			require.Equal(t, want, shown)
		}
	})
}

// The fields of the caller's context are in the lines about its calls, and the context reaches the handler.
func TestLogContext(t *testing.T) {
	t.Parallel()
	got := lines(t, slog.LevelDebug, func(l *slog.Logger) {
		c := newClient(t, testkit.RoundTrip(func(*http.Request) (*http.Response, error) { return testkit.Reply(200), nil }), belay.WithLogger(l))
		ctx := belay.LogContext(belay.LogContext(t.Context(), slog.String("tenant", "acme")), slog.Int("job", 7))
		require.NoError(t, get(ctx, c, "/x"))
		require.NoError(t, get(t.Context(), c, "/x"))
	}, "tenant", "job")
	require.Equal(t, []string{
		"DEBUG attempt tenant=acme job=7", "DEBUG call tenant=acme job=7", "DEBUG attempt", "DEBUG call",
	}, got)
	var nothing context.Context
	require.NotNil(t, belay.LogContext(nothing))
}

// The answer of a failed call is at debug, its code and message always: names and kinds by default, and no secret.
func TestLogOfAnAnswer(t *testing.T) {
	t.Parallel()
	const body = `{"error":{"code":"bad_name","message":"no such name"},"secret":"hunter2hunter2","n":1}`
	for name, c := range map[string]struct {
		status int
		opts   []belay.Option
		level  slog.Level
		want   string
	}{
		"debug":           {500, nil, slog.LevelDebug, `{"error":{"code":string,"message":string},"secret":string,"n":number}`},
		"info":            {500, nil, slog.LevelInfo, ""},
		"not as promised": {200, nil, slog.LevelDebug, `{"error":{"code":string,"message":string},"secret":string,"n":number}`},
		"a redactor": {500, []belay.Option{belay.WithRedactor(func(kind string, b []byte) string {
			return kind + " " + string(b[:20]) + " Bearer tok-12345678"
		}), belay.WithAuth(belay.Bearer(belay.NewSecret("tok-12345678")))}, slog.LevelDebug, "application/json {\"error\":{\"code\":\"b"},
		"a redactor that panics": {500, []belay.Option{belay.WithRedactor(func(string, []byte) string { panic("x") })}, slog.LevelDebug, ""},
	} {
		var event belay.CallDone
		got := lines(t, c.level, func(l *slog.Logger) {
			client := newClient(t, testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
				return testkit.Raw(c.status, "application/json", body), nil
			}), append(c.opts, belay.WithLogger(l), belay.WithRetry(belay.RetryPolicy{MaxAttempts: 1}),
				belay.WithObserver(belay.ObserverFunc(func(_ context.Context, e belay.Event) {
					if done, ok := e.(belay.CallDone); ok {
						event = done
					}
				})))...)
			_, err := belay.Get[[]int](t.Context(), client, "/x")
			require.Error(t, err)
		}, "answer_body", "code", "message")
		last := got[len(got)-1]
		require.Contains(t, last, "call", name)
		if c.want == "" {
			require.NotContains(t, last, "answer_body", name)
		} else {
			require.Contains(t, last, "answer_body="+c.want, name)
		}
		if c.status == 500 {
			require.Contains(t, last, "code=bad_name message=no such name", name)
		}
		require.NotContains(t, fmt.Sprint(got, event.AnswerBody), "hunter2", name)
		require.NotContains(t, fmt.Sprint(got, event.AnswerBody), "tok-12345678", name)
	}
}
