package belay

import (
	"context"
	"errors"
	"sync"

	"github.com/belay-go/belay/internal/errkit"
)

// future is a page that is being fetched.
type future struct {
	cursor string
	done   chan struct{} // closed when page, err and panicked have their values
	page   *fetched
	err    error

	panicked any // the value of a panic in the fetch, nil if there was none
}

// size returns the bytes of the page, 0 if there is none.
func (f *future) size() int64 {
	if f.page == nil {
		return 0
	}
	return f.page.size
}

func (f *future) free() {
	if f.page != nil {
		f.page.free()
	}
}

// errFetchEnded is the error of a page whose fetch ended its goroutine, in a function of the user's.
var errFetchEnded = errors.New("belay: the fetch of a page ended its goroutine")

// ahead yields the pages from the cursor start on, and fetches further pages while the user's loop handles
// one. With sideBySide it fetches several pages at the same time, if the paginator can compute where a page
// begins; otherwise one after the other.
func (w *walk) ahead(start string, number int, sideBySide bool, yield func(*fetched, error) bool) {
	ctx, cancel := context.WithCancel(w.ctx)
	n := w.o.prefetch
	room, queue := make(chan struct{}, n), make(chan *future, n)
	var fetchers sync.WaitGroup
	before, held := w.tally.seen, newBacklog(w.o.backlog)
	fetchers.Go(func() { w.produce(ctx, start, number, before, sideBySide, held, room, queue, &fetchers) })
	stop := func() {
		cancel()
		fetchers.Wait()
		for f := range queue {
			f.free()
		}
	}
	defer stop() // also if the user's loop panics
	goesOn := true
	for f := range queue {
		<-f.done
		<-room
		held.taken(f.size())
		if f.panicked != nil { // a function of the user's panicked, such as the Paginator's
			panic(f.panicked)
		}
		if f.cursor != start { // the computed cursor is wrong: pages do not have the requested size
			stop()
			f.free()
			w.ahead(start, number, false, yield)
			return
		}
		err := f.err
		if err == nil {
			err = w.accept(f.page)
		} else if w.isEnd(f.cursor, err) {
			return
		}
		if err != nil {
			yield(nil, err)
			return
		}
		if f.page.absent {
			return
		}
		w.tell(f.page)
		start, number = f.page.next, number+1
		goesOn, err = w.goesOn(f.page)
		if !yield(f.page, nil) {
			return
		}
		if err != nil {
			yield(nil, err)
		}
		if !goesOn || err != nil {
			return
		}
	}
	switch {
	case w.ctx.Err() != nil:
		yield(nil, w.fail(Verdict{Class: ClassCanceled, Scope: ScopeCall}, errkit.Context(w.ctx)))
	case goesOn: // the list is longer than its total says
		w.ahead(start, number, false, yield)
	}
}

// produce fetches the pages in order, while room has space, and sends each of them to queue when its fetch
// begins. It closes queue after the last one.
func (w *walk) produce(
	ctx context.Context, cursor string, number, before int, sideBySide bool,
	held *backlog, room chan struct{}, queue chan *future, fetchers *sync.WaitGroup,
) {
	defer close(queue)
	var after func(cursor string, total int) (string, bool)
	// Only these types themselves: a type that embeds one may have methods that are not safe for concurrent use.
	switch how := w.how.(type) {
	case OffsetPages:
		after = how.after
	case NumberPages:
		after = how.after
	}
	over := make(chan struct{}) // closed after the last page, an error or a panic
	var once sync.Once
	total := 0
	for first := true; ; first, number = false, number+1 {
		if w.o.maxPages > 0 && number > w.o.maxPages {
			return
		}
		select {
		case room <- struct{}{}:
		case <-over:
			return
		case <-ctx.Done():
			return
		}
		for !held.begin() {
			select {
			case <-held.less:
			case <-over:
				return
			case <-ctx.Done():
				return
			}
		}
		f := &future{cursor: cursor, done: make(chan struct{})}
		queue <- f
		get := func(at string, number, before int) (next string, count, total int) {
			defer close(f.done)
			defer func() { held.came(f.size()) }()
			defer func() {
				if f.panicked = recover(); f.panicked != nil || f.err != nil {
					once.Do(func() { close(over) })
				}
			}()
			f.err = errFetchEnded
			f.page, f.err = w.fetch(ctx, at, number, before)
			if f.err == nil {
				next, count, total = f.page.next, f.page.count, f.page.total
			}
			if next == "" {
				once.Do(func() { close(over) })
			}
			return next, count, total
		}
		if first || after == nil || !sideBySide {
			next, count, told := get(cursor, number, before)
			if next == "" {
				return
			}
			if before >= 0 {
				before += count
			}
			cursor, total = next, max(total, told)
			continue
		}
		at, number := cursor, number
		fetchers.Go(func() { get(at, number, -1) })
		next, ok := after(cursor, total)
		if !ok {
			return
		}
		cursor = next
	}
}
