package importer

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"
)

// Version is the time of a record's state, by two clocks.
type Version struct {
	// Partner is the partner's time of the change; zero if the partner does not state it.
	Partner time.Time
	// Ours is the time at which the change reached us.
	Ours time.Time
}

// Newer reports whether v overwrites old: the later of the partner's times wins. If they are equal, or one is
// missing, the later of our times wins. If both times are equal, old stays.
func (v Version) Newer(old Version) bool {
	if !v.Partner.IsZero() && !old.Partner.IsZero() && !v.Partner.Equal(old.Partner) {
		return v.Partner.After(old.Partner)
	}
	return v.Ours.After(old.Ours)
}

// Guard keeps a late event from overwriting a newer record. It compares the event with the version of the
// record that was written last. It remembers the number of records that it was made for, those that changed
// last: if the process is not alone, store the version beside the record in your database, and use
// [Version.Newer] in the condition of the update. It is safe for concurrent use.
type Guard struct {
	most int

	mu      sync.Mutex
	last    map[string]Version
	old     map[string]Version  // the previous generation, dropped when last is full
	writing map[string]struct{} // records that are being written
	free    sync.Cond           // signals a change of writing, or the end of a context
}

// NewGuard returns a Guard that remembers at least the given number of records. Less than 1 is an error.
func NewGuard(records int) (*Guard, error) {
	if records < 1 {
		return nil, errors.New("importer: NewGuard: records must be at least 1")
	}
	g := &Guard{most: records, last: make(map[string]Version), writing: make(map[string]struct{})}
	g.free.L = &g.mu
	return g, nil
}

// Do calls write if v is newer than the version of the record that was written last, and remembers v if write
// returns nil. It returns whether write was called, and its error. Writes of one record take turns; the wait
// for a turn ends with ctx. If integrations share a Guard, make the integration a part of the id, because
// different partners use the same numbers.
func (g *Guard) Do(ctx context.Context, id string, v Version, write func() error) (called bool, err error) {
	err = g.DoAll(ctx, map[string]Version{id: v}, func(map[string]Version) error {
		called = true
		return write()
	})
	return called, err
}

// DoAll is [Guard.Do] for records that are written together, in one transaction for example. It calls write
// once with the versions that are newer, by ID, and remembers all of them or none. It does not call write if
// there are none.
func (g *Guard) DoAll(
	ctx context.Context, versions map[string]Version, write func(newer map[string]Version) error,
) error {
	// The copy holds the claimed records until the release, even if the caller changes its map.
	versions = maps.Clone(versions)
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

// claim waits until none of the records is being written, and claims all of them at once.
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

// remember stores the written versions. The caller holds g.mu.
func (g *Guard) remember(versions map[string]Version) {
	for id, v := range versions {
		if len(g.last) >= g.most {
			g.old, g.last = g.last, make(map[string]Version)
		}
		g.last[id] = v
	}
}
