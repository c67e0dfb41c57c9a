// Package driver is what wrapping a partner needs: one client for each partner and one for each customer's integration, opened
// when they are first used; versions of an adapter that roll out step by step; types for partners that cannot make up their mind.
//
// A driver is a small struct over a [belay.Client]:
//
//	type CRM struct{ client *belay.Client }
//
//	func (c *CRM) Name() string { return "crm" }
//	func (c *CRM) Check(ctx context.Context) error {
//		_, err := belay.Get[belay.None](ctx, c.client, "/me")
//		return err
//	}
//
//	crm, err := driver.Register(registry, driver.Partner{Name: "crm", BaseURL: "https://api.crm.example"},
//		func(_ context.Context, i driver.Integration) (*CRM, error) { return &CRM{i.Client}, nil })
//	customer, err := crm.Open(ctx, "customer-7")
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

// Driver is a partner's API as an application uses it, for one integration. What more it can do is said by small interfaces of the
// application's own. One that is an io.Closer is closed by [Registry.Close] and when its integration is reloaded.
type Driver interface {
	// Name is the partner's.
	Name() string
	// Check makes a harmless call, to see whether the integration works.
	Check(ctx context.Context) error
}

// Partner is what all integrations of a partner have in common.
type Partner struct {
	// Name names it in errors, events and the registry. It must not be empty.
	Name string
	// BaseURL is where its API is; integrations may have their own.
	BaseURL string
	// Options are the client's: limits, classifier, timeouts. Those of the registry come before them.
	Options []belay.Option
	// Rollout says which version of its adapter an integration gets. The zero value says none; change it by [Factory.SetRollout].
	Rollout Rollout
}

// Settings are what an application keeps for an integration.
type Settings struct {
	// BaseURL is in place of the partner's; empty is that.
	BaseURL string
	// Auth is its credential; nil sends none.
	Auth belay.Authenticator
	// Labels are the application's own. Nil is none.
	Labels map[string]string
	// Disabled switches it off: its calls fail with belay.ErrDisabled. See [Factory.SetDisabled].
	Disabled bool
	// Limits are counted for it alone, beside the partner's. Nil is none.
	Limits []belay.Limit
}

// Integration is what a driver is opened with.
type Integration struct {
	ID     string
	Labels map[string]string
	// Client is the integration's: its base URL and credential; limits, breaker and connections are the partner's.
	Client *belay.Client
	// Version of the adapter, by the partner's Rollout; empty without one.
	Version string
}

// Load returns the settings of an integration. An error is that of Open, and nothing is kept.
type Load func(ctx context.Context, partner, integration string) (Settings, error)

// Registry holds the partners of an application. Make it with [NewRegistry]. It is safe for concurrent use, and has no
// goroutines.
type Registry struct {
	load    Load
	options []belay.Option

	mu       sync.Mutex
	partners map[string]closer
	closed   bool
}

type closer interface{ close() error }

// ErrClosed is a registry that has been closed.
var ErrClosed = errors.New("driver: the registry is closed")

// NewRegistry returns an empty registry. Load is asked when an integration is first opened; the options are for all partners: a
// logger, observers.
func NewRegistry(load Load, options ...belay.Option) (*Registry, error) {
	if load == nil {
		return nil, errors.New("driver: NewRegistry: load is nil")
	}
	return &Registry{load: load, options: options, partners: make(map[string]closer)}, nil
}

// Partners returns the names of those registered, sorted.
func (r *Registry) Partners() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.partners))
}

// Close closes all drivers and clients. Opening is ErrClosed from then on; calls under way end as they would.
func (r *Registry) Close() error {
	r.mu.Lock()
	partners := slices.Collect(maps.Values(r.partners))
	r.closed = true
	r.mu.Unlock()
	var errs []error
	for _, p := range partners {
		errs = append(errs, p.close())
	}
	return errors.Join(errs...)
}

// Factory opens the integrations of a partner. It is safe for concurrent use.
type Factory[D Driver] struct {
	registry *Registry
	partner  Partner
	open     func(context.Context, Integration) (D, error)
	rollout  atomic.Pointer[Rollout]

	mu      sync.Mutex
	client  *belay.Client // of the partner, once an integration was opened
	opened  map[string]D
	closed  bool
	loading map[string]*loading[D]
	// off are the kill switches, by integration. They outlast a reload, as the driver from before it may be in use still.
	off map[string]*atomic.Bool
}

// loading is an integration that somebody opens; done is closed then.
type loading[D any] struct {
	done   chan struct{}
	driver D
	err    error
	gone   bool // who began has gone
	stale  bool // it was changed meanwhile, so its settings are asked for again
}

// Register adds a partner to the registry. Open makes its driver for an integration; it is called once for each, when that is first
// opened, and again after a reload. A name that is empty or taken is an error.
func Register[D Driver](r *Registry, p Partner, open func(context.Context, Integration) (D, error)) (*Factory[D], error) {
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
	f := &Factory[D]{registry: r, partner: p, open: open, opened: make(map[string]D), loading: make(map[string]*loading[D]), off: make(map[string]*atomic.Bool)}
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

// Open returns the driver of an integration, which is made at the first time. Who comes meanwhile waits for that, by their own
// context; an error is everybody's, and the next one tries again.
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
				continue // who was first has gone; that is no reason for the others
			}
			return l.driver, l.err
		case <-ctx.Done():
			return none, context.Cause(ctx)
		}
	}
}

// make opens an integration, again where it was changed meanwhile.
func (f *Factory[D]) make(ctx context.Context, integration string, l *loading[D]) (D, error) {
	l.err = fmt.Errorf("driver: opening %s of %s panicked", integration, f.partner.Name)
	defer func() { // after a panic too
		f.mu.Lock()
		if f.loading[integration] == l {
			delete(f.loading, integration)
		}
		l.gone = ctx.Err() != nil
		f.mu.Unlock()
		close(l.done)
	}()
	for {
		d, err := f.build(ctx, integration)
		if err != nil {
			l.err = fmt.Errorf("driver: opening %s of %s: %w", integration, f.partner.Name, err)
			return l.driver, l.err
		}
		f.mu.Lock()
		stale, closed := l.stale, f.closed
		if l.stale = false; !stale && !closed {
			f.opened[integration] = d
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

func (f *Factory[D]) build(ctx context.Context, integration string) (d D, err error) {
	s, err := f.registry.load(ctx, f.partner.Name, integration)
	if err != nil {
		return d, err
	}
	parent, err := f.Client()
	if err != nil {
		return d, err
	}
	f.mu.Lock()
	off := f.off[integration]
	if off == nil {
		off = new(atomic.Bool)
		f.off[integration] = off
	}
	f.mu.Unlock()
	off.Store(s.Disabled)
	options := []belay.Option{belay.WithIntegration(integration), belay.WithAuth(s.Auth), belay.WithEnabled(func() bool { return !off.Load() })}
	if s.BaseURL != "" {
		options = append(options, belay.WithBaseURL(s.BaseURL))
	}
	if len(s.Limits) > 0 {
		options = append(options, belay.WithRateLimit(s.Limits...))
	}
	client, err := parent.With(options...)
	if err != nil {
		return d, err
	}
	return f.open(ctx, Integration{integration, s.Labels, client, f.rollout.Load().Version(integration)})
}

// Client returns the partner's own client, which all integrations derive from: its limits, breaker and connections. It is made when
// it is first needed.
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

// Reload forgets an integration, so that the next Open asks for its settings anew: after its credential, base URL or version has
// changed. Calls under way, and who holds the old driver, go on with that. The error is the old driver's Close.
func (f *Factory[D]) Reload(integration string) error {
	f.mu.Lock()
	d, open := f.opened[integration]
	delete(f.opened, integration)
	if l := f.loading[integration]; l != nil {
		l.stale = true
	}
	f.mu.Unlock()
	if !open {
		return nil
	}
	return closeDriver(d)
}

// SetDisabled switches an integration off or on, at once, for calls that wait too, and for drivers that were opened before a reload.
// It reports whether it was open. Store it in the settings first: one that is not open, or is just being opened, gets it from there.
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

// SetRollout changes which version integrations get, and reloads those that are open with another.
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

// Integrations returns those that are open, sorted.
func (f *Factory[D]) Integrations() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.opened))
}

func (f *Factory[D]) close() error {
	f.mu.Lock()
	f.closed = true
	open, client := f.opened, f.client
	f.opened, f.client = nil, nil
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
