package belay

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/belay-go/belay/internal/errkit"
	"github.com/belay-go/belay/internal/limiter"
)

// Limiter admits calls so that no limit is exceeded. It takes permits of all its limits at once, or of none.
// Waiting calls of the same priority and tenant are admitted in order of arrival. But a call whose limits are
// free may pass one that waits for another limit, if it takes no permits that the waiting call needs. A call
// counts from the time it is sent until one window length after its answer, because the partner counts it
// somewhere between the two. At the latest it counts until one window length and 100 ms after it was sent
// (more than 100 ms if a refusal shows that the partner counts later).
//
// Most users pass limits to [WithRateLimit] and never use a Limiter. Make one with [NewLimiter], and share it
// by [WithLimiter] if several clients spend from the same quota. The zero value admits nothing. A Limiter is
// safe for concurrent use.
type Limiter struct {
	engine *limiter.Limiter // it does not know Verdict, Error and Event; this file translates
}

// NewLimiter returns a limiter that enforces all the given limits together. Without limits it follows only the
// partner's pauses, advertised quotas and inferred limits. The error matches [ErrInvalid] and names each
// limit that is out of range.
func NewLimiter(limits ...Limit) (*Limiter, error) {
	specs, err := checkLimits(limits)
	if err != nil {
		return nil, errkit.Input(err)
	}
	engine, err := limiter.New(specs...)
	if err != nil {
		return nil, errkit.Input(err)
	}
	return &Limiter{engine}, nil
}

// with returns a limiter that enforces l's limits and the given ones.
func (l *Limiter) with(specs ...limiter.Limit) (*Limiter, error) {
	engine, err := l.engine.With(specs...)
	if err != nil {
		return nil, err
	}
	return &Limiter{engine}, nil
}

// made reports whether l was made by NewLimiter.
func (l *Limiter) made() bool { return l != nil && l.engine != nil }

// Ticket is one attempt's place under the limits. Fill in the exported fields, pass it to [Limiter.Acquire] by
// pointer, and give it back with [Limiter.Release]. It may be used again after that. A Ticket is not safe for
// concurrent use.
type Ticket struct {
	// Request is the request that the limits' When functions check; nil matches no limit that has one.
	Request *http.Request
	// Cost is the number of permits that the attempt takes of each limit. Zero means 1; negative is an error.
	Cost int
	// Priority decides which attempt goes first. The zero value is Normal.
	Priority Priority
	// Tenant is the name of the tenant on whose behalf the attempt is made. Tenants take turns. Empty is a
	// tenant like others.
	Tenant string

	place limiter.Reservation
}

// Outcome describes how an attempt ended, for [Limiter.Release].
type Outcome struct {
	// Verdict is the verdict on the attempt. A RateLimited verdict pauses all calls in its scope, and so does
	// a Transient one that says how long to wait.
	Verdict Verdict
	// Response is the answer, whose headers may advertise quotas; nil advertises nothing. Its body is not
	// touched.
	Response *http.Response
	// Sent is false if the attempt certainly never reached the partner (see [Verdict.Unsent]). Its permits
	// then go back.
	Sent bool
}

// Acquire waits until every limit admits the attempt, then takes permits of all of them at once. It returns
//   - nil: the attempt may be sent now, and Release must follow;
//   - an error that is ErrWaitTooLong and context.DeadlineExceeded, at once, if its turn would come after the
//     context's deadline;
//   - ErrQueueFull if too many calls wait already;
//   - ErrInvalid if the cost is above a limit, so that its turn would never come;
//   - the context's error. A canceled call leaves nothing behind.
func (l *Limiter) Acquire(ctx context.Context, t *Ticket) error {
	if ctx == nil || t == nil {
		return invalid("Acquire: the context or the ticket is nil")
	}
	if !l.made() {
		return invalid("Acquire: the limiter was not made by NewLimiter")
	}
	p := &t.place
	if !p.Free() {
		return invalid("Acquire: the ticket is in use; Release it first")
	}
	p.Cost = t.Cost
	if ctx.Err() == nil && l.engine.TryAcquire(p) {
		return nil
	}
	p.Request, p.Level, p.Tenant = t.Request, t.Priority.level(), t.Tenant
	return l.acquire(ctx, p)
}

// acquire takes the general path, and translates a refusal into an error.
func (l *Limiter) acquire(ctx context.Context, p *limiter.Reservation) error {
	if p.Cost < 0 {
		return invalid("Acquire: cost %d is negative", p.Cost)
	}
	err := l.engine.Acquire(ctx, p)
	if err == nil {
		return nil
	}
	r, ok := err.(*limiter.Refusal)
	if !ok {
		return err
	}
	switch r.Reason {
	case limiter.QueueFull:
		return refuse(ErrQueueFull, 0)
	case limiter.AboveLimit:
		return invalid("cost %d is above the limit %s: it would wait for ever", r.Cost, r.What)
	case limiter.Waited:
		return refuse(&waitError{r.What, r.Wait}, 0)
	}
	return refuse(&waitError{r.What, r.Wait}, r.Wait)
}

// Release reports the outcome of the attempt and gives back its in-flight slot. For a ticket that holds
// nothing it does nothing.
func (l *Limiter) Release(t *Ticket, o Outcome) {
	if !l.made() || t == nil || t.place.Free() {
		return
	}
	if o.Response != nil {
		l.engine.Read(&t.place, o.Response.Header)
	}
	l.settle(&t.place, &o.Verdict, o.Sent, o.Response != nil || o.Verdict.Class == ClassOK)
	l.engine.Release(&t.place)
}

// settle reports the outcome of an attempt to the engine. It returns the length of the pause that the outcome
// began, 0 for none.
func (l *Limiter) settle(p *limiter.Reservation, v *Verdict, sent, answered bool) (paused time.Duration) {
	if sent && v.Class == ClassOK && l.engine.SettleFast(p) {
		return 0
	}
	return l.engine.Settle(p, outcomeOf(v, sent, answered))
}

// outcomeOf translates a verdict into the outcome that limits need.
func outcomeOf(v *Verdict, sent, answered bool) limiter.Outcome {
	o := limiter.Outcome{Answered: answered}
	switch {
	case !sent:
		o.Kind = limiter.Unsent
	case v.Class == ClassOK:
	case v.Class == ClassRateLimited, v.Class == ClassTransient:
		o = trouble(v, answered)
	case v.Class == ClassCanceled, v.Class == ClassRefused:
		o.Kind = limiter.Abandoned
	}
	return o
}

// trouble is outcomeOf for a verdict that may begin a pause. It copies the verdict, which comes back in the
// notice that the pause is over.
func trouble(v *Verdict, answered bool) limiter.Outcome {
	cause := *v
	o := limiter.Outcome{
		Kind: limiter.Failed, Scope: limiter.Scope(v.Scope), Wait: v.RetryAfter, Answered: answered,
		Busy: v.busy, Cause: &cause,
	}
	if v.Class == ClassRateLimited {
		o.Kind = limiter.Throttled
	}
	return o
}

// eventOf translates a notice into the event for observers of a call.
func eventOf(n limiter.Notice, call CallInfo) Event {
	if n.Resumed {
		return Resumed{Call: call, Scope: Scope(n.Scope), After: n.After, Verdict: *n.Cause.(*Verdict)}
	}
	return LimitNear{Call: call, Limit: n.Limit, Source: LimitSource(n.Source), Used: n.Used, Max: n.Max}
}

// SetLimits replaces the limits that l was made with. The limits of its parents and the bound on calls in
// flight stay. Waiting calls follow the new limits at once. Calls that were sent before count against the new
// limits, except against a new limit with a condition (When). An error names each limit that is out of range;
// nothing changes then.
func (l *Limiter) SetLimits(limits ...Limit) error {
	if !l.made() {
		return invalid("SetLimits: the limiter was not made by NewLimiter")
	}
	specs, err := checkLimits(limits)
	if err == nil {
		err = l.engine.SetLimits(specs...)
	}
	if err != nil {
		return invalid("SetLimits: %w", err)
	}
	return nil
}

// LimitSource says how a limit is known.
type LimitSource uint8

const (
	// LimitConfigured is a limit that the user has configured.
	LimitConfigured LimitSource = iota
	// LimitAdvertised is a limit from the headers of the partner's answers.
	LimitAdvertised
	// LimitInferred is a limit that the limiter has found out from 429s.
	LimitInferred
)

// String returns "configured", "advertised" or "inferred".
func (s LimitSource) String() string { return limiter.Source(s).String() }

// LimiterStatus is the present state of a limiter.
type LimiterStatus struct {
	// Limits are all limits in force: first those that are configured, then those that are advertised or
	// inferred.
	Limits []LimitStatus
	// Waiting is the number of waiting calls, of all clients that share the limiter.
	Waiting int
	// InFlight is the number of attempts in flight. Without a bound on them ([WithMaxInFlight]) they are not counted, and
	// it is 0.
	InFlight int
	// PausedFor is how long all calls still wait because the partner asked for it, 0 if they do not. A pause
	// of one credential or route does not show here.
	PausedFor time.Duration
	// Paused counts the credentials and routes that have a pause of their own.
	Paused int
	// Ignored counts malformed headers of answers.
	Ignored int

	byLevel [3]int // of Waiting
}

// WaitingAt returns the number of waiting calls of priority p, 0 for an unknown one.
func (s LimiterStatus) WaitingAt(p Priority) int {
	if p < Low || p > High {
		return 0
	}
	return s.byLevel[p.level()]
}

// LimitStatus is the present state of one limit.
type LimitStatus struct {
	// Limit is the limit as [Limit.String] shows it, and Source says how it is known.
	Limit  string
	Source LimitSource
	// Scope says which calls an advertised or inferred limit concerns. Several entries with the same limit
	// stand for several credentials or routes.
	Scope Scope
	// Used and Max are permits: those taken at present, and all. Per is the window that Max is for, 0 for the bound
	// on attempts in flight.
	Used, Max int
	Per       time.Duration
	// Waiting is the number of waiting calls that are under the limit.
	Waiting int
	// NextFree is how long until one more permit is free, 0 if one is free now. It is negative if that does
	// not depend on the clock: an in-flight slot comes back with an answer.
	NextFree time.Duration
}

// Status returns the present state of the limiter. It changes nothing.
func (l *Limiter) Status() (s LimiterStatus) {
	if !l.made() {
		return s
	}
	have := l.engine.Status()
	s = LimiterStatus{
		Waiting: have.Waiting, InFlight: have.InFlight, PausedFor: have.PausedFor, Paused: have.Paused, Ignored: have.Ignored,
		byLevel: have.WaitingAt,
	}
	for _, x := range have.Limits {
		s.Limits = append(s.Limits, LimitStatus{
			Limit: x.Limit, Source: LimitSource(x.Source), Scope: Scope(x.Scope),
			Used: x.Used, Max: x.Max, Per: x.Per, Waiting: x.Waiting, NextFree: x.NextFree,
		})
	}
	return s
}

// Tightened returns the advertised limits that are below a configured one of the same window: the partner allows less
// than was thought.
func (s LimiterStatus) Tightened() (limits []LimitStatus) {
	for _, theirs := range s.Limits {
		if theirs.Source == LimitAdvertised && slices.ContainsFunc(s.Limits, func(mine LimitStatus) bool {
			return mine.Source == LimitConfigured && mine.Per > 0 && mine.Per == theirs.Per && theirs.Max < mine.Max
		}) {
			limits = append(limits, theirs)
		}
	}
	return limits
}

// checkLimits returns limits as the engine needs them, or an error that joins one error for each limit that is
// out of range.
func checkLimits(limits []Limit) ([]limiter.Limit, error) {
	var faults errkit.List
	specs := make([]limiter.Limit, len(limits))
	for i, l := range limits {
		faults.Add(l.check())
		specs[i] = l.spec
	}
	return specs, faults.Err()
}
