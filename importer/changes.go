package importer

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/belay-go/belay"
)

// Change is what a full pass finds of a record.
type Change uint8

const (
	// Same was there before, with the same content.
	Same Change = iota
	// Added was not there before.
	Added
	// Updated was there with another content.
	Updated
)

// String returns "same", "added" or "updated".
func (c Change) String() string { return [...]string{"same", "added", "updated"}[min(c, Updated)] }

// Changes tells, in full passes over a list, what was added, updated and deleted since the last complete one: for partners that do not
// say. It holds 16 bytes and the id of each record. Make it with [NewChanges]; it is for one pass at a time.
type Changes[Rec any] struct {
	id   func(Rec) string
	hash func(Rec) ([]byte, error)

	known map[string]sum // of the last complete pass
	now   map[string]sum // of this one
}

type sum [16]byte

// NewChanges returns one that knows of no record. Id names a record; one that is empty is an error of [Changes.See]. Hash returns
// what changes when a record does; nil takes its JSON.
func NewChanges[Rec any](id func(Rec) string, hash func(Rec) ([]byte, error)) (*Changes[Rec], error) {
	if id == nil {
		return nil, errors.New("importer: NewChanges: id is nil")
	}
	if hash == nil {
		hash = func(rec Rec) ([]byte, error) { return json.Marshal(rec) }
	}
	return &Changes[Rec]{id: id, hash: hash, known: make(map[string]sum)}, nil
}

// Begin begins a pass, and forgets one that was not completed.
func (c *Changes[Rec]) Begin() { c.now = make(map[string]sum, len(c.known)) }

// See tells what a record of the pass is. A record that comes twice in a pass (pages that shift) is Same the second time, unless it
// differs.
func (c *Changes[Rec]) See(rec Rec) (Change, error) {
	id := c.id(rec)
	if id == "" {
		return Same, errors.New("importer: a record has no id")
	}
	data, err := c.hash(rec)
	if err != nil {
		return Same, fmt.Errorf("importer: hashing the record %q: %w", id, err)
	}
	full := sha256.Sum256(data)
	s := sum(full[:16])
	if c.now == nil {
		c.Begin()
	}
	before, known := c.now[id]
	if !known {
		before, known = c.known[id]
	}
	c.now[id] = s
	switch {
	case !known:
		return Added, nil
	case before != s:
		return Updated, nil
	}
	return Same, nil
}

// Complete ends a pass that has seen the whole list, and returns the ids that were there before and are no more, sorted. Call it
// only then: a pass that broke off would delete what it has not seen.
func (c *Changes[Rec]) Complete() (deleted []string) {
	for id := range c.known {
		if _, there := c.now[id]; !there {
			deleted = append(deleted, id)
		}
	}
	slices.Sort(deleted)
	c.known, c.now = c.now, nil
	if c.known == nil {
		c.known = make(map[string]sum)
	}
	return deleted
}

// MarshalJSON writes what the last complete pass knew, to keep it between processes.
func (c *Changes[Rec]) MarshalJSON() ([]byte, error) {
	out := make(map[string][]byte, len(c.known))
	for id, s := range c.known {
		out[id] = s[:]
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads it back, and begins anew.
func (c *Changes[Rec]) UnmarshalJSON(data []byte) error {
	var in map[string][]byte
	if err := json.Unmarshal(data, &in); err != nil {
		return err
	}
	known := make(map[string]sum, len(in))
	for id, s := range in {
		if len(s) != len(sum{}) {
			return fmt.Errorf("importer: the hash of %q has %d bytes", id, len(s))
		}
		known[id] = sum(s)
	}
	c.known, c.now = known, nil
	return nil
}

// Full runs a job over the whole list, saves what was added and updated, and then calls deleted with the ids that are gone: only
// when the pass was complete, and no record was rejected, which may be there all the same, and not when more than Job.DeleteLimit
// is gone. Deleted is called before the pass
// counts as complete; its error leaves it to be done again. The pages begin at the first: a pass that broke off is begun anew, so there
// is no cursor in its batches.
func Full[Raw, Rec any](ctx context.Context, j Job[Raw, Rec], c *Changes[Rec], pages iter.Seq2[belay.Page[Raw], error], deleted func(ctx context.Context, ids []string) error) (Stats, error) {
	if c == nil || c.id == nil {
		return Stats{}, errors.New("importer: Full: the Changes were not made by NewChanges")
	}
	c.Begin()
	if save := j.Save; save != nil {
		j.Save = func(ctx context.Context, b Batch[Rec]) error {
			b.Cursor = "" // half a pass cannot be gone on with: what it has seen is not kept
			return save(ctx, b)
		}
	}
	stats, err := j.run(ctx, pages, func(rec Rec) (bool, error) {
		change, err := c.See(rec)
		return err == nil && change == Same, err
	}, nil)
	stats.Cursor = ""
	if err != nil || stats.Rejected > 0 {
		return stats, err
	}
	was := maps.Clone(c.known)
	ids := c.Complete()
	if limit := cmp.Or(j.DeleteLimit, 0.5); len(ids) > 20 && float64(len(ids)) > limit*float64(len(was)) {
		c.known = was
		return stats, fmt.Errorf("%w: %d of %d (Job.DeleteLimit)", ErrTooManyDeletes, len(ids), len(was))
	}
	if len(ids) > 0 && deleted != nil {
		if err := deleted(ctx, ids); err != nil {
			c.known = was
			return stats, fmt.Errorf("importer: deleting what is gone: %w", err)
		}
	}
	return stats, nil
}
