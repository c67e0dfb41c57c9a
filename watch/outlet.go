package watch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	outletQueue = 100
	sendTimeout = 10 * time.Second
	retryEvery  = 30 * time.Second
)

// outlet hands alerts to a sink, from a bounded queue: a sink that blocks delays nobody.
type outlet struct {
	sink     Sink
	repeat   time.Duration
	repeated time.Time // under Rules.mu
	queue    chan Alert

	mu     sync.Mutex
	status SinkStatus
	left   int              // in the queue or being sent
	hangs  chan error       // of a Send that has not returned in time; nil without one
	again  map[string]Alert // that the sink has not taken, by ID, as they are now
	empty  chan struct{}    // closed when left becomes 0; nil if nobody waits
}

// SinkStatus counts what became of the alerts for a sink.
type SinkStatus struct {
	// Sink is the type of the sink.
	Sink string
	// Sent were taken, Failed were errors, panics or took longer than ten seconds, and are tried again every half minute,
	// for a day, unless a newer state of the alert follows. Dropped came while a hundred others waited; they are tried
	// again in the same way, as far as a hundred go.
	Sent, Failed, Dropped int
	Error                 string // of the last one that failed
}

func newOutlet(s Sink) *outlet {
	o := &outlet{sink: s, queue: make(chan Alert, outletQueue)}
	o.status.Sink = fmt.Sprintf("%T", s)
	if r, ok := s.(Repeater); ok {
		if every := r.Repeat(); every >= time.Second {
			o.repeat = every
		}
	}
	return o
}

// Sinks returns what became of the alerts, by sink.
func (r *Rules) Sinks() []SinkStatus {
	out := make([]SinkStatus, 0, len(r.sinks))
	for _, o := range r.sinks {
		o.mu.Lock()
		out = append(out, o.status)
		o.mu.Unlock()
	}
	return out
}

func (o *outlet) put(a Alert) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.again, a.ID) // it is newer
	select {
	case o.queue <- a:
		o.left++
	default:
		o.status.Dropped++
		o.keep(a)
	}
}

func (o *outlet) run(ctx context.Context) {
	ticker := time.NewTicker(retryEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			o.retry()
		case a := <-o.queue:
			err := o.send(ctx, a)
			o.mu.Lock()
			if err != nil {
				o.status.Failed++
				o.status.Error = lineOf(err)
				o.keep(a)
			} else {
				o.status.Sent++
				delete(o.again, a.ID)
			}
			if o.left--; o.left == 0 && o.empty != nil {
				close(o.empty)
				o.empty = nil
			}
			o.mu.Unlock()
		}
	}
}

// keep keeps an alert that the sink has not taken, to try it again. The caller holds o.mu.
func (o *outlet) keep(a Alert) {
	if o.again == nil {
		o.again = make(map[string]Alert)
	}
	if _, known := o.again[a.ID]; known || len(o.again) < outletQueue {
		o.again[a.ID] = a
	}
}

// retry puts what the sink has not taken into the queue again, for a day at most.
func (o *outlet) retry() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for id, a := range o.again {
		delete(o.again, id)
		if time.Since(later(a.Since, a.Resolved)) > 24*time.Hour {
			continue
		}
		select {
		case o.queue <- a:
			o.left++
		default:
			o.again[id] = a
			return
		}
	}
}

// drained waits until nothing is left to send, or ctx ends.
func (o *outlet) drained(ctx context.Context) {
	o.mu.Lock()
	if o.left == 0 {
		o.mu.Unlock()
		return
	}
	if o.empty == nil {
		o.empty = make(chan struct{})
	}
	empty := o.empty
	o.mu.Unlock()
	select {
	case <-empty:
	case <-ctx.Done():
	}
}

// errSinkHangs is the error of an alert for a sink that has not come back from another one.
var errSinkHangs = errors.New("the sink did not return in time")

// send sends one alert. A Send that does not return in time is given up, and until it returns every alert fails.
func (o *outlet) send(ctx context.Context, a Alert) error {
	if o.hangs != nil {
		select {
		case <-o.hangs:
			o.hangs = nil
		default:
			return errSinkHangs
		}
	}
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		err := errors.New("the sink ended its goroutine")
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("the sink panicked: %v", p)
			}
			done <- err
		}()
		err = o.sink.Send(ctx, a)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select { // it may be about to return
	case err := <-done:
		return err
	case <-time.After(sendTimeout / 10):
		o.hangs = done
		return errSinkHangs
	}
}

// alertID returns an ID for an alert that begins now.
func alertID(key findingKey, now time.Time) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q %d", key.rule, key.partner, key.integration, key.subject, now.UnixNano()))
	return hex.EncodeToString(sum[:8])
}
