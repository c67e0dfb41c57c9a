package belay

import (
	"encoding/json"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/belay-go/belay/internal/redact"
)

// HealthState is the state of an integration, judged by its own traffic.
type HealthState uint8

const (
	// HealthUnknown means that there is no outcome to judge by.
	HealthUnknown HealthState = iota
	// HealthUp means that the last attempt succeeded, or that fewer than three failed after it and the last minutes were
	// well. An answer that only finds fault with the request
	// (ClassClient, for example a 404 or a 422) counts as a success here, because the partner works.
	HealthUp
	// HealthDegraded means that the last attempt failed, unless the last minutes were well, that a tenth of the attempts
	// of the last five minutes failed, in three spells at least, that the circuit of a route is not closed, or that the
	// partner has asked for a pause. The client keeps trying.
	HealthDegraded
	// HealthDown means that the circuit of the whole origin or of the integration is not closed, that no call
	// has succeeded since the circuit of a route opened, or that the last attempt failed because of its
	// credential (401). A failure counts for five minutes.
	HealthDown
	// HealthDisabled means that [WithEnabled] has switched the calls off.
	HealthDisabled
)

// String returns "unknown", "up", "degraded", "down" or "disabled".
func (s HealthState) String() string {
	return [...]string{"unknown", "up", "degraded", "down", "disabled"}[min(s, HealthDisabled)]
}

// Health describes the state of a partner as the client's own traffic shows it. It holds no credential and no
// body. Its JSON has the names below in snake_case, with the most important fields of Failure and Limiter
// beside them and the first hundred circuits; durations are in milliseconds.
type Health struct {
	Partner, Integration string
	State                HealthState
	// LastSuccess is the time at which the last successful attempt was sent, to the second. It is zero if
	// there was none.
	LastSuccess time.Time
	// Failures is the number of consecutive failed attempts since the last success. LastFailure is the time at
	// which the last failed attempt ended, Failure is its verdict, and StatusCode is the status of its answer,
	// 0 without an answer. A success resets Failures only; the other three describe the last failure, and are
	// zero if there was none.
	Failures    int
	LastFailure time.Time
	Failure     Verdict
	StatusCode  int
	// Attempts counts the attempts of the last five minutes that say something of the partner, and Failed those of them
	// that failed.
	Attempts, Failed int
	// Error is the error of the last failed attempt, one line without credentials; empty if there was an answer.
	Error string
	// Circuit is the state of the circuit that is furthest from closed, of those that hold calls of this client,
	// and OpenFor is the time until its next probe. Circuits holds all circuits of the partner that are not
	// closed, those of other origins too, as well as those of other partners that share its [WithBreaker]; for a client
	// with an integration, without those of other integrations.
	Circuit  BreakerState
	OpenFor  time.Duration
	Circuits []CircuitStatus
	// Limiter is the state of the client's limits.
	Limiter LimiterStatus
}

// failureCounts is how long a failure counts for the state if no other outcome follows.
const failureCounts = 5 * time.Minute

// outcomes holds the latest outcomes of an integration's attempts.
type outcomes struct {
	worked   atomic.Int64 // when the last success was sent, in nanoseconds since 1970; stored at most once a second
	failures atomic.Int32 // consecutive
	last     atomic.Pointer[failedAttempt]
	recent   atomic.Pointer[recent]
}

type failedAttempt struct {
	at      time.Time
	verdict Verdict
	status  int
	err     string
}

// noteOutcome records how an attempt ended. It skips outcomes that say nothing about the partner: refusals by
// Belay itself, cancels, and client errors without an answer.
func (x *exchange) noteOutcome(resp *http.Response) {
	o := &x.outcomes
	if x.verdict.neutral {
		return
	}
	switch x.verdict.Class {
	case ClassRefused, ClassCanceled:
		return
	case ClassClient:
		if resp == nil {
			return
		}
	case ClassOK:
	default:
		status := 0
		if resp != nil {
			status = resp.StatusCode
		}
		now := time.Now()
		o.note(now.UnixNano(), true, o.failures.Add(1) == 1 && o.worked.Load() != 0)
		text := ""
		if err := x.past().att.Err; resp == nil && err != nil {
			text = redact.Line(x.clean(err).Error(), 300)
		}
		o.last.Store(&failedAttempt{now, x.verdict, status, text})
		return
	}
	sent := x.sentAt()
	o.note(sent, false, false)
	if sent-o.worked.Load() >= int64(time.Second) {
		o.worked.Store(sent)
		x.set.latency.note(time.Duration(time.Now().UnixNano() - sent))
	}
	if o.failures.Load() != 0 {
		o.failures.Store(0)
	}
}

// Health returns the state of the partner according to the client's own traffic. It sends nothing and changes
// nothing. Each client made by [Client.With] counts its own attempts, so the one that it was made from is
// HealthUnknown as long as it sends nothing itself. A nil client is HealthUnknown.
func (c *Client) Health() (h Health) {
	if c.isNil() {
		return h
	}
	h.Partner, h.Integration, h.Limiter = c.set.name, c.integration, c.limiter.Status()
	if at := c.outcomes.worked.Load(); at != 0 {
		h.LastSuccess = time.Unix(0, at)
	}
	h.Failures = int(c.outcomes.failures.Load())
	f := c.outcomes.last.Load()
	if f != nil {
		h.LastFailure, h.Failure, h.StatusCode, h.Error = f.at, f.verdict, f.status, f.err
	}
	var own []CircuitStatus
	if b := c.set.breaker; b != nil {
		h.Circuits = b.status(func(_ originKey, p callPart) bool {
			return c.integration == "" || p.integration == "" || p.integration == c.integration
		})
		own = slices.DeleteFunc(slices.Clone(h.Circuits), func(s CircuitStatus) bool {
			return c.base != nil && s.Origin != originOf(c.base).String() ||
				s.Integration != "" && s.Integration != c.integration
		})
		h.Circuit, h.OpenFor = worst(own)
	}
	var relapses int
	h.Attempts, h.Failed, relapses = c.outcomes.counts()
	failing := h.Failures > 0 && f != nil && time.Since(f.at) < failureCounts
	well := h.Failures < 3 && h.Failed*20 < h.Attempts // one failure among many says nothing
	ill := relapses >= 3 && h.Failed*10 >= h.Attempts  // and a success that does not last does not either
	switch {
	case c.enabled != nil && !c.enabled():
		h.State = HealthDisabled
	case h.held(own), failing && !well && f.verdict.Class == ClassAuth && f.status != http.StatusForbidden:
		h.State = HealthDown
	case failing && !well, ill, h.Circuit != BreakerClosed, h.Limiter.PausedFor > 0:
		h.State = HealthDegraded
	case !h.LastSuccess.IsZero():
		h.State = HealthUp
	}
	return h
}

// held reports whether one of the circuits holds all calls of the client, as far as is known.
func (h *Health) held(circuits []CircuitStatus) bool {
	for _, s := range circuits {
		if s.Route == "" || !h.LastSuccess.After(time.Now().Add(-s.Lasts)) {
			return true
		}
	}
	return false
}

// MarshalJSON implements [json.Marshaler].
func (h Health) MarshalJSON() ([]byte, error) {
	type limit struct {
		Limit   string `json:"limit"`
		Source  string `json:"source"`
		Used    int    `json:"used"`
		Max     int    `json:"max"`
		Waiting int    `json:"waiting"`
	}
	type circuit struct {
		Origin      string `json:"origin"`
		Route       string `json:"route,omitempty"`
		Integration string `json:"integration,omitempty"`
		State       string `json:"state"`
		OpenFor     int64  `json:"open_for_ms,omitempty"`
		Lasts       int64  `json:"lasts_ms"`
		Waiting     int    `json:"waiting"`
	}
	out := struct {
		Partner     string    `json:"partner"`
		Integration string    `json:"integration,omitempty"`
		State       string    `json:"state"`
		LastSuccess time.Time `json:"last_success,omitzero"`
		Failures    int       `json:"failures"`
		Attempts    int       `json:"recent_attempts"`
		Failed      int       `json:"recent_failed"`
		LastFailure time.Time `json:"last_failure,omitzero"`
		Class       string    `json:"class,omitempty"`
		Code        string    `json:"code,omitempty"`
		Message     string    `json:"message,omitempty"`
		StatusCode  int       `json:"status_code,omitempty"`
		Circuit     string    `json:"circuit"`
		OpenFor     int64     `json:"open_for_ms,omitempty"`
		Waiting     int       `json:"waiting"`
		PausedFor   int64     `json:"paused_for_ms,omitempty"`
		Limits      []limit   `json:"limits"`
		Error       string    `json:"error,omitempty"`
		Circuits    []circuit `json:"circuits,omitempty"`
	}{
		h.Partner, h.Integration, h.State.String(), h.LastSuccess, h.Failures, h.Attempts, h.Failed, h.LastFailure,
		"", h.Failure.Code, h.Failure.Message, h.StatusCode,
		h.Circuit.String(), h.OpenFor.Milliseconds(), h.Limiter.Waiting, h.Limiter.PausedFor.Milliseconds(),
		[]limit{},
		h.Error, nil,
	}
	for _, c := range h.Circuits[:min(len(h.Circuits), 100)] {
		out.Circuits = append(out.Circuits, circuit{
			c.Origin, c.Route, c.Integration, c.State.String(), c.OpenFor.Milliseconds(), c.Lasts.Milliseconds(), c.Waiting,
		})
	}
	if h.Failure.Class != ClassOK {
		out.Class = h.Failure.Class.String()
	}
	for _, l := range h.Limiter.Limits {
		out.Limits = append(out.Limits, limit{l.Limit, l.Source.String(), l.Used, l.Max, l.Waiting})
	}
	return json.Marshal(out)
}
