package watch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/redact"
)

// Check is something that a [Checker] probes, such as an integration of a partner.
type Check struct {
	// Name is the name of the service in the answers of the handler, such as "crm" or "crm/customer-7". It must be one
	// line of 1 to 200 bytes, and no other check may have it.
	Name string
	// Partner is the partner's name. The checks of one partner are probed one at a time. Empty means the name up to its
	// first slash.
	Partner string
	// Probe makes a harmless call with the context, as driver.Driver's Check does. Nil is an error.
	Probe func(ctx context.Context) error
	// Critical says that the service cannot do without it: while it is down, the handlers answer 503.
	Critical bool
}

// CheckerConfig configures [NewChecker]. The zero value is valid.
type CheckerConfig struct {
	// Interval is the time between two probes of a check. Each is up to a tenth longer or shorter, so that processes
	// that were started together do not probe together. Zero means 60 s; negative is an error.
	Interval time.Duration
	// Timeout ends a probe. Zero means 5 s; negative is an error.
	Timeout time.Duration
	// Failures is the number of failed probes in a row after which a check is down. Zero means 3; negative is an error.
	Failures int
}

// State is the state of a check.
type State uint8

const (
	// Unknown means that no probe has ended yet.
	Unknown State = iota
	// Up means that the last probe succeeded, or that too few have failed since for Down.
	Up
	// Down means that as many probes in a row have failed as CheckerConfig.Failures says.
	Down
	// Disabled means that the integration is switched off: its calls fail with belay.ErrDisabled.
	Disabled
)

// String returns "unknown", "up", "down" or "disabled".
func (s State) String() string {
	return [...]string{"unknown", "up", "down", "disabled"}[min(s, Disabled)]
}

// CheckStatus is what a [Checker] knows of a check.
type CheckStatus struct {
	Name, Partner string
	Critical      bool
	State         State
	// Since is when the check came into its state, zero while it is Unknown.
	Since time.Time
	// LastProbe and LastSuccess are when a probe ended, and one that succeeded, zero for never.
	LastProbe, LastSuccess time.Time
	// Latency is how long the last probe took.
	Latency time.Duration
	// Failures is the number of failed probes since the last success, those too that were due while one hangs. Error is the
	// error of the last one: one line without credentials, empty after a success.
	Failures int
	Error    string
}

// Checker probes checks on an interval. Create it with [NewChecker]. It is safe for concurrent use.
type Checker struct {
	cfg CheckerConfig

	mu      sync.Mutex
	checks  map[string]*checked
	changed chan struct{} // closed, and made anew, when a check is added or a probe has ended
	running bool
}

// checked is a check with what is known of it.
type checked struct {
	Check
	status CheckStatus
	due    time.Time
	busy   bool // a probe runs, and it is the partner's turn
	hangs  bool // its last probe was given up, and has not come back
	gone   bool // it was removed
}

// NewChecker returns a checker of some checks; more can be added. It probes nothing before Run.
func NewChecker(cfg CheckerConfig, checks ...Check) (*Checker, error) {
	switch {
	case cfg.Interval < 0 || cfg.Timeout < 0:
		return nil, fmt.Errorf("watch: NewChecker: Interval is %s and Timeout is %s, must not be negative", cfg.Interval, cfg.Timeout)
	case cfg.Failures < 0:
		return nil, fmt.Errorf("watch: NewChecker: Failures is %d, must not be negative", cfg.Failures)
	}
	cfg.Interval = cmp.Or(cfg.Interval, time.Minute)
	cfg.Timeout = cmp.Or(cfg.Timeout, 5*time.Second)
	cfg.Failures = cmp.Or(cfg.Failures, 3)
	c := &Checker{cfg: cfg, checks: make(map[string]*checked), changed: make(chan struct{})}
	var errs []error
	for _, check := range checks {
		errs = append(errs, c.Add(check))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return c, nil
}

// Add adds a check, which is probed soon: within a tenth of the interval. A name that is taken, empty, too long or of
// several lines is an error, and so is a nil probe.
func (c *Checker) Add(check Check) error {
	switch {
	case check.Name == "" || len(check.Name) > 200 || strings.ContainsAny(check.Name, "\r\n\x00"):
		return fmt.Errorf("watch: the check's name %.40q must be one line of 1 to 200 bytes", check.Name)
	case check.Probe == nil:
		return fmt.Errorf("watch: the check %q has no Probe", check.Name)
	}
	if check.Partner == "" {
		check.Partner, _, _ = strings.Cut(check.Name, "/")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.checks[check.Name] != nil {
		return fmt.Errorf("watch: there is a check %q already", check.Name)
	}
	c.checks[check.Name] = &checked{
		Check:  check,
		status: CheckStatus{Name: check.Name, Partner: check.Partner, Critical: check.Critical},
		due:    time.Now().Add(rand.N(c.cfg.Interval/10 + 1)),
	}
	c.wake()
	return nil
}

// Remove removes a check, and reports whether there was one.
func (c *Checker) Remove(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := c.checks[name]
	if at == nil {
		return false
	}
	at.gone = true
	delete(c.checks, name)
	return true
}

// wake wakes Run. The caller holds c.mu.
func (c *Checker) wake() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// Status returns what is known of each check, by name.
func (c *Checker) Status() []CheckStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]CheckStatus, 0, len(c.checks))
	for _, at := range c.checks {
		all = append(all, at.status)
	}
	slices.SortFunc(all, func(a, b CheckStatus) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Run probes until ctx ends, and returns nil once its probes have ended, or have had the time of one more timeout. A
// second Run beside the first is an error.
func (c *Checker) Run(ctx context.Context) error {
	c.mu.Lock()
	if c.running {
		c.mu.Unlock()
		return errors.New("watch: the checker runs already")
	}
	c.running = true
	c.mu.Unlock()
	var probes sync.WaitGroup
	defer func() {
		probes.Wait()
		c.mu.Lock()
		c.running = false
		c.mu.Unlock()
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		c.mu.Lock()
		due, next := c.due(time.Now())
		changed := c.changed
		c.mu.Unlock()
		for _, at := range due {
			probes.Go(func() { c.probe(ctx, at) })
		}
		wait := time.Hour
		if !next.IsZero() {
			wait = max(0, time.Until(next))
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-changed:
		}
	}
}

// due returns the checks to probe now, at most one of each partner, and when the next one is due. It marks them as
// busy. The caller holds c.mu.
func (c *Checker) due(now time.Time) (due []*checked, next time.Time) {
	busy := make(map[string]bool)
	all := make([]*checked, 0, len(c.checks))
	for _, at := range c.checks {
		busy[at.Partner] = busy[at.Partner] || at.busy
		all = append(all, at)
	}
	slices.SortFunc(all, func(a, b *checked) int { return a.due.Compare(b.due) })
	for _, at := range all {
		if at.hangs && !at.due.After(now) { // it fails as long as it does not come back
			c.arm(at, now)
			c.failed(at, now, errHangs)
		}
		switch {
		case at.due.After(now):
			if next.IsZero() || at.due.Before(next) {
				next = at.due
			}
		case busy[at.Partner]: // the end of its probe wakes Run
		default:
			at.busy, busy[at.Partner] = true, true
			due = append(due, at)
		}
	}
	return due, next
}

// errHangs is the error of a probe that goes on behind its timeout.
var errHangs = errors.New("the probe did not end in time")

// probe probes a check. A probe that hangs is given up, and its check is not probed again before it has come back, but
// fails each time that it would have been; the other checks of the partner are probed.
func (c *Checker) probe(ctx context.Context, at *checked) {
	began := time.Now()
	bounded, cancel := context.WithTimeout(
		belay.CallContext(ctx, belay.Low, belay.Uncached(), belay.MaxAttempts(1), belay.Patience(0)), c.cfg.Timeout)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		err := errors.New("the probe ended its goroutine")
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("the probe panicked: %v", p)
			}
			done <- err
		}()
		err = at.Probe(bounded)
	}()
	select {
	case err := <-done:
		c.ended(ctx, at, err, time.Since(began), false)
		return
	case <-bounded.Done():
	}
	select { // it may be about to end
	case err := <-done:
		c.ended(ctx, at, cmp.Or(err, errHangs), time.Since(began), false)
		return
	case <-time.After(c.cfg.Timeout / 10):
	}
	c.ended(ctx, at, errHangs, time.Since(began), true)
	go func() {
		<-done
		c.mu.Lock()
		defer c.mu.Unlock()
		at.hangs = false
		c.wake()
	}()
}

// ended takes note of the end of a probe. What says nothing of the partner changes nothing: the end of ctx, and a place
// that a call of a user had.
func (c *Checker) ended(ctx context.Context, at *checked, err error, took time.Duration, hangs bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	at.busy, at.hangs = false, hangs
	c.arm(at, now)
	defer c.wake()
	if ctx.Err() != nil || at.gone {
		return
	}
	s := &at.status
	switch {
	case err == nil:
		s.LastProbe, s.LastSuccess, s.Latency, s.Failures, s.Error = now, now, took, 0, ""
		s.become(Up, now)
	case errors.Is(err, belay.ErrDisabled):
		s.LastProbe, s.Latency, s.Failures, s.Error = now, 0, 0, ""
		s.become(Disabled, now)
	case notAsked(err):
	default:
		s.LastProbe, s.Latency = now, took
		c.failed(at, now, err)
	}
}

// failed counts a failed probe. The caller holds c.mu.
func (c *Checker) failed(at *checked, now time.Time, err error) {
	s := &at.status
	s.Error = redact.Line(redact.Text(err.Error()), 300)
	if s.Failures++; s.Failures >= c.cfg.Failures {
		s.become(Down, now)
	}
}

// arm sets when the next probe is due. The caller holds c.mu.
func (c *Checker) arm(at *checked, now time.Time) {
	interval := c.cfg.Interval
	at.due = now.Add(interval - interval/10 + rand.N(interval/5+1))
}

func (s *CheckStatus) become(to State, now time.Time) {
	if to != s.State {
		s.State, s.Since = to, now
	}
}

// notAsked reports whether a probe was not sent, because the calls of users have the places.
func notAsked(err error) bool {
	var e *belay.Error
	if errors.As(err, &e) && e.Class == belay.ClassCanceled && e.Attempts == 0 { // it waited in the queue to its end
		return true
	}
	return errors.Is(err, belay.ErrWaitTooLong) || errors.Is(err, belay.ErrQueueFull) || errors.Is(err, belay.ErrCallBudget)
}

// atOnce is how many checks of one partner CheckAll probes at the same time.
const atOnce = 4

// CheckAll probes each check once, four of a partner at the same time, and returns the errors of those that failed: a test
// of the credentials at the start of a service. It counts in the states as any other probe does. A check whose last probe has
// not come back is an error.
func (c *Checker) CheckAll(ctx context.Context) error {
	c.mu.Lock()
	var all []*checked
	var errs []error
	for _, at := range c.checks {
		if at.busy || at.hangs {
			errs = append(errs, fmt.Errorf("watch: %s: a probe of it runs", at.Name))
			continue
		}
		at.busy = true
		all = append(all, at)
	}
	c.mu.Unlock()
	slices.SortFunc(all, func(a, b *checked) int { return strings.Compare(a.Name, b.Name) })
	turns := make(map[string]chan struct{}) // of the probes of a partner: its limits are for a few calls at once
	for _, at := range all {
		if turns[at.Partner] == nil {
			turns[at.Partner] = make(chan struct{}, atOnce)
		}
	}
	var probes sync.WaitGroup
	for _, at := range all {
		turn := turns[at.Partner]
		probes.Go(func() {
			turn <- struct{}{}
			defer func() { <-turn }()
			c.probe(ctx, at)
		})
	}
	probes.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, at := range all {
		switch {
		case at.status.Error != "":
			errs = append(errs, fmt.Errorf("watch: %s: %s", at.Name, at.status.Error))
		case at.status.LastProbe.IsZero():
			errs = append(errs, fmt.Errorf("watch: %s: it could not be asked", at.Name))
		}
	}
	if ctx.Err() != nil {
		errs = append(errs, ctx.Err())
	}
	return errors.Join(errs...)
}
