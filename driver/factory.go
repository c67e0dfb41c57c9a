package driver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/belay-go/belay"
)

// Factory opens the integrations of a partner. It is safe for concurrent use.
type Factory[D Driver] struct {
	registry *Registry
	partner  Partner
	open     func(context.Context, Integration) (D, error)
	rollout  atomic.Pointer[Rollout]

	mu      sync.Mutex
	client  *belay.Client // the partner's client, nil until it is needed
	opened  map[string]D
	ofOpen  map[string]*belay.Client // of the open integrations
	closed  bool
	loading map[string]*loading[D]
	// off holds the kill switch of each integration. A switch outlasts a reload, because the previous driver
	// may still be in use.
	off map[string]*atomic.Bool
}

// loading is an integration that is being opened; done is closed afterwards.
type loading[D any] struct {
	done   chan struct{}
	driver D
	err    error
	gone   bool // the context of the first caller has ended
	stale  bool // the integration was changed meanwhile: load it again
}

// Register adds a partner to the registry. The function open makes the partner's driver for an integration.
// It is called once for each integration, on first use, and again after a reload. An empty name, a name that
// is registered already, an empty BaseURL, a nil open and an invalid Rollout are errors.
func Register[D Driver](
	r *Registry, p Partner, open func(context.Context, Integration) (D, error),
) (*Factory[D], error) {
	switch {
	case r == nil || r.load == nil:
		return nil, errors.New("driver: Register: the registry was not made by NewRegistry")
	case p.Name == "":
		return nil, errors.New("driver: Register: Partner.Name is empty")
	case open == nil:
		return nil, fmt.Errorf("driver: Register %s: open is nil", p.Name)
	case p.BaseURL == "":
		return nil, fmt.Errorf("driver: Register %s: Partner.BaseURL is empty", p.Name)
	}
	if err := p.Rollout.check(); err != nil {
		return nil, err
	}
	f := &Factory[D]{
		registry: r, partner: p, open: open,
		opened: make(map[string]D), ofOpen: make(map[string]*belay.Client), loading: make(map[string]*loading[D]), off: make(map[string]*atomic.Bool),
	}
	rollout := p.Rollout.clone()
	f.rollout.Store(&rollout)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, ErrClosed
	}
	if _, taken := r.partners[p.Name]; taken {
		return nil, fmt.Errorf("driver: Register: the partner %q is registered already", p.Name)
	}
	r.partners[p.Name] = f
	return f, nil
}

// Open returns the driver of an integration, and makes it on first use. Concurrent callers wait for it, each
// as long as its own context allows. All of them get the same error, and the next call tries again.
func (f *Factory[D]) Open(ctx context.Context, integration string) (D, error) {
	var none D
	if ctx == nil || integration == "" {
		return none, fmt.Errorf("driver: Open %s: the context is nil or the integration is empty", f.partner.Name)
	}
	for {
		f.mu.Lock()
		if f.closed {
			f.mu.Unlock()
			return none, ErrClosed
		}
		if d, ok := f.opened[integration]; ok {
			f.mu.Unlock()
			return d, nil
		}
		l := f.loading[integration]
		first := l == nil
		if first {
			l = &loading[D]{done: make(chan struct{})}
			f.loading[integration] = l
		}
		f.mu.Unlock()
		if first {
			return f.make(ctx, integration, l)
		}
		select {
		case <-l.done:
			if l.err != nil && ctx.Err() == nil && l.gone {
				continue // only the first caller's context ended: try again
			}
			return l.driver, l.err
		case <-ctx.Done():
			return none, context.Cause(ctx)
		}
	}
}

// make opens an integration, and opens it again if it was changed meanwhile.
func (f *Factory[D]) make(ctx context.Context, integration string, l *loading[D]) (D, error) {
	l.err = fmt.Errorf("driver: opening %s of %s panicked", integration, f.partner.Name)
	defer func() { // runs after a panic too
		f.mu.Lock()
		if f.loading[integration] == l {
			delete(f.loading, integration)
		}
		l.gone = ctx.Err() != nil
		f.mu.Unlock()
		close(l.done)
	}()
	for {
		d, client, err := f.build(ctx, integration)
		if err != nil {
			l.err = fmt.Errorf("driver: opening %s of %s: %w", integration, f.partner.Name, err)
			return l.driver, l.err
		}
		f.mu.Lock()
		stale, closed := l.stale, f.closed
		if l.stale = false; !stale && !closed {
			f.opened[integration], f.ofOpen[integration] = d, client
			l.driver, l.err = d, nil
		}
		f.mu.Unlock()
		switch {
		case closed:
			l.err = ErrClosed
			return l.driver, errors.Join(l.err, closeDriver(d))
		case !stale:
			return d, nil
		}
		if err := closeDriver(d); err != nil {
			l.err = fmt.Errorf("driver: closing %s of %s: %w", integration, f.partner.Name, err)
			return l.driver, l.err
		}
	}
}

func (f *Factory[D]) build(ctx context.Context, integration string) (d D, client *belay.Client, err error) {
	s, err := f.registry.load(ctx, f.partner.Name, integration)
	if err != nil {
		return d, nil, err
	}
	parent, err := f.Client()
	if err != nil {
		return d, nil, err
	}
	f.mu.Lock()
	off := f.off[integration]
	if off == nil {
		off = new(atomic.Bool)
		f.off[integration] = off
	}
	f.mu.Unlock()
	off.Store(s.Disabled)
	options := []belay.Option{
		belay.WithIntegration(integration), belay.WithAuth(s.Auth),
		belay.WithEnabled(func() bool { return !off.Load() }),
	}
	if s.BaseURL != "" {
		options = append(options, belay.WithBaseURL(s.BaseURL))
	}
	limits := s.Limits
	if limits == nil {
		limits = f.partner.CustomerLimits
	}
	if len(limits) > 0 {
		options = append(options, belay.WithRateLimit(limits...))
	}
	if client, err = parent.With(options...); err != nil {
		return d, nil, err
	}
	d, err = f.open(ctx, Integration{integration, s.Labels, client, f.rollout.Load().Version(integration)})
	return d, client, err
}

// Client returns the partner's own client. It is made when it is first needed. All integrations derive from
// it, and share its limits, breaker and connections.
func (f *Factory[D]) Client() (*belay.Client, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, ErrClosed
	}
	if f.client == nil {
		options := append([]belay.Option{belay.WithName(f.partner.Name)}, f.registry.options...)
		client, err := belay.New(f.partner.BaseURL, append(options, f.partner.Options...)...)
		if err != nil {
			return nil, err
		}
		f.client = client
	}
	return f.client, nil
}

// Reload forgets an integration, so that the next Open loads its settings again. Call it after its
// credential, base URL or version has changed. Calls in progress, and code that holds the old driver,
// continue with the old driver. The error is the error of the old driver's Close.
func (f *Factory[D]) Reload(integration string) error {
	f.mu.Lock()
	d, open := f.opened[integration]
	delete(f.opened, integration)
	delete(f.ofOpen, integration)
	if l := f.loading[integration]; l != nil {
		l.stale = true
	}
	f.mu.Unlock()
	if !open {
		return nil
	}
	return closeDriver(d)
}

// SetDisabled switches an integration off or on, at once: also for waiting calls, and for drivers that were
// opened before a reload. It reports whether the integration was open. Store the change in the settings
// first, because an integration that is not open, or is just being opened, takes it from there.
func (f *Factory[D]) SetDisabled(integration string, disabled bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if off := f.off[integration]; off != nil {
		off.Store(disabled)
	}
	if l := f.loading[integration]; l != nil {
		l.stale = true
	}
	_, open := f.opened[integration]
	return open
}

// SetRollout replaces the Rollout, and reloads the open integrations whose version changes.
func (f *Factory[D]) SetRollout(r Rollout) error {
	if err := r.check(); err != nil {
		return err
	}
	r = r.clone()
	old := f.rollout.Swap(&r)
	f.mu.Lock()
	var changed []string
	for integration := range f.opened {
		if old.Version(integration) != r.Version(integration) {
			changed = append(changed, integration)
		}
	}
	for _, l := range f.loading {
		l.stale = true
	}
	f.mu.Unlock()
	var errs []error
	for _, integration := range changed {
		errs = append(errs, f.Reload(integration))
	}
	return errors.Join(errs...)
}

// Integrations returns the IDs of the open integrations, sorted.
func (f *Factory[D]) Integrations() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.opened))
}

func (f *Factory[D]) close() error {
	f.mu.Lock()
	f.closed = true
	open, client := f.opened, f.client
	f.opened, f.ofOpen, f.client = nil, nil, nil
	f.mu.Unlock()
	var errs []error
	for _, d := range open {
		errs = append(errs, closeDriver(d))
	}
	if client != nil {
		errs = append(errs, client.Close())
	}
	return errors.Join(errs...)
}

func closeDriver(d any) error {
	if c, ok := d.(io.Closer); ok {
		return c.Close()
	}
	return nil
}
