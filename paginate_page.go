package belay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/belay-go/belay/internal/charset"
	"github.com/belay-go/belay/internal/errkit"
	"github.com/belay-go/belay/internal/jsonscan"
)

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
