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

// Change is the difference that a full pass finds in a record.
type Change uint8

const (
	// Same means that the record was there before, with the same content.
	Same Change = iota
	// Added means that the record was not there before.
	Added
	// Updated means that the record was there before, with another content.
	Updated
)

// String returns "same", "added" or "updated".
func (c Change) String() string { return [...]string{"same", "added", "updated"}[min(c, Updated)] }

// Changes finds the records that were added, updated and deleted since the last complete pass over a list,
// for partners that do not report changes. It holds 16 bytes and the ID of each record. Create it with
// [NewChanges]; it supports one pass at a time.
type Changes[Rec any] struct {
	id   func(Rec) string
	hash func(Rec) ([]byte, error)

	known map[string]sum // of the last complete pass
	now   map[string]sum // of the present pass
}

type sum [16]byte

// NewChanges returns a Changes that knows no record. The function id returns the ID of a record, and must not
// be nil; an empty ID is an error of [Changes.See]. The function hash returns bytes that change when a record
// does; nil means the record's JSON.
func NewChanges[Rec any](id func(Rec) string, hash func(Rec) ([]byte, error)) (*Changes[Rec], error) {
	if id == nil {
		return nil, errors.New("importer: NewChanges: id is nil")
	}
	if hash == nil {
		hash = func(rec Rec) ([]byte, error) { return json.Marshal(rec) }
	}
	return &Changes[Rec]{id: id, hash: hash, known: make(map[string]sum)}, nil
}

// Begin begins a pass, and discards a pass that was not completed.
func (c *Changes[Rec]) Begin() { c.now = make(map[string]sum, len(c.known)) }

// See compares a record of the pass with the last complete pass. A record that comes twice in a pass, because
// pages shift, is Same the second time, unless it differs.
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

// Complete ends a pass over the whole list. It returns the IDs that were there before and are gone, sorted.
// Call it only after the whole list: after a part of it, Complete would report the remaining records as
// deleted.
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

// MarshalJSON returns the state of the last complete pass, to store it between processes.
func (c *Changes[Rec]) MarshalJSON() ([]byte, error) {
	out := make(map[string][]byte, len(c.known))
	for id, s := range c.known {
		out[id] = s[:]
	}
	return json.Marshal(out)
}

// UnmarshalJSON restores the state that MarshalJSON returned, and discards a pass in progress.
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

// Full runs a job over the whole list, saves the added and updated records, and then calls deleted with the
// IDs of the records that are gone. It calls deleted only after a complete pass, only if no record was
// rejected, because a rejected record may still exist, and only if no more than Job.DeleteLimit are gone: a list
// that is suddenly empty deletes nothing. It
// calls deleted before the pass counts as complete: after an error of deleted, the pass must be done again.
// The pages begin at the first. A pass that broke off begins again there, so its batches have no cursor. A pass whose
// cursor expires ([belay.ErrCursorExpired]) ranges over the pages again by itself, three times at most.
func Full[Raw, Rec any](
	ctx context.Context, j Job[Raw, Rec], c *Changes[Rec], pages iter.Seq2[belay.Page[Raw], error],
	deleted func(ctx context.Context, ids []string) error,
) (stats Stats, err error) {
	err = errPanicked
	defer func() { j.ended(ctx, &stats, err) }()
	if c == nil || c.id == nil {
		return Stats{}, errors.New("importer: Full: the Changes were not made by NewChanges")
	}
	c.Begin()
	if save := j.Save; save != nil {
		j.Save = func(ctx context.Context, b Batch[Rec]) error {
			b.Cursor = "" // a partial pass cannot be continued: its records are not stored in c
			return save(ctx, b)
		}
	}
	if pages != nil {
		list := pages
		pages = againWhenExpired(func(bool) iter.Seq2[belay.Page[Raw], error] { return list })
	}
	stats, err = j.run(ctx, pages, func(rec Rec) (bool, Change, error) {
		change, err := c.See(rec)
		return err == nil && change == Same, change, err
	}, nil, nil)
	stats.Cursor = ""
	if err != nil || stats.Rejected > 0 {
		return stats, err
	}
	was := maps.Clone(c.known)
	ids := c.Complete()
	limit := cmp.Or(j.DeleteLimit, 0.5)
	if many := len(ids) > 20 && float64(len(ids)) > limit*float64(len(was)); many ||
		limit < 1 && len(ids) > 0 && 10*len(ids) >= 9*len(was) {
		c.known = was
		return stats, fmt.Errorf("%w: %d of %d (Job.DeleteLimit)", ErrTooManyDeletes, len(ids), len(was))
	}
	if len(ids) > 0 && deleted != nil {
		if err := deleted(ctx, ids); err != nil {
			c.known = was
			return stats, fmt.Errorf("importer: deleting what is gone: %w", err)
		}
	}
	stats.Deleted = len(ids)
	if j.ID != nil {
		for _, id := range ids {
			j.recordOf(ctx, id, "deleted", nil)
		}
	}
	return stats, nil
}
