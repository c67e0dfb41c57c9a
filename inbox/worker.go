package inbox

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/errkit"
)

// Worker is an [Inbox] that passes its events to a [Handler]. It is safe for concurrent use.
type Worker struct {
	store  Store
	handle Handler
	cfg    Config

	ctx      context.Context // parent of the handlers' contexts
	cancel   context.CancelFunc
	wake     chan struct{}   // wakes dispatch after a change of the schedule
	stop     chan struct{}   // closed by Shutdown, if the store is durable
	stopped  context.Context // ends when Shutdown begins
	halt     context.CancelFunc
	released chan struct{} // closed when no claim is held any more
	work     chan *job
	ended    chan result
	done     chan struct{} // closed when every goroutine has ended

	reviving sync.Mutex // held by Replay and Discard for each event

	mu       sync.Mutex
	term     *term // nil while another process handles the events
	schedule schedule
	reserved int  // capacity for events that are being stored or revived
	working  int  // jobs taken from the schedule and not settled
	unnoted  int  // results that the store could not record
	closed   bool // Put and Replay are refused
	numbers  numbers
}

// result is the outcome of an attempt.
type result struct {
	job    *job
	change Change
	event  belay.EventHandled
	again  bool // Shutdown interrupted the attempt: record nothing
	silent bool // there was no attempt: neither count nor report it
	skip   bool // the event is not pending: record nothing, and forget the job

	refused bool // the attempt was refused, by Belay or by the partner: it does not count
}

// Start returns a Worker that continues with the events in the store. It runs goroutines until
// [Worker.Shutdown]. A nil store or handler and an invalid Config are errors, and an error of the store is
// returned.
func Start(store Store, handle Handler, cfg Config) (*Worker, error) {
	if store == nil || handle == nil {
		return nil, errkit.Input(errors.New("inbox: Start: the store and the handler must not be nil"))
	}
	if err := cfg.check(); err != nil {
		return nil, errkit.Input(fmt.Errorf("inbox: Start: %w", err))
	}
	w := &Worker{
		store: store, handle: handle, cfg: cfg, schedule: newSchedule(cfg.MaxPerPartner, cfg.MaxPerIntegration),
		wake: make(chan struct{}, 1), stop: make(chan struct{}), work: make(chan *job),
		ended: make(chan result, 1024), done: make(chan struct{}), released: make(chan struct{}),
	}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	w.stopped, w.halt = context.WithCancel(w.ctx)
	shared, isShared := store.(Shared)
	if !isShared {
		w.term = &term{w.ctx}
		close(w.released)
		for it, err := range store.Items(w.ctx) {
			if err != nil {
				w.cancel()
				return nil, fmt.Errorf("inbox: Start: reading what is kept: %w", err)
			}
			if it.State == Pending {
				w.schedule.add(w.restored(&it))
			}
		}
	}
	var workers sync.WaitGroup
	for range cfg.Workers {
		workers.Go(func() { w.run(&workers) })
	}
	go func() {
		w.dispatch()
		close(w.work)
		workers.Wait()
		close(w.ended)
	}()
	go w.settleAll()
	if isShared {
		go w.holdClaims(shared)
	}
	return w, nil
}

// restored returns the job of an item that was stored before.
func (w *Worker) restored(it *Item) *job {
	// The clock may have been ahead when Due was written. That must not delay the event for as long.
	if latest := time.Now().Add(max(w.cfg.MaxDelay, 24*time.Hour)); it.Attempts == 0 || it.Due.After(latest) {
		it.Due = time.Now()
	}
	j := w.jobOf(it)
	j.due, j.attempts = it.Due, it.Attempts
	return j
}

// jobOf returns the job of an item that is to be handled as soon as possible. The caller holds w.mu, or is Start.
func (w *Worker) jobOf(it *Item) *job {
	return &job{
		term: w.term, from: sender{it.Partner, it.Integration}, seq: it.Seq, key: it.Key, due: it.Due, received: it.Received,
	}
}

// again returns a taken job to the schedule, unless it is another process's now. The caller holds w.mu.
func (w *Worker) again(j *job) {
	if j.term == w.term {
		w.schedule.again(j)
	}
}

func (w *Worker) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// dispatch passes due jobs to the workers until the worker shuts down.
func (w *Worker) dispatch() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		w.mu.Lock()
		drain := w.closed && !w.store.Durable()
		if w.closed && !drain || drain && len(w.schedule.all)+w.reserved == 0 || w.ctx.Err() != nil {
			w.mu.Unlock()
			return
		}
		j, wait := w.schedule.next(time.Now(), drain)
		if j != nil {
			w.working++
		}
		w.mu.Unlock()
		if j != nil {
			if !drain && !w.ready(j) {
				continue
			}
			select {
			case w.work <- j:
			case <-w.stop:
				w.put(j)
			case <-w.ctx.Done():
				w.put(j)
			}
			continue
		}
		if wait < 0 {
			wait = time.Hour
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-w.wake:
		case <-w.ctx.Done():
		}
	}
}

// ready reports whether events of the job's integration can be handled now. If not, it returns the job to the schedule,
// and lets the integration rest.
func (w *Worker) ready(j *job) (ok bool) {
	if w.cfg.Ready == nil {
		return true
	}
	var until time.Time
	func() {
		defer func() { ok = ok || recover() != nil }() // a Ready that panics says nothing
		ok, until = w.cfg.Ready(j.from.partner, j.from.integration)
	}()
	if ok {
		return true
	}
	now := time.Now()
	wait := w.cfg.BaseDelay
	if !until.IsZero() {
		wait = min(max(until.Sub(now), 10*time.Millisecond), w.cfg.MaxDelay)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.working--
	if j.term == w.term {
		w.schedule.rests(j, now.Add(wait))
		w.schedule.again(j)
	}
	return false
}

// draining reports whether a Shutdown has the last events handled.
func (w *Worker) draining() bool { return !w.store.Durable() && w.isClosed() }

// put returns a job to the schedule that no goroutine received.
func (w *Worker) put(j *job) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.working--
	w.again(j)
}

func (w *Worker) tell(e belay.Event) { tell(w.ctx, w.cfg.Observers, e) }

// tell passes e to the observers, and recovers from their panics.
func tell(ctx context.Context, observers []belay.Observer, e belay.Event) {
	for _, o := range observers {
		if o != nil {
			func() {
				defer func() { _ = recover() }()
				o.Observe(ctx, e)
			}()
		}
	}
}

// Shutdown stops the intake of events, and returns when the running handlers have returned. If the store is
// not durable, it first has all pending events handled, at once and without delays between attempts. If ctx
// ends first, the handlers' context is canceled, and the handlers get one second to return. The error says
// how many handlers have not returned, how many results could not be recorded (these events are handled
// again), and how many events are lost with a store that is not durable. Shutdown leaves the store open, and
// can be called again.
func (w *Worker) Shutdown(ctx context.Context) error {
	w.mu.Lock()
	if !w.closed && w.store.Durable() {
		close(w.stop)
	}
	w.closed = true
	w.mu.Unlock()
	w.halt()
	w.poke()
	select {
	case <-w.done:
	case <-ctx.Done():
		w.cancel()
		timer := time.NewTimer(time.Second)
		defer timer.Stop()
		select {
		case <-w.done:
		case <-timer.C:
		}
	}
	defer w.cancel()
	select {
	case <-w.done:
		<-w.released // a claim, so that another process goes on at once
	default:
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var errs []error
	select {
	case <-w.done:
	default:
		errs = append(errs, fmt.Errorf("inbox: %d events are still being handled: %w", w.working, context.Cause(ctx)))
	}
	if w.unnoted > 0 {
		errs = append(errs, fmt.Errorf("inbox: %d results could not be noted", w.unnoted))
	}
	if n := len(w.schedule.all); n > 0 && !w.store.Durable() {
		errs = append(errs, fmt.Errorf("inbox: %d events are lost", n))
	}
	return errors.Join(errs...)
}
