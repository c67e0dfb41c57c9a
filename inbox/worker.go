package inbox

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/belay-go/belay"
)

// Handler handles one event. An error makes it come again, unless it is [Permanent]; where [belay.RetryAfter] knows how long to
// wait, no sooner than that. A panic is an error. It gets an event at least once, and must return soon after ctx is done.
type Handler func(ctx context.Context, it Item) error

// Permanent makes an error final: the event is set aside at once. Nil stays nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return permanent{err}
}

type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// Config says how a [Worker] works. The zero value works.
type Config struct {
	// Workers is how many events are handled at once. Zero means 4; negative is an error.
	Workers int
	// MaxPending is how many events may wait; beyond it [Worker.Put] returns ErrFull. Zero means 100,000; negative is an error.
	MaxPending int
	// MaxAttempts is how often an event may fail before it is set aside. Zero means 12, which with the delays below is about
	// half an hour; negative is an error.
	MaxAttempts int
	// BaseDelay is the bound of the wait after the first failure, which doubles with each, up to MaxDelay; the wait is between
	// half the bound and the bound. Zero means 1 s and 5 min. Negative is an error, and a MaxDelay below BaseDelay.
	BaseDelay, MaxDelay time.Duration
	// Timeout is how long one attempt may take. Zero means one minute; negative means no bound.
	Timeout time.Duration
	// Key returns what an event belongs to, such as its record: those of one key are handled one after the other, as they
	// arrived, and one that fails holds up those behind it until it is handled or set aside. Deliveries that arrive at the same moment
	// have no order. Nil, and an empty key, mean any order.
	Key func(Item) string
	// Observers are told [belay.EventHandled]; [belay.LogTo] writes to a log.
	Observers []belay.Observer
}

func (c *Config) check() error {
	var errs []error
	for _, x := range []struct {
		name string
		n    int
		to   *int
		zero int
	}{{"Workers", c.Workers, &c.Workers, 4}, {"MaxPending", c.MaxPending, &c.MaxPending, 100_000}, {"MaxAttempts", c.MaxAttempts, &c.MaxAttempts, 12}} {
		if x.n < 0 {
			errs = append(errs, fmt.Errorf("%s %d: must not be negative", x.name, x.n))
		}
		*x.to = cmp.Or(x.n, x.zero)
	}
	if c.BaseDelay < 0 || c.MaxDelay < 0 {
		errs = append(errs, fmt.Errorf("BaseDelay %v, MaxDelay %v: must not be negative", c.BaseDelay, c.MaxDelay))
	}
	if c.BaseDelay > 0 && c.MaxDelay > 0 && c.MaxDelay < c.BaseDelay {
		errs = append(errs, fmt.Errorf("MaxDelay %v: must not be below BaseDelay %v", c.MaxDelay, c.BaseDelay))
	}
	c.BaseDelay = cmp.Or(c.BaseDelay, min(time.Second, cmp.Or(c.MaxDelay, time.Second)))
	c.MaxDelay = cmp.Or(c.MaxDelay, max(5*time.Minute, c.BaseDelay))
	c.Timeout = cmp.Or(c.Timeout, time.Minute)
	return errors.Join(errs...)
}

// delay is the wait after so many failures.
func (c *Config) delay(attempts int) time.Duration {
	bound := c.MaxDelay
	if shift := attempts - 1; shift < 40 && c.BaseDelay<<shift>>shift == c.BaseDelay {
		bound = min(bound, c.BaseDelay<<shift)
	}
	return bound/2 + rand.N(bound/2+1)
}

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

	mu       sync.Mutex
	schedule schedule
	reserved int  // places of those that are being stored
	working  int  // taken and not settled
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
	go func() {
		w.settle()
		close(w.done)
	}()
	return w, nil
}

// Put keeps the events of a delivery that are new, before it returns, and reports whether there was any. ErrFull and ErrClosed
// mean that nothing was kept, as does an error of the store.
func (w *Worker) Put(ctx context.Context, d belay.Delivery) (stored bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if len(d.Events) == 0 {
		return false, nil
	}
	now := time.Now()
	items := make([]*Item, len(d.Events))
	for i := range d.Events {
		e := &d.Events[i]
		it := &Item{
			Partner: d.Partner, Integration: d.Integration, Delivery: d.ID, ID: e.ID, Type: e.Type, Time: e.Time,
			Received: now, Due: now, Header: d.Header, Body: e.Data,
		}
		switch {
		case e.Data == nil:
			it.Body = d.Body
		case len(d.Events) > 1:
			it.Body = bytes.Clone(e.Data) // or each would hold on to all of them
		}
		if w.cfg.Key != nil {
			it.Key = w.cfg.Key(*it)
		}
		items[i] = it
	}
	if err := w.reserve(len(items)); err != nil {
		if errors.Is(err, ErrFull) && w.known(ctx, items) {
			return false, nil // the partner need not send it again
		}
		return false, err
	}
	added := false
	defer func() { // also when the store panics
		w.mu.Lock()
		w.reserved -= len(items)
		for _, it := range items {
			switch {
			case !added:
			case it.Seq == 0:
				w.numbers.duplicates++
			default:
				w.numbers.received++
				w.schedule.add(&job{seq: it.Seq, key: it.Key, due: it.Due, received: it.Received})
			}
		}
		w.mu.Unlock()
		w.poke()
	}()
	// From here on the caller's cancel would leave open whether it was kept.
	if err := w.store.Add(context.WithoutCancel(ctx), items); err != nil {
		return false, err
	}
	added = true
	for _, it := range items {
		stored = stored || it.Seq != 0
	}
	return stored, nil
}

// known reports whether the store knows all of them.
func (w *Worker) known(ctx context.Context, items []*Item) bool {
	for _, it := range items {
		if known, err := w.store.Known(ctx, it); err != nil || !known {
			return false
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.numbers.duplicates += uint64(len(items))
	return true
}

// reserve takes places for n events.
func (w *Worker) reserve(n int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return ErrClosed
	}
	if have := len(w.schedule.all) + w.reserved; have+n > w.cfg.MaxPending {
		return fmt.Errorf("%w: %d events wait, %d may", ErrFull, have, w.cfg.MaxPending)
	}
	w.reserved += n
	return nil
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

// run hands out events until there are no more. A handler that ends its goroutine, as runtime.Goexit does, has failed, and another
// goroutine goes on.
func (w *Worker) run(workers *sync.WaitGroup) {
	for j := range w.work {
		func() {
			r, returned := w.judge(j, Item{}, errGoexit, time.Now()), false
			defer func() {
				w.ended <- r
				if !returned {
					workers.Go(func() { w.run(workers) })
				}
			}()
			r, returned = w.attempt(j), true
		}()
	}
}

var errGoexit = errors.New("inbox: the handler ended its goroutine")

// attempt hands one event to the handler.
func (w *Worker) attempt(j *job) result {
	if w.ctx.Err() != nil {
		return result{job: j, again: true}
	}
	it, err := w.store.Get(w.ctx, j.seq)
	switch {
	case errors.Is(err, ErrNoItem): // discarded, or handled after it was replayed twice
		return result{job: j, change: Change{Seq: j.seq, State: Handled}, silent: true}
	case err != nil: // the store's trouble, and no attempt
		w.tell(belay.EventHandled{ID: fmt.Sprint(j.seq), Attempt: j.attempts + 1, Retry: w.cfg.MaxDelay, Err: fmt.Errorf("inbox: reading an event: %w", err)})
		_ = pause(w.ctx, 100*time.Millisecond) // when all is handed out at once, it is at its turn again soon
		return result{job: j, change: Change{j.seq, Pending, j.attempts, time.Now().Add(w.cfg.MaxDelay), oneLine(err)}, silent: true}
	}
	ctx, cancel := w.ctx, context.CancelFunc(func() {})
	if w.cfg.Timeout > 0 {
		ctx, cancel = context.WithTimeout(ctx, w.cfg.Timeout)
	}
	defer cancel()
	it.Attempts = j.attempts
	began := time.Now()
	return w.judge(j, it, w.call(ctx, it), began)
}

// judge says what follows from how an attempt went.
func (w *Worker) judge(j *job, it Item, err error, began time.Time) result {
	now := time.Now()
	r := result{job: j, change: Change{Seq: j.seq, State: Handled, Attempts: j.attempts + 1}, told: belay.EventHandled{
		Partner: it.Partner, Integration: it.Integration, ID: it.ID, Type: it.Type,
		Attempt: j.attempts + 1, Age: now.Sub(j.received), Duration: now.Sub(began), Err: err,
	}}
	if err == nil {
		return r
	}
	var final permanent
	r.change.Error = oneLine(err)
	switch {
	case w.ctx.Err() != nil: // Shutdown has cut it short
		r.again = true
	case errors.Is(err, ErrUnhandled):
		r.change.State, r.change.Attempts, r.told.Aside = Unhandled, j.attempts, true
	case errors.As(err, &final) || r.change.Attempts >= w.cfg.MaxAttempts:
		r.change.State, r.told.Aside = Dead, true
	default:
		wait := w.cfg.delay(r.change.Attempts)
		if asked, ok := belay.RetryAfter(err); ok {
			wait = max(wait, min(asked, 24*time.Hour))
		}
		r.change.State, r.change.Due, r.told.Retry = Pending, now.Add(wait), wait
	}
	return r
}

// call contains a panic. What it panicked with is not shown but for errors of the runtime: it may be anything.
func (w *Worker) call(ctx context.Context, it Item) (err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case runtime.Error:
			err = fmt.Errorf("inbox: the handler panicked: %w", p)
		default:
			err = fmt.Errorf("inbox: the handler panicked with a %T", p)
		}
	}()
	return w.handle(ctx, it)
}

// settle notes how attempts went, as many at once as have ended meanwhile.
func (w *Worker) settle() {
	for r := range w.ended {
		batch := []result{r}
		for more := true; more && len(batch) < cap(w.ended); {
			select {
			case r, ok := <-w.ended:
				if more = ok; ok {
					batch = append(batch, r)
				}
			default:
				more = false
			}
		}
		changes := make([]Change, 0, len(batch))
		for _, r := range batch {
			if !r.again {
				changes = append(changes, r.change)
			}
		}
		for wait := 100 * time.Millisecond; len(changes) > 0; wait = min(2*wait, 10*time.Second) {
			err := w.store.Settle(context.Background(), changes)
			if err == nil {
				break
			}
			// Nothing is lost: what could not be noted is handled again after a start.
			w.tell(belay.EventHandled{ID: fmt.Sprint(changes[0].Seq), Retry: wait, Err: fmt.Errorf("inbox: noting %d changes: %w", len(changes), err)})
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
				continue
			case <-w.ctx.Done():
				timer.Stop()
			}
			break
		}
		w.mu.Lock()
		for _, r := range batch {
			w.working--
			switch {
			case r.again:
				w.schedule.again(r.job)
			case r.change.State == Pending:
				r.job.attempts, r.job.due = r.change.Attempts, r.change.Due
				w.schedule.again(r.job)
			default:
				w.schedule.done(r.job)
				if r.job.revived { // between the note of it and now
					w.schedule.add(&job{seq: r.job.seq, key: r.job.key, due: time.Now(), received: r.job.received})
				}
			}
			w.numbers.note(r, time.Now())
		}
		w.mu.Unlock()
		for _, r := range batch {
			if !r.again && !r.silent {
				w.tell(r.told)
			}
		}
		w.poke()
	}
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
// a second to return; the error then says how many have not, and how many events are lost with a store that is not durable.
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
	if n := len(w.schedule.all); n > 0 && !w.store.Durable() {
		errs = append(errs, fmt.Errorf("inbox: %d events are lost", n))
	}
	return errors.Join(errs...)
}

// headers returns a copy of h without what must not be kept.
func headers(h http.Header, without map[string]bool) http.Header {
	kept := make(http.Header, len(h))
	for name, values := range h {
		if !without[http.CanonicalHeaderKey(name)] && !sensitive(name) {
			kept[name] = values
		}
	}
	return kept
}
