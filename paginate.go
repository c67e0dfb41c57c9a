package belay

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"net/http"
	"net/url"
	"sync/atomic"
	"unicode/utf8"

	"github.com/belay-go/belay/internal/charset"
)

// Page is one page of a partner's list.
type Page[T any] struct {
	// Items are the decoded items of the page. A page may be empty without being the last.
	Items []T
	// Header is the header of the answer.
	Header http.Header
	// Cursor is where the next page begins. Pass it to [StartAt] to continue after this page. It is empty on
	// the last page.
	Cursor string
	// Total is the number of items in the whole list. It is 0 if the partner does not say it, or the paginator
	// does not know where.
	Total int
	// Size is the length of the page's body in bytes, after decompression and conversion to UTF-8.
	Size int64
}

// Pages returns an iterator over the pages of a list. It fetches each page when the loop asks for it, one
// after the other. The path is a template as for [Send]. Another range over the iterator begins again with the
// first page. A loop that breaks off leaves nothing behind. An error is yielded once, with an empty page, and
// ends the iteration; the pages before it were complete.
//
// Pages reads a page whole within its attempt. So a page that breaks off is retried, and the time that the
// loop spends on a page counts against no timeout of the client. A next link to another origin than the
// partner's, a cursor that came before, 1,000 consecutive empty pages, and a list that ends before its total are
// ErrData. A cursor that the partner does not know any more is [ErrCursorExpired].
func Pages[T any](
	ctx context.Context, c *Client, path string, p Paginator, opts ...PageOption,
) iter.Seq2[Page[T], error] {
	return func(yield func(Page[T], error) bool) {
		for f, err := range walkPages(ctx, c, path, p, opts) {
			if err != nil {
				yield(Page[T]{}, err)
				return
			}
			page := Page[T]{Header: f.header, Cursor: f.next, Total: f.total, Size: f.size, Items: make([]T, 0, min(f.count, 10_000))}
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

// Items returns an iterator over the items of a list; see [Pages]. It holds only one page at a time, apart
// from the pages of [Prefetch]. It decodes the items in small batches as the loop asks for them, and passes over
// items that are null. Use json.RawMessage for T to decode them yourself; then an item whose text is not UTF-8 is
// no error either. An UnmarshalJSON method of T must copy the data that it
// keeps, as encoding/json requires.
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

// The size of the batches in which items are decoded. Decoding items one by one takes half as long again.
const (
	itemsAtOnce = 32
	bytesAtOnce = 64 << 10
)

// eachItem decodes the items of page p and calls f for each, until f returns false.
func eachItem[T any](p *fetched, f func(*T) bool) error {
	if !p.has {
		return nil
	}
	var some []T
	_, raw := any(some).([]json.RawMessage) // raw items are copied only once; decoding would copy them twice
	it := p.doc.Elements()
	for n := 0; ; {
		if !raw && p.doc.Nulls() == 0 && !p.notUTF8 {
			before := it
			if array, count, done := it.Several(itemsAtOnce, bytesAtOnce); count > 0 {
				if some == nil {
					some = make([]T, 0, count)
				}
				// Unmarshal must not write into slices and pointers of the last batch, which the user may keep.
				clear(some[:cap(some)])
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
				it = before // decode one by one, to find the item that failed
			}
		}
		for range itemsAtOnce {
			element, more, err := it.Next()
			if err != nil || !more {
				return p.broken(err)
			}
			if string(element) == "null" {
				n++
				continue
			}
			var item T
			if to, ok := any(&item).(*json.RawMessage); ok {
				if !json.Valid(element) {
					return p.broken(fmt.Errorf("item %d: malformed JSON", n))
				}
				*to = append(json.RawMessage(nil), element...)
			} else if p.notUTF8 && !utf8.Valid(element) {
				return p.broken(fmt.Errorf("item %d: %w", n, charset.ErrNotUTF8))
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

// PageOption configures [Pages] and [Items]. Every [CallOption] is a PageOption, and applies to the call for
// each page.
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
	backlog  int64 // bytes of the pages that are fetched ahead
	body     any
	form     url.Values
	post     bool
	endAt    []int
	err      error
}

func (o *pageOptions) fail(format string, args ...any) {
	if o.err == nil {
		o.err = invalid(format, args...)
	}
}

// StartAt begins the list after the page that had the given [Page].Cursor. An empty cursor begins at the first
// page.
func StartAt(cursor string) PageOption {
	return pageOption(func(o *pageOptions) { o.start = cursor })
}

// ResumeContext returns a context in which the first list that is read begins at cursor, as with [StartAt], unless it
// has a StartAt of its own. So code that goes on with an import need not know how the list is made. lists returns
// how many lists have been begun in the context: a cursor belongs to one list, so with several of them it is of no
// use. An empty cursor begins at the first page.
func ResumeContext(ctx context.Context, cursor string) (_ context.Context, lists func() int) {
	r := &resume{cursor: cursor}
	return context.WithValue(ctx, resumeKey{}, r), func() int { return int(r.lists.Load()) }
}

type resumeKey struct{}

type resume struct {
	cursor string
	lists  atomic.Int32
}

// resumeAt takes note of a list that begins, and returns where it begins.
func resumeAt(ctx context.Context) string {
	if r, ok := ctx.Value(resumeKey{}).(*resume); ok && r.lists.Add(1) == 1 {
		return r.cursor
	}
	return ""
}

// MaxPages ends the iteration with ErrTooManyPages if the list has more than n pages, so that the first part
// of a long list is not mistaken for the whole list. To look at only a few pages, break off the loop instead.
// Zero, the default, means no bound; negative is an error.
func MaxPages(n int) PageOption {
	return pageOption(func(o *pageOptions) {
		if n < 0 {
			o.fail("MaxPages: %d must not be negative", n)
		}
		o.maxPages = n
	})
}

// PostBody requests each page by POST with the given body, a JSON object. The paginator writes its parameters
// into the body if its InBody is true. The calls count as reads, so they may be repeated. A nil body is an
// empty object.
func PostBody(body any) PageOption {
	return pageOption(func(o *pageOptions) { o.body, o.post = body, true })
}

// PostForm requests each page by POST with the given form, as Slack's lists may be. It is [PostBody] with another body:
// the paginator writes its parameters into the form if its InBody is true.
func PostForm(values url.Values) PageOption {
	return pageOption(func(o *pageOptions) {
		if o.form, o.post = maps.Clone(values), true; o.form == nil {
			o.form = make(url.Values)
		}
	})
}

// EndAt ends the list where the answer for a page behind the first one has one of the given statuses, such as 404: some
// partners answer so behind the last page. A status below 400 is an error, and so are 401, 403, 429 and 5xx, which say
// nothing of the list.
func EndAt(statuses ...int) PageOption {
	return pageOption(func(o *pageOptions) {
		for _, s := range statuses {
			if s < 400 || s > 499 || s == 401 || s == 403 || s == 429 {
				o.fail("EndAt: the status %d cannot be the end of a list", s)
			}
		}
		o.endAt = statuses
	})
}

// Prefetch fetches up to n pages ahead while the loop handles one, within the limits. If the positions of the
// pages are known in advance ([OffsetPages], [NumberPages]), it fetches them concurrently, up to n pages
// beyond the last one; otherwise one after the other. It holds at most n pages besides the loop's own, and fetches none
// while those that wait have 64 MiB. A page on its way counts as large as the last one, so a list whose pages suddenly
// become large can exceed this by up to n pages. Zero,
// the default, fetches none ahead; n is from 0 to 100.
func Prefetch(n int) PageOption {
	return pageOption(func(o *pageOptions) {
		if n < 0 || n > 100 {
			o.fail("Prefetch: %d must be from 0 to 100", n)
		}
		o.prefetch = n
	})
}
