package belay

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
)

// Page is a page of a partner's list.
type Page[T any] struct {
	// Items are its items, decoded. A page may be empty and not the last.
	Items []T
	// Header is the answer's.
	Header http.Header
	// Cursor is where the next page begins: give it to [StartAt] to go on after this page. Empty on the last one.
	Cursor string
	// Total is how many items the list has, where the paginator knows where the partner says so; otherwise 0.
	Total int
}

// Pages fetches the pages of a list, one after the other as the loop asks for them. Path is a template as for [Send]. Ranging
// a second time begins again; breaking off leaves nothing behind. An error is yielded once, with an empty page, and is the
// last; the pages before it were whole.
//
// A page is read whole within its attempt, so that one that breaks off is retried, and the loop's own time is nobody's
// timeout. The next link must be of the partner's origin. A cursor that came before, and a thousand empty pages in a row,
// are ErrData.
func Pages[T any](ctx context.Context, c *Client, path string, p Paginator, opts ...PageOption) iter.Seq2[Page[T], error] {
	return func(yield func(Page[T], error) bool) {
		for f, err := range walkPages(ctx, c, path, p, opts) {
			if err != nil {
				yield(Page[T]{}, err)
				return
			}
			page := Page[T]{Header: f.header, Cursor: f.next, Total: f.total, Items: make([]T, 0, min(f.count, 10_000))}
			err := eachItem(f, func(item *T) bool {
				page.Items = append(page.Items, *item)
				return true
			})
			f.free()
			if err != nil {
				yield(Page[T]{}, err)
				return
			}
			if !yield(page, nil) {
				return
			}
		}
	}
}

// Items fetches the items of a list one by one; see [Pages]. Only one page is held at a time, and its items are decoded as the
// loop asks for them, some at a time: use json.RawMessage for T to decode them yourself. An UnmarshalJSON of T's must copy what it
// keeps, as encoding/json wants it.
func Items[T any](ctx context.Context, c *Client, path string, p Paginator, opts ...PageOption) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		for f, err := range walkPages(ctx, c, path, p, opts) {
			if err != nil {
				yield(zero, err)
				return
			}
			gone := false
			err := eachItem(f, func(item *T) bool {
				gone = !yield(*item, nil)
				return !gone
			})
			f.free()
			if gone {
				return
			}
			if err != nil {
				yield(zero, err)
				return
			}
		}
	}
}

// Items are decoded some at a time: one by one takes half as long again.
const (
	itemsAtOnce = 32
	bytesAtOnce = 64 << 10
)

// eachItem decodes the items of a page until f returns false.
func eachItem[T any](p *fetched, f func(*T) bool) error {
	if !p.has {
		return nil
	}
	var some []T
	_, raw := any(some).([]json.RawMessage) // which decoding would only copy, twice
	it := p.doc.Elements()
	for n := 0; ; {
		if !raw {
			before := it
			if array, count, done := it.Several(itemsAtOnce, bytesAtOnce); count > 0 {
				if some == nil {
					some = make([]T, 0, count)
				}
				clear(some[:cap(some)]) // what users keep of the last ones is not decoded into
				err := json.Unmarshal(array, &some)
				if done(); err == nil && len(some) == count {
					for i := range some {
						if !f(&some[i]) {
							return nil
						}
					}
					n += count
					continue
				}
				it = before // one by one, to find which it was
			}
		}
		for range itemsAtOnce {
			element, more, err := it.Next()
			if err != nil || !more {
				return p.broken(err)
			}
			var item T
			if to, ok := any(&item).(*json.RawMessage); ok {
				if !json.Valid(element) {
					return p.broken(fmt.Errorf("item %d: malformed JSON", n))
				}
				*to = append(json.RawMessage(nil), element...)
			} else if err := json.Unmarshal(element, &item); err != nil {
				return p.broken(fmt.Errorf("item %d: the JSON does not fit: %w", n, err))
			}
			if !f(&item) {
				return nil
			}
			n++
		}
	}
}

// PageOption configures [Pages] and [Items]. Every [CallOption] is one, and holds for each page's call.
type PageOption interface {
	applyPage(*pageOptions)
}

type pageOption func(*pageOptions)

func (f pageOption) applyPage(o *pageOptions) { f(o) }

type pageOptions struct {
	calls    []CallOption
	start    string
	maxPages int
	prefetch int
	body     any
	post     bool
	err      error
}

func (o *pageOptions) fail(format string, args ...any) {
	if o.err == nil {
		o.err = invalid(format, args...)
	}
}

// StartAt begins behind the page that had cursor, as [Page] told it. Empty begins at the first.
func StartAt(cursor string) PageOption {
	return pageOption(func(o *pageOptions) { o.start = cursor })
}

// MaxPages ends with ErrTooManyPages where there are more than n pages, lest a list that should be short is taken for
// whole; to look at a few only, break off the loop. Zero, the default, is no bound; negative is an error.
func MaxPages(n int) PageOption {
	return pageOption(func(o *pageOptions) {
		if n < 0 {
			o.fail("MaxPages: %d must not be negative", n)
		}
		o.maxPages = n
	})
}

// PostBody asks for pages by POST with body, a JSON object into which the paginator writes where its InBody is set. The calls
// count as reads, which may be repeated. Nil is an empty object.
func PostBody(body any) PageOption {
	return pageOption(func(o *pageOptions) { o.body, o.post = body, true })
}

// Prefetch fetches up to n pages while the loop handles one, within the limits. Pages are asked for at the same time where
// their place is known before ([OffsetPages], [NumberPages]), up to n of them beyond the last; otherwise one after
// the other. At most n pages are held besides the loop's own. Zero, the default, fetches none; from 0 to 100.
func Prefetch(n int) PageOption {
	return pageOption(func(o *pageOptions) {
		if n < 0 || n > 100 {
			o.fail("Prefetch: %d must be from 0 to 100", n)
		}
		o.prefetch = n
	})
}
