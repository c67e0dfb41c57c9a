package inbox

import (
	"context"
	"crypto/sha256"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"
)

const (
	memoryIDs   = 100_000
	memoryDays  = 7
	memoryBytes = 64 << 20
)

// Memory is a [Store] in memory, for development and tests: its events are lost when the process ends, and
// partners do not send them again. It holds at most 64 MiB of events, dead letters included. The oldest dead
// letters are dropped first; after that it is full. It remembers the last 100,000 IDs, for seven days.
type Memory struct {
	mu          sync.Mutex
	last        uint64
	items       map[uint64]*Item
	deadLetters []uint64 // Seqs of present and former dead letters, oldest first
	bytes       int
	deadBytes   int // the part of bytes that dead letters take
	known       map[[sha256.Size]byte]struct{}
	order       []knownID
}

type knownID struct {
	key [sha256.Size]byte
	at  time.Time
}

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{items: make(map[uint64]*Item), known: make(map[[sha256.Size]byte]struct{})}
}

// Durable returns false.
func (m *Memory) Durable() bool { return false }

// Add implements [Store].
func (m *Memory) Add(_ context.Context, items []*Item) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget(time.Now())
	need := 0
	fresh := make(map[[sha256.Size]byte]*Item, len(items))
	for _, it := range items {
		it.Seq = 0
		key := it.DedupeKey()
		_, known := m.known[key]
		if _, twice := fresh[key]; !known && !twice {
			fresh[key] = it
			need += it.size()
		}
	}
	if need > 0 && m.bytes-m.deadBytes+need > memoryBytes {
		return fmt.Errorf("%w: %d bytes are kept in memory", ErrFull, m.bytes)
	}
	for m.bytes+need > memoryBytes && len(m.deadLetters) > 0 {
		if it := m.items[m.deadLetters[0]]; it != nil && it.State != Pending {
			m.drop(it)
		}
		m.deadLetters = m.deadLetters[1:]
	}
	for _, it := range items {
		key := it.DedupeKey()
		if fresh[key] != it {
			continue
		}
		m.last++
		it.Seq = m.last
		kept := *it
		m.items[it.Seq] = &kept
		m.count(&kept, 1)
		m.known[key] = struct{}{}
		m.order = append(m.order, knownID{key, it.Received})
	}
	return nil
}

// Known implements [Store].
func (m *Memory) Known(_ context.Context, it *Item) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, known := m.known[it.DedupeKey()]
	return known, nil
}

// forget drops IDs that are too many or too old.
func (m *Memory) forget(now time.Time) {
	n := 0
	for n < len(m.order) && (len(m.order)-n > memoryIDs || now.Sub(m.order[n].at) > memoryDays*24*time.Hour) {
		delete(m.known, m.order[n].key)
		n++
	}
	if m.order = m.order[n:]; n > 0 && cap(m.order) > 2*memoryIDs {
		m.order = slices.Clone(m.order)
	}
}

// count adds the size of an item to the totals, or subtracts it if sign is -1.
func (m *Memory) count(it *Item, sign int) {
	m.bytes += sign * it.size()
	if it.State != Pending {
		m.deadBytes += sign * it.size()
	}
}

func (m *Memory) drop(it *Item) {
	m.count(it, -1)
	delete(m.items, it.Seq)
}

// Get implements [Store].
func (m *Memory) Get(_ context.Context, seq uint64) (Item, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	it := m.items[seq]
	if it == nil {
		return Item{}, fmt.Errorf("%w: %d", ErrNoItem, seq)
	}
	return *it, nil
}

// Settle implements [Store].
func (m *Memory) Settle(_ context.Context, changes []Change) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range changes {
		it := m.items[c.Seq]
		switch {
		case it == nil:
		case c.State == Handled:
			m.drop(it)
		default:
			if c.State != Pending && it.State == Pending {
				if len(m.deadLetters) > 2*len(m.items) { // replayed items may be listed twice
					m.deadLetters = slices.DeleteFunc(m.deadLetters, func(seq uint64) bool {
						return seq == c.Seq || m.items[seq] == nil
					})
				}
				m.deadLetters = append(m.deadLetters, c.Seq)
			}
			m.count(it, -1)
			it.State, it.Attempts, it.Due, it.Error = c.State, c.Attempts, c.Due, c.Error
			if c.Failures != nil {
				it.Failures = c.Failures
			}
			m.count(it, 1)
		}
	}
	return nil
}

// Items implements [Store].
func (m *Memory) Items(context.Context) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		m.mu.Lock()
		seqs := slices.Sorted(maps.Keys(m.items))
		m.mu.Unlock()
		for _, seq := range seqs {
			m.mu.Lock()
			it := m.items[seq]
			var got Item
			if it != nil {
				got = *it
			}
			m.mu.Unlock()
			if it != nil && !yield(got, nil) {
				return
			}
		}
	}
}

// size returns the approximate memory of an item in bytes.
func (it *Item) size() int {
	n := 0
	for _, f := range it.Failures {
		n += 64 + len(f.Error) + len(f.Stack)
	}
	return n + 256 + len(it.Body) + len(it.ID) + len(it.Delivery) + len(it.Type) + len(it.Key) +
		len(it.Partner) + len(it.Integration) + len(it.Error) + headerBytes(it.Header)
}
