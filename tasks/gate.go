package tasks

import (
	"context"
	"time"

	"github.com/belay-go/belay"
)

// Gate says whether a partner can be worked with now. It is asked several times a second, must be quick, and must be
// safe for concurrent use.
type Gate interface {
	// Open reports whether tasks of the partner's queue may begin, and why not.
	Open() (open bool, reason string)
}

// GateFunc is a function that is a [Gate].
type GateFunc func() (open bool, reason string)

// Open calls f.
func (f GateFunc) Open() (bool, string) { return f() }

// ClientGate is the gate of a partner's client: it is closed while the circuit of the partner's host is open, or that
// of a route if nothing has succeeded since; while the partner has asked for a pause of more than five seconds; while a
// limit of the partner is used up for more than a minute, such as one of a day; and while the client is switched off. What
// one integration alone has opened or used up closes nothing.
func ClientGate(c *belay.Client) Gate {
	return GateFunc(func() (bool, string) {
		h := c.Health()
		if h.State == belay.HealthDisabled {
			return false, "switched off"
		}
		for _, circuit := range h.Circuits {
			if circuit.Integration != "" || circuit.State != belay.BreakerOpen || circuit.OpenFor <= probeSoon {
				continue
			}
			if circuit.Route == "" || h.LastSuccess.Before(time.Now().Add(-circuit.Lasts)) {
				return false, "circuit open"
			}
		}
		if h.Limiter.PausedFor > shortWait {
			return false, "paused by the partner"
		}
		for _, l := range h.Limiter.Limits {
			if l.Scope == belay.ScopePartner && l.Per > 0 && l.NextFree > longWait {
				return false, "used up: " + l.Limit
			}
		}
		return true, ""
	})
}

const (
	shortWait = 5 * time.Second        // a wait that a call takes upon itself
	longWait  = time.Minute            // a wait for a limit for which no task should begin
	probeSoon = 100 * time.Millisecond // a task begins a little before the circuit is probed, and is the probe
	gateEvery = 250 * time.Millisecond
	gateHolds = "gate: " // begins the reasons of gates
)

// watchGates holds the queues of partners whose gates are closed, until ctx ends. Each process holds and releases for
// its own view: the reason names the process, so that one that still sees an outage holds on.
func (c *Client[TTx]) watchGates(ctx context.Context) {
	type hold struct {
		reason string
		at     time.Time // when it was written
	}
	held := make(map[string]hold)
	ticker := time.NewTicker(gateEvery)
	defer ticker.Stop()
	release := func(ctx context.Context, queue string) {
		if err := c.Resume(ctx, queue, held[queue].reason); err != nil {
			c.log.WarnContext(ctx, "tasks: gates", "queue", queue, "error", err)
			return
		}
		delete(held, queue)
	}
	defer func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		for queue := range held {
			release(last, queue)
		}
	}()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		for queue, gate := range c.cfg.Gates {
			open, why := ask(gate)
			now, isHeld := held[queue]
			switch {
			case open && isHeld:
				release(ctx, queue)
			case !open && (!isHeld || time.Since(now.at) >= c.cfg.Heartbeat): // again, as others may have taken this process for dead
				if !isHeld {
					now.reason = gateHolds + why + " (" + c.beat.id + ")"
				}
				now.at = time.Now()
				held[queue] = now // also if it fails halfway, so that it is taken back
				if err := c.pause(ctx, queue, now.reason, c.beat.id); err != nil {
					c.log.WarnContext(ctx, "tasks: gates", "queue", queue, "error", err)
				}
			}
		}
	}
}

// ask asks a gate, which is the user's. One that panics is open.
func ask(g Gate) (open bool, why string) {
	defer func() {
		if recover() != nil {
			open, why = true, ""
		}
	}()
	return g.Open()
}
