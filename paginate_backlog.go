package belay

import "sync"

// mostBacklog is the number of bytes of the pages that are fetched ahead, and of those that are being fetched as far as
// the size of the last one tells.
const mostBacklog = 64 << 20

// backlog bounds the bytes of the pages that have been, or are being, fetched ahead.
type backlog struct {
	mu       sync.Mutex
	fetching int   // pages
	waiting  int   // pages that are there
	held     int64 // bytes of them
	last     int64 // bytes of the page that came last
	most     int64 // bytes
	less     chan struct{}
}

func newBacklog(most int64) *backlog { return &backlog{most: most, less: make(chan struct{}, 1)} }

// begin reports whether there is room for another page, and counts it as being fetched. There always is for the first
// one. If there is not, wait for less.
func (b *backlog) begin() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fetching+b.waiting > 0 && b.held+int64(b.fetching+1)*b.last > b.most {
		return false
	}
	b.fetching++
	return true
}

// came counts a page of so many bytes, which no longer is being fetched.
func (b *backlog) came(size int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fetching--
	b.waiting++
	b.held += size
	b.last = size
	b.signal()
}

// taken counts a page out, which the loop handles now.
func (b *backlog) taken(size int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting--
	b.held -= size
	b.signal()
}

func (b *backlog) signal() {
	select {
	case b.less <- struct{}{}:
	default:
	}
}
