package belay

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/belay-go/belay/internal/charset"
	"github.com/belay-go/belay/internal/errkit"
	"github.com/belay-go/belay/internal/jsonscan"
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

// fetched is a page as it was received. It has memory of its own until free is called.
type fetched struct {
	walk         *walk
	number       int // from 1
	doc          jsonscan.Doc
	has          bool // the page has an array of items
	notUTF8      bool // the text of the page is not UTF-8
	buffer       *buffer
	call         *exchange // the exchange that fetched the page
	header       http.Header
	cursor, next string
	count, total int
	before       int    // the number of items before the page, -1 if it is not known
	told         bool   // the page tells the total
	objects      bool   // the items are objects
	ids          uint64 // of the ids of the first and the last item, 0 if they have none
	size         int64  // bytes of the body
	absent       bool   // the answer says that the list ended before this page
}

func (p *fetched) free() {
	if p.buffer != nil && p.buffer.Cap() <= 1<<20 {
		buffers.Put(p.buffer)
	}
	p.buffer, p.doc, p.has = nil, jsonscan.Doc{}, false
}

// broken returns the error for a page without the promised form. Nil stays nil.
func (p *fetched) broken(err error) error {
	if err == nil {
		return nil
	}
	if p.call != nil {
		err = p.call.clean(err)
	}
	return p.walk.c.dataFault(p.walk.method(), p.walk.path, fmt.Errorf("page %d: %w", p.number, err))
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

// fetch fetches the page at cursor. The number of items before it is -1 if it is not known.
func (w *walk) fetch(ctx context.Context, cursor string, number, before int) (*fetched, error) {
	p := &fetched{walk: w, number: number, cursor: cursor, before: before}
	r := &PageRequest{Cursor: cursor, flat: w.o.form != nil}
	target := w.path
	var content any
	if w.o.post {
		r.Body = maps.Clone(w.body)
	}
	if err := w.how.Ask(r); err != nil {
		return nil, w.named(invalid("page %d: %w", number, err))
	}
	switch {
	case w.o.form != nil:
		content = form(r.Body)
	case w.o.post:
		content = r.Body
	}
	if r.URL != "" {
		target = r.URL
		if err := w.c.checkLink(target); err != nil {
			return nil, p.broken(w.clean(fmt.Errorf("the next link %w", err)))
		}
	}
	route, _, _ := strings.Cut(w.path, "?")
	opts := append(slices.Clip(w.o.calls), callOption(func(o *callOptions) {
		if w.o.post {
			o.safe, o.readOnly = true, true
		}
		o.once = cursor != "" && cursor == w.scroll
		if o.route = route; r.URL != "" { // the URL holds all parameters already
			query := url.Values(nil)
			if r.KeepQuery {
				query = o.missing(w.path, r.URL)
			}
			o.values, o.query, o.literal = nil, query, true
		}
		o.uncached = true
		if o.query == nil {
			o.query = r.Query
			return
		}
		maps.Copy(o.query, r.Query)
	}))
	x, resp, err := w.c.open(ctx, w.method(), target, content, opts, func(data []byte, resp *http.Response) error {
		if err := p.read(w.how, data, resp); err != nil {
			return fmt.Errorf("page %d: %w", number, err)
		}
		return nil
	})
	if err != nil {
		return w.unfetched(p, err)
	}
	p.header = resp.Header
	w.last.Store(x)
	p.call, p.next = x, x.unsigned(p.next)
	p.buffer, x.buffer, x.data = x.buffer, nil, nil
	_ = resp.Body.Close()
	if p.next != "" && p.next == cursor && w.scrolls() {
		if w.scroll != cursor && x.sends > 1 {
			p.free()
			return nil, p.broken(errors.New("it was requested more than once, and its cursor moves on with each request"))
		}
		w.scroll = cursor
	}
	return p, nil
}

// read finds the items and the next cursor in the data of a page.
func (p *fetched) read(how Paginator, data []byte, resp *http.Response) error {
	data, err := charset.UTF8(data, resp.Header.Get("Content-Type"))
	if p.notUTF8 = errors.Is(err, charset.ErrNotUTF8); err != nil && !p.notUTF8 {
		return err
	}
	p.doc, p.size = jsonscan.New(data), int64(len(data))
	path := how.ItemsPath()
	var last []byte
	p.count, last, p.has, err = p.doc.Array(path)
	if err != nil {
		v, _ := p.doc.Value(path)
		if path == "" {
			v = bytes.TrimSpace(data)
		}
		if !nothing(v) {
			return fmt.Errorf("the items at %q are %w", path, err)
		}
		p.count, last, p.has = 0, nil, false
	}
	if p.objects = len(last) > 0 && last[0] == '{'; p.objects {
		p.ids = p.idsOf(last)
	}
	a := &PageAnswer{Cursor: p.cursor, URL: resp.Request.URL, Header: resp.Header, Count: p.count, Last: last, doc: &p.doc}
	a.known = p.walk.tally.known()
	a.known.before = p.before
	if p.next, err = how.Next(a); err != nil {
		return err
	}
	p.total, p.told = max(0, a.Total), a.Total > 0 || a.known.toldHere
	p.walk.tally.note(a)
	switch {
	case len(p.next) > longestCursor:
		return fmt.Errorf("the next cursor has %d bytes, above %d", len(p.next), longestCursor)
	case p.has:
	default:
		// Some partners send null for no items, on the last page, and some {}, "" or false.
		v, _ := p.doc.Value(path)
		if path == "" {
			v = bytes.TrimSpace(data)
		}
		if !nothing(v) {
			return fmt.Errorf("there are no items at %q", path)
		}
		if p.next != "" && string(v) != "null" { // which Go's encoding/json writes for any empty list
			return fmt.Errorf("the items at %q are %s, but there is a next page", path, v)
		}
	}
	return nil
}

// nothing reports whether a value stands for no items: null, {}, "" or false.
func nothing(v []byte) bool {
	switch string(v) {
	case "null", "{}", `""`, "false":
		return true
	}
	return len(v) > 0 && v[0] == '{' && len(bytes.TrimSpace(v[1:len(v)-1])) == 0
}

// form returns the body of a page's request as a form.
func form(body map[string]any) url.Values {
	values := make(url.Values, len(body))
	for name, v := range body {
		if several, ok := v.([]string); ok {
			values[name] = several
			continue
		}
		values.Set(name, fmt.Sprint(v))
	}
	return values
}

// missing returns the parameters of the path and of the options that link does not have. A semicolon or a percent sign
// that net/url refuses is a part of its value.
func (o *callOptions) missing(path, link string) (own url.Values) {
	own = make(url.Values)
	if filled, err := o.expand(path); err == nil {
		_, query, _ := strings.Cut(filled, "?")
		for pair := range strings.SplitSeq(query, "&") {
			name, value, _ := strings.Cut(pair, "=")
			if name = unescaped(name); name != "" {
				own[name] = append(own[name], unescaped(value))
			}
		}
	}
	maps.Copy(own, o.query)
	_, query, _ := strings.Cut(link, "?")
	for pair := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(pair, "=")
		delete(own, unescaped(name))
	}
	return own
}

// unescaped returns a part of a query without its escapes, and as it is if one of them is wrong.
func unescaped(s string) string {
	if plain, err := url.QueryUnescape(s); err == nil {
		return plain
	}
	return s
}

// clean returns err without the secrets of the last page that was fetched.
func (w *walk) clean(err error) error {
	if x := w.last.Load(); x != nil {
		return x.clean(err)
	}
	return err
}

// unfetched returns what the failure to fetch a page means: the end of the list, a cursor that has ended, or err.
func (w *walk) unfetched(p *fetched, err error) (*fetched, error) {
	var e *Error
	if p.cursor == "" || !errors.As(err, &e) {
		return nil, err
	}
	counted, param := false, ""
	switch how := w.how.(type) {
	case OffsetPages, NumberPages:
		counted = true // which ask by numbers of their own
	case CursorPages:
		param = how.Param
	case LastIDPages:
		param = how.Param
	}
	ended := !counted && expired(e, param)
	if slices.Contains(w.o.endAt, e.StatusCode) && !ended && (counted || p.number > 1) {
		p.absent = true
		return p, nil
	}
	if ended {
		end := *e
		end.Err = errkit.Join(&CursorError{Cursor: p.cursor, Page: p.number}, e.Err)
		return nil, &end
	}
	return nil, err
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
