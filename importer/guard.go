package importer

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"
)

// Version is when a record was as it is.
type Version struct {
	// Partner is the partner's time of the change; zero when it does not say.
	Partner time.Time
	// Ours is when it reached us.
	Ours time.Time
}

// Newer reports whether v overwrites old: the later of the partner's times wins; where they are the same, or one is missing, the later
// of ours. Of two that are the same in both the first stays.
func (v Version) Newer(old Version) bool {
	if !v.Partner.IsZero() && !old.Partner.IsZero() && !v.Partner.Equal(old.Partner) {
		return v.Partner.After(old.Partner)
	}
	return v.Ours.After(old.Ours)
}

// Guard keeps a late event from overwriting a newer record, by the last version of each that was written. It remembers as many
// records as it was made for, those that changed last: keep the version beside the record in your database, and use
// [Version.Newer] in the update's condition, where the process is not alone. It is safe for concurrent use.
type Guard struct {
	most int

	mu      sync.Mutex
	last    map[string]Version
	old     map[string]Version  // the generation before, which goes when last is full
	writing map[string]struct{} // records that somebody is writing
	free    sync.Cond           // fewer of them are
}

// NewGuard returns a Guard that remembers at least that many records. Less than 1 is an error.
func NewGuard(records int) (*Guard, error) {
	if records < 1 {
		return nil, errors.New("importer: NewGuard: records must be at least 1")
	}
	g := &Guard{most: records, last: make(map[string]Version), writing: make(map[string]struct{})}
	g.free.L = &g.mu
	return g, nil
}

// Do calls write when v of the record is newer than what was written last, and remembers v when write returns nil. It returns whether
// write was called, and its error. Writes of one record take turns; a wait for its turn ends with ctx. Make the id from
// the integration too, where they share a Guard: partners number their records alike.
func (g *Guard) Do(ctx context.Context, id string, v Version, write func() error) (called bool, err error) {
	err = g.DoAll(ctx, map[string]Version{id: v}, func(map[string]Version) error {
		called = true
		return write()
	})
	return called, err
}

// DoAll is [Guard.Do] for records that are written together, in one transaction say: write is called once with those that are newer,
// by id, and all of these are remembered or none. It is not called when there are none.
func (g *Guard) DoAll(ctx context.Context, versions map[string]Version, write func(newer map[string]Version) error) error {
	versions = maps.Clone(versions) // which are claimed until they are let go, whatever the caller does to its own
	if err := g.claim(ctx, versions); err != nil {
		return err
	}
	var newer map[string]Version
	written := false
	defer func() { // also when write panics
		g.mu.Lock()
		defer g.mu.Unlock()
		for id := range versions {
			delete(g.writing, id)
		}
		if written {
			g.remember(newer)
		}
		g.free.Broadcast()
	}()
	if newer = g.newer(versions); len(newer) == 0 {
		return nil
	}
	err := write(maps.Clone(newer))
	written = err == nil
	return err
}

// claim waits until nobody writes one of the records, and takes all of them at once.
func (g *Guard) claim(ctx context.Context, versions map[string]Version) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.busy(versions) {
		defer context.AfterFunc(ctx, func() {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.free.Broadcast()
		})()
	}
	for g.busy(versions) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		g.free.Wait()
	}
	for id := range versions {
		g.writing[id] = struct{}{}
	}
	return nil
}

func (g *Guard) busy(versions map[string]Version) bool {
	for id := range versions {
		if _, ok := g.writing[id]; ok {
			return true
		}
	}
	return false
}

func (g *Guard) newer(versions map[string]Version) map[string]Version {
	g.mu.Lock()
	defer g.mu.Unlock()
	newer := make(map[string]Version, len(versions))
	for id, v := range versions {
		have, known := g.last[id]
		if !known {
			have, known = g.old[id]
		}
		if !known || v.Newer(have) {
			newer[id] = v
		}
	}
	return newer
}

// remember is called under the lock.
func (g *Guard) remember(versions map[string]Version) {
	for id, v := range versions {
		if len(g.last) >= g.most {
			g.old, g.last = g.last, make(map[string]Version)
		}
		g.last[id] = v
	}
}
