package belay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
)

// ErrTooManyPages means that a list has more pages than MaxPages allows.
var ErrTooManyPages = errors.New("belay: too many pages")

const (
	mostEmptyPages = 1000 // consecutive
	longestCursor  = 16 << 10
)

// walk is one iteration over the pages of a list.
type walk struct {
	ctx    context.Context
	c      *Client
	path   string
	how    Paginator
	o      pageOptions
	body   map[string]any
	guard  loopGuard
	empty  int // consecutive pages without items
	tally  tally
	scroll string                   // the cursor that has stayed the same, empty if none has; set by whoever fetches, one page after the other
	last   atomic.Pointer[exchange] // of a page that was fetched
}

// method returns the method by which pages are requested.
func (w *walk) method() string {
	if w.o.post {
		return http.MethodPost
	}
	return http.MethodGet
}

// fail returns an error of the walk.
func (w *walk) fail(v Verdict, err error) error { return w.c.fault(w.method(), w.path, v, err) }

// walkPages is Pages without the type parameter. The loop must free each page that it gets.
func walkPages(
	ctx context.Context, c *Client, path string, how Paginator, opts []PageOption,
) iter.Seq2[*fetched, error] {
	return func(yield func(*fetched, error) bool) {
		w, err := newWalk(ctx, c, path, how, opts)
		if err == nil && w.o.start == "" {
			w.o.start = resumeAt(ctx)
		}
		switch {
		case err != nil:
			yield(nil, err)
		case w.o.prefetch == 0:
			w.tally.begin(how, w.o.start)
			w.oneByOne(w.o.start, yield)
		default:
			w.tally.begin(how, w.o.start)
			w.ahead(w.o.start, 1, true, yield)
		}
	}
}

func newWalk(ctx context.Context, c *Client, path string, how Paginator, opts []PageOption) (*walk, error) {
	if c.isNil() {
		return nil, errNilClient()
	}
	w := &walk{ctx: ctx, c: c, path: path, how: how, guard: loopGuard{seed: maphash.MakeSeed()}}
	w.o.backlog = mostBacklog
	for _, opt := range opts {
		if opt != nil {
			opt.applyPage(&w.o)
		}
	}
	err := w.o.err
	switch {
	case err != nil:
	case ctx == nil:
		err = invalid("the context is nil")
	case how == nil:
		err = invalid("the Paginator is nil")
	case absolute(path):
		err = invalid("the path is a URL; begin there by StartAt")
	default:
		if bad := how.Check(); bad != nil {
			err = invalid("%w", bad)
		}
	}
	if err != nil {
		return nil, w.named(err)
	}
	calls := optionsOf(ctx).with(w.o.calls)
	switch {
	case calls.err != nil:
		err = calls.err
	case calls.key != "":
		err = invalid("IdempotencyKey would make all pages one call")
	case calls.into != nil && w.o.prefetch > 0:
		err = invalid("Into cannot be filled by several pages at once (Prefetch)")
	case w.o.form != nil && w.o.body != nil:
		err = invalid("PostForm beside PostBody")
	case w.o.form != nil:
		w.body = make(map[string]any, len(w.o.form))
		for name, values := range w.o.form {
			w.body[name] = values
		}
	case w.o.post:
		if w.body, err = object(w.o.body); err != nil {
			err = invalid("PostBody: %w", err)
		}
	}
	return w, w.named(err)
}

// named adds the method and the path to an error of Belay's own.
func (w *walk) named(err error) error {
	if e, ok := err.(*Error); ok && e.Method == "" {
		return w.fail(e.Verdict, e.Err)
	}
	return err
}

// object returns v as a JSON object. A nil v is an empty object.
func object(v any) (map[string]any, error) {
	out := make(map[string]any)
	if v == nil {
		return out, nil
	}
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(strings.NewReader(string(data)))
	d.UseNumber()
	if err := d.Decode(&out); err != nil || out == nil {
		return nil, errors.New("it is no JSON object")
	}
	return out, nil
}

// clean returns err without the secrets of the last page that was fetched.
func (w *walk) clean(err error) error {
	if x := w.last.Load(); x != nil {
		return x.clean(err)
	}
	return err
}

// tell emits the event of a page that was accepted.
func (w *walk) tell(p *fetched) {
	if len(w.c.set.observers) == 0 {
		return
	}
	route, _, _ := strings.Cut(w.path, "?")
	id := optionsOf(w.ctx).with(w.o.calls).correlation
	e := PageRead{
		Call:   CallInfo{w.c.set.name, w.c.integration, w.method(), route, w.c.labelled(route), id},
		Number: p.number, Items: p.count, Total: p.total,
	}
	for _, o := range w.c.set.observers {
		tell(w.ctx, o, e)
	}
}

// goesOn reports whether to fetch the page after p. The error says why that page must not be fetched.
func (w *walk) goesOn(p *fetched) (bool, error) {
	if p.next == "" {
		return false, nil
	}
	if w.empty++; p.count > 0 {
		w.empty = 0
	}
	switch {
	case w.o.maxPages > 0 && p.number >= w.o.maxPages:
		return false, w.c.dataFault(w.method(), w.path, fmt.Errorf("%w: above %d (MaxPages)", ErrTooManyPages, w.o.maxPages))
	case w.empty >= mostEmptyPages:
		return false, p.broken(fmt.Errorf("%d empty pages in a row", w.empty))
	case p.next == p.cursor && w.scrolls():
	case w.guard.seen(p.cursor, p.next):
		return false, p.broken(errors.New("its next cursor came before"))
	}
	return true, nil
}

// scrolls reports whether a cursor that stays the same moves on with each request.
func (w *walk) scrolls() bool {
	how, ok := w.how.(CursorPages)
	return ok && how.UntilEmpty
}

// oneByOne fetches each page after the loop has handled the page before.
func (w *walk) oneByOne(cursor string, yield func(*fetched, error) bool) {
	for number := 1; ; number++ {
		p, err := w.fetch(w.ctx, cursor, number, w.tally.seen)
		if err == nil {
			err = w.accept(p)
		} else if w.isEnd(cursor, err) {
			return
		}
		if err != nil {
			yield(nil, err)
			return
		}
		if p.absent {
			return
		}
		w.tell(p)
		cursor = p.next
		more, err := w.goesOn(p)
		if !yield(p, nil) {
			return
		}
		if err != nil {
			yield(nil, err)
		}
		if !more || err != nil {
			return
		}
	}
}

// loopGuard detects a cursor that came before, in little memory. It detects a repetition of one of the last 64
// cursors at once, and a loop of any length after some more pages (Brent's algorithm).
type loopGuard struct {
	seed   maphash.Seed
	recent [64]uint64
	n      int
	mark   uint64
	steps  int
	power  int
}

// seen records that next comes after cursor, and reports whether next came before.
func (g *loopGuard) seen(cursor, next string) bool {
	if g.n == 0 {
		g.note(maphash.String(g.seed, cursor))
	}
	h := maphash.String(g.seed, next)
	if slices.Contains(g.recent[:min(g.n, len(g.recent))], h) || h == g.mark {
		return true
	}
	g.note(h)
	return false
}

func (g *loopGuard) note(h uint64) {
	g.recent[g.n%len(g.recent)] = h
	g.n++
	if g.steps >= g.power {
		g.mark, g.power, g.steps = h, 2*g.power+1, 0
	}
	g.steps++
}
