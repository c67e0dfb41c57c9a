package driver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
)

// Stored is an integration that the application has stored.
type Stored struct {
	// Company is whose it is, in the application's terms. Partner and Integration are as in Open.
	Company, Partner, Integration string
	// Disabled says that its calls are switched off, as in [Settings].
	Disabled bool
}

// List returns all integrations that the application has stored, of all partners.
type List func(ctx context.Context) ([]Stored, error)

// Active is an integration that is in use.
type Active struct {
	Partner, Integration string
	// Version is the version of the adapter that it has or, if it is not open, would have.
	Version string
	// Open says that its driver is open in this process.
	Open bool
}

// Active returns the integrations in use by company, opened or not, sorted by partner and integration: those that list
// returns, without those that are disabled, there or by [Factory.SetDisabled], and those of partners that are not
// registered. A nil list is an error, and so is one without a partner or an integration.
func (r *Registry) Active(ctx context.Context, list List) (map[string][]Active, error) {
	if list == nil {
		return nil, errors.New("driver: Active: the list is nil")
	}
	stored, err := list(ctx)
	if err != nil {
		return nil, fmt.Errorf("driver: Active: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, ErrClosed
	}
	all := make(map[string][]Active)
	for _, s := range stored {
		if s.Partner == "" || s.Integration == "" {
			return nil, fmt.Errorf("driver: Active: %+v: the partner or the integration is empty", s)
		}
		p := r.partners[s.Partner]
		if p == nil || s.Disabled {
			continue
		}
		a := Active{Partner: s.Partner, Integration: s.Integration}
		var off bool
		if a.Version, a.Open, off = p.state(s.Integration); !off {
			all[s.Company] = append(all[s.Company], a)
		}
	}
	for _, of := range all {
		slices.SortFunc(of, func(a, b Active) int {
			return cmp.Or(cmp.Compare(a.Partner, b.Partner), cmp.Compare(a.Integration, b.Integration))
		})
	}
	return all, nil
}

func (f *Factory[D]) state(integration string) (version string, open, off bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, open = f.opened[integration]
	disabled := f.off[integration]
	return f.rollout.Load().Version(integration), open, disabled != nil && disabled.Load()
}
