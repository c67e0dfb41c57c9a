package driver

import (
	"maps"
	"slices"

	"github.com/belay-go/belay"
)

// Health returns the health of all partners that were called, sorted by name, each with that of its open integrations
// behind it. An integration whose driver was opened and makes no call is HealthUnknown.
func (r *Registry) Health() []belay.Health {
	r.mu.Lock()
	partners := maps.Clone(r.partners)
	r.mu.Unlock()
	var all []belay.Health
	for _, name := range slices.Sorted(maps.Keys(partners)) {
		partner, integrations := partners[name].clients()
		if partner != nil {
			all = append(all, partner.Health())
		}
		for _, c := range integrations {
			all = append(all, c.Health())
		}
	}
	return all
}

func (f *Factory[D]) clients() (partner *belay.Client, integrations []*belay.Client) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, integration := range slices.Sorted(maps.Keys(f.ofOpen)) {
		integrations = append(integrations, f.ofOpen[integration])
	}
	return f.client, integrations
}
