package belay

import (
	"context"
	"net/http"
	"time"

	"github.com/belay-go/belay/internal/fault"
	"github.com/belay-go/belay/internal/limiter"
)

// Limiter admits calls so that no limit is exceeded. All its limits are taken at once or none. Calls that wait go in order of
// arrival, but a call whose limits are free may pass one that waits for another limit, as long as it takes nothing that the other
// needs. A call counts from when it is sent until the window after its answer (at the latest, the window after it was sent and
// 100 ms), because the partner counted it somewhere between the two.
//
// Most users hand limits to [WithRateLimit] and never see a Limiter. Make one with [NewLimiter] and
// share it by [WithLimiter] when several clients spend from the same quota. The zero value admits nothing. It
// is safe for concurrent use.
type Limiter struct {
	engine *limiter.Limiter // which knows no Verdict, Error or Event: this file translates
}

// NewLimiter returns a limiter that enforces all of limits together. Without limits it keeps to what the
// partner says. The error joins one for each limit that is out of range.
func NewLimiter(limits ...Limit) (*Limiter, error) {
	specs, err := checkLimits(limits)
	if err != nil {
		return nil, err
	}
	engine, err := limiter.New(specs...)
	return &Limiter{engine}, err
}

// with returns a limiter that takes l's limits and these.
func (l *Limiter) with(specs ...limiter.Limit) (*Limiter, error) {
	engine, err := l.engine.With(specs...)
	return &Limiter{engine}, err
}

// made reports whether l was made by NewLimiter.
func (l *Limiter) made() bool { return l != nil && l.engine != nil }

// Ticket is one attempt's place under the limits. Fill in the exported fields, hand it to
// [Limiter.Acquire] by pointer, and give it back with [Limiter.Release]. It may be used again after
// that. A Ticket is not safe for concurrent use.
type Ticket struct {
	// Request is what the limits' When functions look at; nil matches no limit that has one.
	Request *http.Request
	// Cost is how many permits the attempt takes of each limit; 0 means 1.
	Cost int
	// Priority says who goes first; the zero value is Normal.
	Priority Priority
	// Tenant is on whose behalf the attempt is made; tenants take turns. Empty is a tenant like others.
	Tenant string

	place limiter.Reservation
}

// Outcome is what [Limiter.Release] learns of an attempt.
type Outcome struct {
	// Verdict is the attempt's. A RateLimited one pauses everybody in its scope, and so does a Transient
	// one that says how long to wait.
	Verdict Verdict
	// Response is the answer whose headers may tell of quotas; nil tells nothing. Its body is not touched.
	Response *http.Response
	// Sent is false when the attempt certainly never reached the partner (see [Verdict.Unsent]): its permits go back.
	Sent bool
}

// Acquire waits until every limit admits the attempt, then takes all of them at once. It returns
//   - nil: the attempt may be sent now, and Release must follow;
//   - an error that is ErrWaitTooLong and context.DeadlineExceeded, at once, when its turn would come
//     after the context's deadline;
//   - ErrQueueFull when too many wait already;
//   - ErrInvalid when the cost is above a limit, so that its turn would never come;
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

// acquire takes the general path, and translates why it was refused.
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

// Release reports what became of the attempt and gives back its place in flight. Release of a ticket
// that holds nothing does nothing.
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

// settle tells the engine what became of an attempt, and returns how long a pause that began.
func (l *Limiter) settle(p *limiter.Reservation, v *Verdict, sent, answered bool) (paused time.Duration) {
	if sent && v.Class == ClassOK && l.engine.SettleFast(p) {
		return 0
	}
	return l.engine.Settle(p, outcomeOf(v, sent, answered))
}

// outcomeOf says of a verdict what limits go by.
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

// trouble is outcomeOf for what may begin a pause. The verdict comes back when the pause is over.
func trouble(v *Verdict, answered bool) limiter.Outcome {
	cause := *v
	o := limiter.Outcome{Kind: limiter.Failed, Scope: limiter.Scope(v.Scope), Wait: v.RetryAfter, Answered: answered, Cause: &cause}
	if v.Class == ClassRateLimited {
		o.Kind = limiter.Throttled
	}
	return o
}

// eventOf says of a notice what observers are told, for a call.
func eventOf(n limiter.Notice, call CallInfo) Event {
	if n.Resumed {
		return Resumed{Call: call, Scope: Scope(n.Scope), After: n.After, Verdict: *n.Cause.(*Verdict)}
	}
	return LimitNear{Call: call, Limit: n.Limit, Source: LimitSource(n.Source), Used: n.Used, Max: n.Max}
}

// SetLimits replaces the limits that l was made with; those of the limiters around it, and the bound on
// calls in flight, stay. Calls that wait go by the new ones at once, and what was sent before counts against them.
// An error names each limit that is out of range, and nothing changes then.
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

// LimitSource says where a limit is known from.
type LimitSource uint8

const (
	// LimitConfigured is one that the user has set.
	LimitConfigured LimitSource = iota
	// LimitAdvertised comes from the headers of the partner's answers.
	LimitAdvertised
	// LimitInferred was found out from its refusals.
	LimitInferred
)

// String returns "configured", "advertised" or "inferred".
func (s LimitSource) String() string { return limiter.Source(s).String() }

// LimiterStatus is where a limiter stands.
type LimiterStatus struct {
	// Limits are all that hold at present: first those that are configured, then those that are advertised or inferred.
	Limits []LimitStatus
	// Waiting is how many calls wait for their turn, of all who share the limiter.
	Waiting int
	// PausedFor is how long everybody still waits because the partner asked for it; 0 when nobody does.
	// A pause of one credential or route does not show here.
	PausedFor time.Duration
	// Paused counts the credentials and routes that have a pause of their own.
	Paused int
	// Ignored counts headers of answers that were malformed.
	Ignored int
}

// LimitStatus is where one limit stands.
type LimitStatus struct {
	// Limit is the limit as [Limit.String] shows it, and Source where it is known from.
	Limit  string
	Source LimitSource
	// Scope says whose limit it is, for one that is advertised or inferred. Several with the same limit stand for several
	// credentials or routes.
	Scope Scope
	// Used and Max are permits: taken at present, and in all.
	Used, Max int
	// Waiting is how many calls wait that are under it.
	Waiting int
	// NextFree is how long until one more permit is free, 0 when one is, negative when that does not depend on the
	// clock (a place in flight comes back with an answer).
	NextFree time.Duration
}

// Status returns where the limiter stands. It changes nothing.
func (l *Limiter) Status() (s LimiterStatus) {
	if !l.made() {
		return s
	}
	have := l.engine.Status()
	s = LimiterStatus{Waiting: have.Waiting, PausedFor: have.PausedFor, Paused: have.Paused, Ignored: have.Ignored}
	for _, x := range have.Limits {
		s.Limits = append(s.Limits, LimitStatus{
			Limit: x.Limit, Source: LimitSource(x.Source), Scope: Scope(x.Scope), Used: x.Used, Max: x.Max, Waiting: x.Waiting, NextFree: x.NextFree,
		})
	}
	return s
}

// checkLimits returns what the engine needs to know of limits, or an error that joins one for each that is out of range.
func checkLimits(limits []Limit) ([]limiter.Limit, error) {
	var faults fault.List
	specs := make([]limiter.Limit, len(limits))
	for i, l := range limits {
		faults.Add(l.check())
		specs[i] = l.spec
	}
	return specs, faults.Err()
}
