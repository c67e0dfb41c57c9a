package belay

import (
	"container/list"
	"context"
	"fmt"
	"sync"
	"time"
)

// Cache keeps answers for [WithCache] and [WithStaleIfError]. Keys are hashes, of the partner, the integration, the
// credential and the URL. Values hold what partners have answered about customers: protect them as you protect that.
// Its methods are called within calls, so they must be quick. It must be safe for concurrent use. [NewMemoryCache] is
// one.
type Cache interface {
	// Get returns the value of a key. It reports false if there is none, or if it cannot be had. The value is not changed.
	Get(ctx context.Context, key string) ([]byte, bool)
	// Set keeps a value for ttl, and may forget it earlier. The cache must not change it.
	Set(ctx context.Context, key string, value []byte, ttl time.Duration)
	// Delete forgets a key.
	Delete(ctx context.Context, key string)
}

// MemoryCache is a [Cache] in memory. It forgets what was not used for longest. Create it with [NewMemoryCache].
type MemoryCache struct {
	maxBytes   int64
	maxEntries int

	mu      sync.Mutex
	entries map[string]*list.Element // of *cached
	order   *list.List               // the last used first
	bytes   int64
}

type cached struct {
	key   string
	value []byte
	ends  time.Time
}

// perEntry is about what an entry takes beside its key and value.
const perEntry = 200

// NewMemoryCache returns a cache of at most maxBytes and maxEntries. A value of more than an eighth of maxBytes is not
// kept. Zero or negative bounds are errors.
func NewMemoryCache(maxBytes int64, maxEntries int) (*MemoryCache, error) {
	if maxBytes <= 0 || maxEntries <= 0 {
		return nil, invalid("NewMemoryCache: the bounds are %d bytes and %d entries, must be above 0", maxBytes, maxEntries)
	}
	return &MemoryCache{
		maxBytes: maxBytes, maxEntries: maxEntries, entries: make(map[string]*list.Element), order: list.New(),
	}, nil
}

// Get implements [Cache].
func (m *MemoryCache) Get(_ context.Context, key string) ([]byte, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := m.entries[key]
	if at == nil {
		return nil, false
	}
	c := at.Value.(*cached)
	if !time.Now().Before(c.ends) {
		m.remove(at)
		return nil, false
	}
	m.order.MoveToFront(at)
	return c.value, true
}

// Set implements [Cache].
func (m *MemoryCache) Set(_ context.Context, key string, value []byte, ttl time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if at := m.entries[key]; at != nil {
		m.remove(at)
	}
	size := sizeOf(key, value)
	if ttl <= 0 || size > m.maxBytes/8 {
		return
	}
	m.entries[key] = m.order.PushFront(&cached{key, value, time.Now().Add(ttl)})
	m.bytes += size
	for m.bytes > m.maxBytes || len(m.entries) > m.maxEntries {
		m.remove(m.order.Back())
	}
}

// Delete implements [Cache].
func (m *MemoryCache) Delete(_ context.Context, key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if at := m.entries[key]; at != nil {
		m.remove(at)
	}
}

func (m *MemoryCache) remove(at *list.Element) {
	c := m.order.Remove(at).(*cached)
	delete(m.entries, c.key)
	m.bytes -= sizeOf(c.key, c.value)
}

func sizeOf(key string, value []byte) int64 { return int64(len(key)+len(value)) + perEntry }

// Format prints the size, because the values are data of customers.
func (m *MemoryCache) Format(f fmt.State, _ rune) {
	if m == nil || m.order == nil {
		_, _ = fmt.Fprint(f, "belay.MemoryCache(none)")
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	_, _ = fmt.Fprintf(f, "belay.MemoryCache(%d entries, %d bytes)", len(m.entries), m.bytes)
}
