package belay

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// outages keeps the log short while a partner, or one integration of it, is down. After fullLines failures in a row,
// only a failure of another kind is a line. The others are written at debug and counted: there is a line with their
// number once a minute, and one when calls succeed again. Each failure that is no line is counted in one row.
type outages struct {
	failing atomic.Int32 // len(rows)
	mu      sync.Mutex
	rows    map[outageKey]*outage
}

const (
	fullLines    = 5  // failures in a row that are lines, and successes in a row that end an outage
	severalFail  = 3  // integrations that have to fail for an outage of their partner
	refusedKinds = 16 // kinds of failures from here on are refusals
	mostRows     = 10_000

	countEvery = time.Minute
	forgetRow  = time.Hour // after its last failure
)

// outageKey names whose calls a row is of: one integration's, those without an integration, or all of the partner.
type outageKey struct {
	partner, integration string
	whole                bool
}

// outage is a row of failures.
type outage struct {
	inRow       int
	successes   int      // since the last failure
	kinds       uint64   // that were lines, a bit each
	names       []string // of the integrations that fail, at most severalFail; of a partner's row
	since, last time.Time
	counted     time.Time // when the number was written
	calls       int       // all
	untold      int       // since counted
}

// notice is what the log says of a row.
type notice struct {
	level         slog.Level
	msg           string
	key           outageKey
	calls, untold int
	since         time.Time
}

// note counts a call, and reports whether it gets no line of its own.
func (o *outages) note(e *CallDone, now time.Time) (quiet bool, notices []notice) {
	own := outageKey{partner: e.Call.Partner, integration: e.Call.Integration}
	whole := outageKey{partner: e.Call.Partner, whole: true}
	kind, fails := failureKind(e)
	switch {
	case fails:
		o.mu.Lock()
		defer o.mu.Unlock()
		o.forgetOne(now)
		if row := o.rows[whole]; ofPartner(kind) && row.quiet() && row.knows(kind) {
			return true, row.count(whole, now)
		}
		if row := o.rows[own]; row.quiet() && row.knows(kind) {
			return true, row.count(own, now)
		}
		notices = o.fail(own, "", kind, now)
		if ofPartner(kind) && own.integration != "" {
			notices = append(notices, o.fail(whole, own.integration, kind, now)...)
		}
		return false, notices
	case o.failing.Load() > 0 && answered(e):
		o.mu.Lock()
		defer o.mu.Unlock()
		return false, append(o.succeed(own, now), o.succeed(whole, now)...)
	}
	return false, nil
}

// quiet reports whether the row's failures are counted.
func (r *outage) quiet() bool {
	return r != nil && r.inRow >= fullLines && (r.names == nil || len(r.names) >= severalFail)
}

func (r *outage) knows(kind uint8) bool { return r.kinds>>kind&1 != 0 }

// count counts a failure that is no line.
func (r *outage) count(key outageKey, now time.Time) []notice {
	r.last, r.successes = now, 0
	r.calls++
	if r.untold++; now.Sub(r.counted) < countEvery {
		return nil
	}
	n := notice{slog.LevelError, "still failing", key, r.calls, r.untold, r.since}
	r.counted, r.untold = now, 0
	return []notice{n}
}

// fail adds a failure that is a line to a row. from is the integration, in the row of a whole partner.
func (o *outages) fail(key outageKey, from string, kind uint8, now time.Time) []notice {
	r := o.rows[key]
	if r == nil {
		if len(o.rows) >= mostRows {
			return nil
		}
		if o.rows == nil {
			o.rows = make(map[outageKey]*outage)
		}
		r = &outage{since: now}
		o.rows[key] = r
		o.failing.Add(1)
	}
	was := r.quiet()
	r.last, r.successes = now, 0
	r.inRow++
	r.calls++
	r.kinds |= 1 << kind
	if from != "" && len(r.names) < severalFail && !slices.Contains(r.names, from) {
		r.names = append(r.names, from)
	}
	if was || !r.quiet() {
		return nil
	}
	r.counted = now
	return []notice{{slog.LevelError, "failing: the same failures are counted from here", key, r.calls, 0, r.since}}
}

// succeed adds a success to a row, which ends by it unless the row's failures are counted: then it ends by the fifth in
// a row, or a minute after the last failure, so that a partner that fails now and then is no line each time.
func (o *outages) succeed(key outageKey, now time.Time) []notice {
	r := o.rows[key]
	if r == nil {
		return nil
	}
	quiet := r.quiet()
	if r.successes++; quiet && r.successes < fullLines && now.Sub(r.last) < countEvery {
		return nil
	}
	o.remove(key)
	if !quiet {
		return nil
	}
	return []notice{{slog.LevelInfo, "works again", key, r.calls, r.untold, r.since}}
}

func (o *outages) remove(key outageKey) {
	delete(o.rows, key)
	o.failing.Add(-1)
}

// forgetOne forgets a row without a failure for an hour, if it finds one at the first look.
func (o *outages) forgetOne(now time.Time) {
	for key, r := range o.rows {
		if now.Sub(r.last) > forgetRow {
			o.remove(key)
		}
		return
	}
}

// counting reports whether the attempts of a call get no lines, because its partner or its integration fails.
func (o *outages) counting(call *CallInfo) bool {
	if o.failing.Load() == 0 {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.rows[outageKey{partner: call.Partner, whole: true}].quiet() ||
		o.rows[outageKey{partner: call.Partner, integration: call.Integration}].quiet()
}

// failureKind returns the kind of a failure that is not the call's own.
func failureKind(e *CallDone) (kind uint8, fails bool) {
	switch e.Verdict.Class {
	case ClassTransient, ClassRateLimited, ClassData:
		return uint8(e.Verdict.Class), true
	case ClassAuth:
		return uint8(e.Verdict.Class), e.StatusCode != http.StatusForbidden // of one record, perhaps
	case ClassRefused:
		for i, err := range [...]error{ErrCircuitOpen, ErrDisabled, ErrQueueFull, ErrWaitTooLong} {
			if errors.Is(e.Err, err) {
				return refusedKinds + uint8(i), true
			}
		}
	}
	return 0, false
}

// ofPartner reports whether a failure says something of the whole partner, and not of a credential or of this process.
func ofPartner(kind uint8) bool {
	return kind == uint8(ClassTransient) || kind == uint8(ClassRateLimited) || kind == uint8(ClassData) || kind == refusedKinds
}

// answered reports whether the partner has answered a call.
func answered(e *CallDone) bool {
	return e.Verdict.Class == ClassOK && (!e.Kept || e.Attempts > 0) || e.Verdict.Class == ClassClient && e.StatusCode > 0
}

// logOutage writes a record about a row of failures. It is of many calls, so it has no attributes of one call's
// context.
func (o *logObserver) logOutage(ctx context.Context, n *notice, now time.Time) {
	attrs := []slog.Attr{
		slog.String("partner", n.key.partner), slog.String("integration", n.key.integration),
		slog.Int("failed", n.calls), slog.Time("since", n.since), slog.Int64("for_ms", now.Sub(n.since).Milliseconds()),
	}
	if n.untold > 0 {
		attrs = append(attrs, slog.Int("not_shown", n.untold))
	}
	o.record(context.WithValue(ctx, logKey{}, []slog.Attr(nil)), n.level, n.msg, nil, attrs...)
}
