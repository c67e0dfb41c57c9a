package importer

import (
	"errors"
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

// Guard keeps a late event from overwriting a newer record, by the last version of each that it let through. It remembers as many
// records as it was made for, those that changed last: keep the version beside the record in your database, and use
// [Version.Newer] in the update's condition, where the process is not alone. It is safe for concurrent use.
type Guard struct {
	most int

	mu   sync.Mutex
	last map[string]Version
	old  map[string]Version // the generation before, which goes when last is full
}

// NewGuard returns a Guard that remembers at least that many records. Less than 1 is an error.
func NewGuard(records int) (*Guard, error) {
	if records < 1 {
		return nil, errors.New("importer: NewGuard: records must be at least 1")
	}
	return &Guard{most: records, last: make(map[string]Version)}, nil
}

// Accept reports whether v of the record is newer than what was accepted last, and remembers it then.
func (g *Guard) Accept(id string, v Version) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	have, known := g.last[id]
	if !known {
		have, known = g.old[id]
	}
	if known && !v.Newer(have) {
		return false
	}
	if len(g.last) >= g.most {
		g.old, g.last = g.last, make(map[string]Version)
	}
	g.last[id] = v
	return true
}
