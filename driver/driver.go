// Package driver wraps partners' APIs. It opens one client for each partner and one for each customer's
// integration, on first use. It rolls out new versions of an adapter step by step, and has types for fields
// that a partner sends in several JSON types.
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
	"maps"
	"slices"
	"sync"

	"github.com/belay-go/belay"
)

// Driver is a partner's API as an application uses it, for one integration. See [Abilities] for what it may be besides.
// A driver that is an io.Closer is closed by [Registry.Close], and by the reload of its integration.
type Driver interface {
	// Name returns the partner's name.
	Name() string
	// Check makes a harmless call, to test whether the integration works.
	Check(ctx context.Context) error
}

// Partner holds the settings that all integrations of a partner share.
type Partner struct {
	// Name is the partner's name in errors, events and the registry. It must not be empty.
	Name string
	// BaseURL is the base URL of the partner's API; an integration may have its own. It must not be empty.
	BaseURL string
	// Options configure the partner's client: limits, classifier, timeouts. The options of the registry come
	// before them.
	Options []belay.Option
	// CustomerLimits apply to each integration alone, in addition to those of Options, which all of them share. Nil means
	// none. Settings.Limits of an integration replace them.
	CustomerLimits []belay.Limit
	// Rollout decides the version of the adapter for each integration. The zero value means no version;
	// change it with [Factory.SetRollout].
	Rollout Rollout
}

// Settings are an application's stored settings of an integration.
type Settings struct {
	// BaseURL replaces the partner's base URL; empty means the partner's.
	BaseURL string
	// Auth authenticates the integration's calls; nil sends no credential.
	Auth belay.Authenticator
	// Labels are names and values of the application, for its own use. Nil means none.
	Labels map[string]string
	// Disabled switches the integration off: its calls fail with belay.ErrDisabled. See
	// [Factory.SetDisabled].
	Disabled bool
	// Limits apply to this integration alone, in addition to the partner's limits. Nil means those of
	// Partner.CustomerLimits; to have none, make it empty and not nil.
	Limits []belay.Limit
}

// Integration holds the values with which a driver is opened.
type Integration struct {
	ID     string
	Labels map[string]string
	// Client is the integration's client, with its own base URL and credential. It shares the partner's
	// limits, breaker and connections.
	Client *belay.Client
	// Version is the version of the adapter, as the partner's Rollout decides; empty without a Rollout.
	Version string
}

// Load returns the settings of an integration. [Factory.Open] returns its error, and keeps nothing.
type Load func(ctx context.Context, partner, integration string) (Settings, error)

// Registry holds the partners of an application. Create it with [NewRegistry]. It is safe for concurrent use,
// and starts no goroutines.
type Registry struct {
	load    Load
	options []belay.Option

	mu       sync.Mutex
	partners map[string]closer
	closed   bool
}

type closer interface {
	close() error
	clients() (partner *belay.Client, integrations []*belay.Client)
	state(integration string) (version string, open, off bool)
}

// ErrClosed is the error of a closed registry.
var ErrClosed = errors.New("driver: the registry is closed")

// NewRegistry returns an empty registry. It calls load when an integration is first opened, and again after a
// reload; a nil load is an error. The options apply to all partners: a logger or observers, for example.
func NewRegistry(load Load, options ...belay.Option) (*Registry, error) {
	if load == nil {
		return nil, errors.New("driver: NewRegistry: load is nil")
	}
	return &Registry{load: load, options: options, partners: make(map[string]closer)}, nil
}

// Partners returns the names of the registered partners, sorted.
func (r *Registry) Partners() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.partners))
}

// Close closes all drivers and clients. From then on, opening an integration returns ErrClosed. Calls in
// progress end as they would have.
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
