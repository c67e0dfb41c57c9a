package inbox

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/belay-go/belay"
)

// Worker is an [Inbox] that hands what it keeps to a [Handler]. It is safe for concurrent use.
type Worker struct {
	store  Store
	handle Handler
	cfg    Config

	ctx    context.Context // of the handlers
	cancel context.CancelFunc
	wake   chan struct{} // something is due sooner than it was
	stop   chan struct{} // closed by Shutdown, where the store is durable
	work   chan *job
	ended  chan result
	done   chan struct{} // all of it has ended

	reviving sync.Mutex // so that Replay and Discard take turns with each event

	mu       sync.Mutex
	schedule schedule
	reserved int  // places of those that are being stored
	working  int  // taken and not settled
	unnoted  int  // results that could not be noted
	closed   bool // no more is taken in
	numbers  numbers
}

// result is how an attempt went.
type result struct {
	job    *job
	change Change
	told   belay.EventHandled
	again  bool // nothing is to be noted: it was cut short by Shutdown
	silent bool // it was no attempt, and is neither counted nor told
}

// Start returns a Worker that goes on with what the store holds. It has goroutines of its own, until [Worker.Shutdown]. A nil
// store or handler, and what Config says, are errors, and one of the store is returned.
func Start(store Store, handle Handler, cfg Config) (*Worker, error) {
	if store == nil || handle == nil {
		return nil, errors.New("inbox: Start: the store and the handler must not be nil")
	}
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("inbox: Start: %w", err)
	}
	w := &Worker{
		store: store, handle: handle, cfg: cfg, schedule: newSchedule(),
		wake: make(chan struct{}, 1), stop: make(chan struct{}), work: make(chan *job), ended: make(chan result, 1024), done: make(chan struct{}),
	}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	for it, err := range store.Items(w.ctx) {
		if err != nil {
			w.cancel()
			return nil, fmt.Errorf("inbox: Start: reading what is kept: %w", err)
		}
		if it.State == Pending {
			// A clock that was ahead when it was written must not hold it for as long.
			if latest := time.Now().Add(max(cfg.MaxDelay, 24*time.Hour)); it.Attempts == 0 || it.Due.After(latest) {
				it.Due = time.Now()
			}
			w.schedule.add(&job{seq: it.Seq, key: it.Key, due: it.Due, received: it.Received, attempts: it.Attempts})
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
	return w, nil
}

func (w *Worker) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// dispatch hands out what is due, until the end.
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

// put takes a job back that nobody took.
func (w *Worker) put(j *job) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.working--
	w.schedule.again(j)
}

func (w *Worker) tell(e belay.Event) { tell(w.ctx, w.cfg.Observers, e) }

// tell contains the panics of observers.
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

// Shutdown takes in no more, and returns when the handlers at work have ended. Where the store is not durable, it first has all that
// waits handled, at once and without delays between attempts. When ctx is done first, the handlers' context is cancelled, and they get
// a second to return; the error then says how many have not, how many results could not be noted, so that these events are handled
// again, and how many events are lost with a store that is not durable.
// It leaves the store open, and can be called again.
func (w *Worker) Shutdown(ctx context.Context) error {
	w.mu.Lock()
	if !w.closed && w.store.Durable() {
		close(w.stop)
	}
	w.closed = true
	w.mu.Unlock()
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
