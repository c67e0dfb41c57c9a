package belay

import (
	"encoding/json"
	"net/http"
	"sync/atomic"
	"time"
)

// HealthState is how an integration does, by its own traffic.
type HealthState uint8

const (
	// HealthUnknown has no traffic to go by.
	HealthUnknown HealthState = iota
	// HealthUp was answered last time. A 404 is an answer too.
	HealthUp
	// HealthDegraded failed last time, or is paused by the partner, and goes on trying.
	HealthDegraded
	// HealthDown has an open circuit, or a credential that the partner does not take.
	HealthDown
	// HealthDisabled is switched off by [WithEnabled].
	HealthDisabled
)

// String returns "unknown", "up", "degraded", "down" or "disabled".
func (s HealthState) String() string {
	return [...]string{"unknown", "up", "degraded", "down", "disabled"}[min(s, HealthDisabled)]
}

// Health is what the traffic of a client says of its partner. It holds no credential and no body; its JSON has
// the names below in snake_case, and times in milliseconds.
type Health struct {
	Partner, Integration string
	State                HealthState
	// LastSuccess is when the last attempt that was answered well was sent, to the second. Zero when none was.
	LastSuccess time.Time
	// Failures are in a row, since then. LastFailure is when the last one ended, Failure its verdict and StatusCode its
	// answer's, 0 without one; they stay after a success. Zero when there was none.
	Failures    int
	LastFailure time.Time
	Failure     Verdict
	StatusCode  int
	// Circuit is the breaker's state, and OpenFor how long until its next probe.
	Circuit BreakerState
	OpenFor time.Duration
	// Limiter is where the limits stand that the client goes by.
	Limiter LimiterStatus
}

// outcomes are remembered of the attempts of an integration.
type outcomes struct {
	worked   atomic.Int64 // nanoseconds since 1970, to the second
	failures atomic.Int32 // in a row
	last     atomic.Pointer[failedAttempt]
}

type failedAttempt struct {
	at      time.Time
	verdict Verdict
	status  int
}

// noteOutcome remembers how an attempt ended. What says nothing of the partner is left out: refusals of our own, and cancels.
func (x *exchange) noteOutcome(resp *http.Response) {
	o := &x.outcomes
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
		o.failures.Add(1)
		o.last.Store(&failedAttempt{time.Now(), x.verdict, status})
		return
	}
	var sent int64
	if l := x.limiter; l != nil { // the clock has been read for it
		sent = l.engine.Sent(&x.place)
	} else {
		sent = time.Now().UnixNano()
	}
	if sent-o.worked.Load() >= int64(time.Second) {
		o.worked.Store(sent)
	}
	if o.failures.Load() != 0 {
		o.failures.Store(0)
	}
}

// Health returns how the client's own traffic did. It sends nothing and changes nothing. A nil client is HealthUnknown.
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
		h.LastFailure, h.Failure, h.StatusCode = f.at, f.verdict, f.status
	}
	if b := c.set.breaker; b != nil {
		h.Circuit, h.OpenFor = b.State()
	}
	switch {
	case c.enabled != nil && !c.enabled():
		h.State = HealthDisabled
	case h.Circuit != BreakerClosed, h.Failures > 0 && f != nil && f.verdict.Class == ClassAuth:
		h.State = HealthDown
	case h.Failures > 0, h.Limiter.PausedFor > 0:
		h.State = HealthDegraded
	case !h.LastSuccess.IsZero():
		h.State = HealthUp
	}
	return h
}

// MarshalJSON implements json.Marshaler.
func (h Health) MarshalJSON() ([]byte, error) {
	type limit struct {
		Limit   string `json:"limit"`
		Source  string `json:"source"`
		Used    int    `json:"used"`
		Max     int    `json:"max"`
		Waiting int    `json:"waiting"`
	}
	out := struct {
		Partner     string    `json:"partner"`
		Integration string    `json:"integration,omitempty"`
		State       string    `json:"state"`
		LastSuccess time.Time `json:"last_success,omitzero"`
		Failures    int       `json:"failures"`
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
	}{
		h.Partner, h.Integration, h.State.String(), h.LastSuccess, h.Failures, h.LastFailure, "", h.Failure.Code, h.Failure.Message, h.StatusCode,
		h.Circuit.String(), h.OpenFor.Milliseconds(), h.Limiter.Waiting, h.Limiter.PausedFor.Milliseconds(),
		[]limit{},
	}
	if h.Failure.Class != ClassOK {
		out.Class = h.Failure.Class.String()
	}
	for _, l := range h.Limiter.Limits {
		out.Limits = append(out.Limits, limit{l.Limit, l.Source.String(), l.Used, l.Max, l.Waiting})
	}
	return json.Marshal(out)
}
