package belay

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// outages keeps the log short while a partner is down. After fullLines failures in a row, without a success between
// them, of a partner or of one of its integrations, only a failure of another kind is a line. The others are written at
// debug and counted: there is a line with their number once a minute, and one when calls succeed again.
type outages struct {
	failing atomic.Int32 // len(by)
	mu      sync.Mutex
	by      map[outageOf]*outage
}

const (
	fullLines    = 5
	countEvery   = time.Minute
	mostFailing  = 10_000 // others have each failure as a line
	refusedKinds = 16     // kinds of failures from here on are refusals
)

type outageOf struct{ partner, integration string }

// outage is a row of failures.
type outage struct {
	inRow   int
	kinds   uint64 // that were told, a bit each
	since   time.Time
	counted time.Time // when the number was written
	calls   int       // all
	untold  int       // since counted
}

// news is what the log says of a call beside its own line.
type news struct {
	msg           string
	of            outageOf
	calls, untold int
	since         time.Time
}

// note counts a call, and reports whether it gets no line of its own.
func (o *outages) note(e *CallDone, now time.Time) (quiet bool, tell *news) {
	of := outageOf{e.Call.Partner, e.Call.Integration}
	switch kind, fails := failureKind(e); {
	case fails:
		o.mu.Lock()
		defer o.mu.Unlock()
		if kind != uint8(ClassAuth) && of.integration != "" {
			if quiet, tell = o.fail(outageOf{partner: of.partner}, kind, now); quiet {
				return quiet, tell
			}
		}
		hidden, more := o.fail(of, kind, now)
		return hidden, cmp.Or(tell, more)
	case o.failing.Load() > 0 && worked(e):
		o.mu.Lock()
		defer o.mu.Unlock()
		ended := o.end(of)
		return false, cmp.Or(o.end(outageOf{partner: of.partner}), ended)
	}
	return false, nil
}

// fail counts a failure of a partner or an integration.
func (o *outages) fail(of outageOf, kind uint8, now time.Time) (quiet bool, tell *news) {
	at := o.by[of]
	if at == nil {
		if len(o.by) >= mostFailing {
			return false, nil
		}
		if o.by == nil {
			o.by = make(map[outageOf]*outage)
		}
		at = &outage{since: now}
		o.by[of] = at
		o.failing.Add(1)
	}
	at.inRow++
	at.calls++
	known := at.kinds>>kind&1 != 0
	at.kinds |= 1 << kind
	switch {
	case at.inRow < fullLines:
		return false, nil
	case at.inRow == fullLines:
		at.counted = now
		return false, &news{msg: "failing: the same failures are counted from here", of: of, calls: at.calls, since: at.since}
	case !known:
		return false, nil
	}
	if at.untold++; now.Sub(at.counted) >= countEvery {
		tell = &news{msg: "still failing", of: of, calls: at.calls, untold: at.untold, since: at.since}
		at.counted, at.untold = now, 0
	}
	return true, tell
}

// end forgets the failures of a partner or an integration.
func (o *outages) end(of outageOf) *news {
	at := o.by[of]
	if at == nil {
		return nil
	}
	delete(o.by, of)
	o.failing.Add(-1)
	if at.inRow < fullLines {
		return nil
	}
	return &news{msg: "works again", of: of, calls: at.calls, untold: at.untold, since: at.since}
}

// quiet reports whether the attempts of a call get no lines, because its partner fails.
func (o *outages) quiet(call *CallInfo) bool {
	if o.failing.Load() == 0 {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, of := range [...]outageOf{{partner: call.Partner}, {call.Partner, call.Integration}} {
		if at := o.by[of]; at != nil && at.inRow >= fullLines {
			return true
		}
	}
	return false
}

// failureKind returns the kind of a failure that may be the partner's or a credential's, and not the call's own.
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

// worked reports whether the partner has answered a call.
func worked(e *CallDone) bool {
	return e.Verdict.Class == ClassOK && (!e.Kept || e.Attempts > 0) || e.Verdict.Class == ClassClient && e.StatusCode > 0
}

// logOutage writes a record about the failures of a partner.
func (o *logObserver) logOutage(ctx context.Context, n *news, now time.Time) {
	level := slog.LevelError
	attrs := []slog.Attr{
		slog.String("partner", n.of.partner), slog.String("integration", n.of.integration),
		slog.Int("failed", n.calls), slog.Time("since", n.since), slog.Int64("for_ms", now.Sub(n.since).Milliseconds()),
	}
	if n.untold > 0 {
		attrs = append(attrs, slog.Int("not_shown", n.untold))
	}
	if n.msg == "works again" {
		level = slog.LevelInfo
	}
	o.record(ctx, level, n.msg, nil, attrs...)
}
