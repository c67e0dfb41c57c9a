package importer

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"iter"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/errkit"
)

// Watermarks stores the progress of incremental imports, by key.
type Watermarks interface {
	// Load returns the mark that was saved under key, or nil if there is none.
	Load(ctx context.Context, key string) ([]byte, error)
	// Save replaces the mark under key.
	Save(ctx context.Context, key string, mark []byte) error
}

// Incremental imports the changes since the last run: each run asks for the records that were updated since
// the last watermark minus Lag, and skips the versions that it has had before. Records on the boundary, and
// records that share a time, are neither lost nor imported twice. A record whose transaction commits late at
// the partner is found as long as Lag covers the delay.
type Incremental[Raw, Rec any] struct {
	// Job is the import.
	Job Job[Raw, Rec]
	// Key names the import in Watermarks. It must not be empty if there are Watermarks.
	Key string
	// Watermarks stores the progress of the import. Nil leaves it to [Batch.Mark] alone: pass that back as
	// Mark.
	Watermarks Watermarks
	// Mark is the Mark of the last batch of the last run, if Watermarks is nil. Nil begins with everything.
	Mark []byte
	// Lag is the time by which each run looks back: longer than the partner's longest transaction and the
	// jumps of its clock. Zero means five minutes, negative is an error.
	Lag time.Duration
	// ID returns the ID of a record, and Updated the time at which the partner says that it changed.
	ID      func(Rec) string
	Updated func(Rec) time.Time
	// Pages asks the partner for the records that were updated at since or later. A zero since means
	// everything. The first run goes on where it stopped, if Pages reads one list, with belay.Pages and the
	// context that it gets; otherwise it begins again. A run whose cursor expires ([belay.ErrCursorExpired]) asks for
	// the pages again, and skips what it has had, three times at most.
	Pages func(ctx context.Context, since time.Time) iter.Seq2[belay.Page[Raw], error]
}

const (
	defaultLag = 5 * time.Minute
	mostSeen   = 100_000 // versions of a run before the old ones are pruned
)

// mark is the content of a watermark: the latest time, and the versions within Lag of it.
type mark struct {
	High time.Time         `json:"high"`
	Seen map[string]string `json:"seen,omitempty"` // hash of the content, by time and ID

	// Of a first run that has not ended: where it goes on, and when it began.
	Cursor string    `json:"cursor,omitempty"`
	Began  time.Time `json:"began,omitzero"`
}

// seenKey returns the key of a version: the time of the change and the ID of the record.
func seenKey(id string, at time.Time) string { return at.UTC().Format(time.RFC3339Nano) + " " + id }

func (inc Incremental[Raw, Rec]) check() error {
	var faults errkit.List
	bad := func(wrong bool, format string, args ...any) {
		faults.If(wrong, "importer: Incremental."+format, args...)
	}
	bad(inc.Watermarks != nil && inc.Key == "", "Key is empty")
	bad(inc.Lag < 0, "Lag is %s, must not be negative", inc.Lag)
	bad(inc.ID == nil, "ID is nil")
	bad(inc.Updated == nil, "Updated is nil")
	bad(inc.Pages == nil, "Pages is nil")
	return faults.Err()
}

// Run makes one run. The watermark moves only after a complete run, first in the Mark of the last batch and
// then in Watermarks: after an error the next run begins where this one did. The first run, which reads everything,
// stores a checkpoint in the same two places after each batch: after an error the next run goes on there.
func (inc Incremental[Raw, Rec]) Run(ctx context.Context) (stats Stats, err error) {
	err = errPanicked
	defer func() { inc.Job.ended(ctx, &stats, err) }()
	if err := inc.check(); err != nil {
		return Stats{}, err
	}
	if inc.Lag == 0 {
		inc.Lag = defaultLag
	}
	data := inc.Mark
	if inc.Watermarks != nil {
		var err error
		if data, err = inc.Watermarks.Load(ctx, inc.Key); err != nil {
			return Stats{}, fmt.Errorf("importer: loading the watermark %q: %w", inc.Key, err)
		}
	}
	var old mark
	if len(data) > 0 {
		if err := json.Unmarshal(data, &old); err != nil {
			return Stats{}, fmt.Errorf("importer: the watermark %q is malformed: %w", inc.Key, err)
		}
	}
	var since time.Time
	first := old.High.IsZero() || old.Cursor != ""
	if !first {
		since = old.High.Add(-inc.Lag)
	}
	next := mark{High: old.High, Seen: make(map[string]string)}
	began := time.Now()
	pagesCtx, lists := ctx, func() int { return 0 }
	if first {
		if old.Cursor != "" {
			began = old.Began // records that have changed since then may be on pages that were read before that
			inc.Job.Start = old.Cursor
		}
		pagesCtx, lists = belay.ResumeContext(ctx, old.Cursor)
	}
	pages := againWhenExpired(func(again bool) iter.Seq2[belay.Page[Raw], error] {
		if again && first {
			pagesCtx, lists = belay.ResumeContext(ctx, "")
		}
		return inc.Pages(pagesCtx, since)
	})
	limit := mostSeen
	stats, err = inc.Job.run(ctx, pages, func(rec Rec) (bool, Change, error) {
		at := inc.Updated(rec)
		if year := at.UTC().Year(); year < 1 || year > 9999 {
			return false, Same, fmt.Errorf("importer: it changed in the year %d", year)
		}
		// High is at most the start of this run. A record that changes while the run reads may be on a page
		// that was read already, so the next run must look from this start. And a record from the future must
		// not hide all others.
		if at.After(next.High) {
			if next.High = at; at.After(began) {
				next.High = began
			}
		}
		key, version := seenKey(inc.ID(rec), at), versionOf(rec)
		_, again := next.Seen[key]
		again = again && next.Seen[key] == version
		next.Seen[key] = version
		if len(next.Seen) >= limit {
			next.prune(inc.Lag)
			limit = max(mostSeen, 2*len(next.Seen))
		}
		return again || old.Seen[key] == version, Same, nil
	}, func(cursor string, done bool) ([]byte, error) {
		if !done && (!first || cursor == "" || lists() != 1) {
			return nil, nil
		}
		for key, version := range old.Seen { // a later run may get versions that this run did not get
			if _, there := next.Seen[key]; !there {
				next.Seen[key] = version
			}
		}
		next.prune(inc.Lag)
		if next.Cursor, next.Began = "", (time.Time{}); !done {
			next.Cursor, next.Began = cursor, began
		}
		return json.Marshal(next)
	}, func(ctx context.Context, saved []byte) error {
		if inc.Watermarks == nil || saved == nil {
			return nil
		}
		if err := inc.Watermarks.Save(ctx, inc.Key, saved); err != nil {
			return fmt.Errorf("importer: saving the watermark %q: %w", inc.Key, err)
		}
		return nil
	})
	return stats, err
}

// prune removes versions that the next run does not ask for.
func (m *mark) prune(lag time.Duration) {
	since := m.High.Add(-lag)
	for key := range m.Seen {
		at, err := time.Parse(time.RFC3339Nano, key[:max(0, indexSpace(key))])
		if err != nil || at.Before(since) {
			delete(m.Seen, key)
		}
	}
}

func indexSpace(s string) int {
	for i := range len(s) {
		if s[i] == ' ' {
			return i
		}
	}
	return -1
}

// versionOf returns a hash of a record. It tells apart two contents that have the same ID and time.
func versionOf(rec any) string {
	data, err := json.Marshal(rec)
	if err != nil {
		data = fmt.Appendf(nil, "%+v", rec)
	}
	full := sha256.Sum256(data)
	return string(fmt.Appendf(nil, "%x", full[:8]))
}
