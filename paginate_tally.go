package belay

import (
	"cmp"
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"net/http"
	"sync/atomic"

	"github.com/belay-go/belay/internal/jsonscan"
)

// tally is what the pages of a list have told of its length so far, and what has come. A list that contradicts it does
// not end as if it were complete.
type tally struct {
	// The largest numbers that a page has told, plus 1; 0 if none has. Fetches that run side by side share them.
	total, pages atomic.Int64

	// What has come in order, up to the page that was accepted last.
	seen  int    // items, with those before the first page; -1 if those are not known
	told  bool   // that page told the total
	count int    // its items
	hash  uint64 // of its items
	ids   uint64 // of the ids of its first and last item, 0 if they have none
	same  int    // how many pages before it had the same
	ends  string // the cursor behind a page that may be the last, empty if none is
	size  int    // items on a full page, 0 if that is not known
	seed  maphash.Seed
	param string // the parameter that asks for a page that is counted, otherwise empty: a cursor would come again
}

// toldSoFar is what a Paginator may know of the pages before.
type toldSoFar struct {
	total, pages int  // the largest that were told, -1 if none was
	before       int  // items before the page, -1 if that is not known
	toldHere     bool // this page tells the total
}

// begin begins the tally of a list at cursor.
func (t *tally) begin(how Paginator, cursor string) {
	t.seed = maphash.MakeSeed()
	if p, ok := how.(interface{ param() string }); ok {
		t.param = p.param()
	}
	if p, ok := how.(interface{ size() int }); ok {
		t.size = p.size()
	}
	if cursor == "" {
		return
	}
	t.seen = -1
	if p, ok := how.(interface{ before(cursor string) int }); ok {
		t.seen = p.before(cursor)
	}
}

// known returns what was told so far.
func (t *tally) known() toldSoFar {
	return toldSoFar{total: int(t.total.Load()) - 1, pages: int(t.pages.Load()) - 1}
}

// note adds what a page tells.
func (t *tally) note(a *PageAnswer) {
	if a.Total > 0 || a.known.toldHere {
		atomicMax(&t.total, int64(a.Total)+1)
	}
	atomicMax(&t.pages, int64(a.known.pages)+1)
}

func atomicMax(v *atomic.Int64, n int64) {
	for {
		have := v.Load()
		if have >= n || v.CompareAndSwap(have, n) {
			return
		}
	}
}

// told returns the total at path, and -1 if the page does not tell one.
func (a *PageAnswer) told(path string) (int, error) {
	if path == "" {
		return -1, nil
	}
	n, err := a.number(path)
	a.Total, a.known.toldHere = max(0, n), n >= 0
	return n, err
}

// accept takes note of the page that comes next in order. It ends the list after as many items as were told, and
// returns an error if the page is the one before again, or if the list ends before as many have come.
func (w *walk) accept(p *fetched) error {
	t := &w.tally
	hash := maphash.Bytes(t.seed, p.doc.Raw())
	sameItems := hash == t.hash && (t.param != "" || p.next != "" && p.next == p.cursor)
	sameIDs := p.ids != 0 && p.ids == t.ids // with other values: some of them are of the moment
	if p.count == 0 || p.count != t.count || !sameItems && !sameIDs {
		t.same = 0
	} else if t.same++; t.same > p.mayBeEqual() {
		return p.broken(fmt.Errorf("it has the items of the page before it: the partner seems to ignore %s", cmp.Or(t.param, "the cursor")))
	}
	wasTold := t.told
	t.count, t.hash, t.ids, t.told = p.count, hash, p.ids, p.told
	total := int(t.total.Load()) - 1
	short := p.count < t.size
	if how, ok := w.how.(NumberPages); ok && t.seen < 0 && t.size > 0 && !short {
		t.seen = how.place(p.cursor) * t.size // a full page shows that those before it were full, too
	}
	counted := w.counted()
	t.ends = ""
	if t.seen < 0 {
		if how, ok := w.how.(NumberPages); ok && counted && short && how.place(p.cursor)*t.size+p.count >= total {
			t.ends = p.next
		}
		return nil
	}
	t.seen += p.count
	switch {
	case p.number == 1 && p.count == 0 && p.told && p.total == 0 && t.seen > 0:
		return p.broken(fmt.Errorf("the total is 0 after %d items", t.seen))
	case p.count > 0 && t.seen == total && counted && (p.total >= total || !p.told):
		p.next = ""
	case p.next != "":
		if counted && p.told && t.seen >= p.total && few(total, p.total) || counted && t.seen >= total {
			t.ends = p.next
		}
	case t.seen >= total:
	case p.told && p.total == t.seen: // some of the items were deleted while the list was read
	case !p.told && !wasTold: // only the first pages tell it, and so nobody knows what was deleted since
	case p.told && p.total < total:
		return p.broken(fmt.Errorf("the total fell from %d to %d, and the list ends after %d items", total, p.total, t.seen))
	default:
		return p.broken(fmt.Errorf("the list ends after %d items, but its total is %d", t.seen, total))
	}
	return nil
}

// idsOf returns a hash of the ids of the first and the last item. It is 0 if they have none, or the same one: then the
// id may be of something that several items belong to.
func (p *fetched) idsOf(last []byte) uint64 {
	it := p.doc.Elements()
	first, ok, err := it.Next()
	if err != nil || !ok {
		return 0
	}
	var froms, tos [len(idNames)][]byte
	from, to := jsonscan.New(first), jsonscan.New(last)
	if from.Values(idNames[:], froms[:]) != nil || to.Values(idNames[:], tos[:]) != nil {
		return 0
	}
	for i, a := range froms {
		b := tos[i]
		if len(a) == 0 || len(b) == 0 || a[0] == '{' || a[0] == '[' || string(a) == "null" {
			continue
		}
		if p.count > 1 && string(a) == string(b) {
			return 0
		}
		var h maphash.Hash
		h.SetSeed(p.walk.tally.seed)
		_, _ = h.Write(a)
		_ = h.WriteByte(0)
		_, _ = h.Write(b)
		return max(1, h.Sum64())
	}
	return 0
}

// idNames are the names of the fields in which items have their ids.
var idNames = [...]string{"id", "Id", "ID", "_id", "uuid", "guid"}

// mayBeEqual returns how many pages in a row may have the same items as the one before. A single item comes twice if
// another was inserted before it, and numbers and texts may be equal.
func (p *fetched) mayBeEqual() int {
	switch {
	case !p.objects:
		return 100
	case p.walk.tally.param == "" && p.count == 1: // each page has a cursor of its own, so it is not as plain
		return math.MaxInt
	case p.walk.tally.param == "":
		return 10
	case p.count == 1:
		return 1
	}
	return 0
}

// isEnd reports whether the error of the page at cursor is the end of the list: the page before may have been the last,
// and some partners answer 404 or 400 behind it.
func (w *walk) isEnd(cursor string, err error) bool {
	var e *Error
	return w.tally.ends != "" && cursor == w.tally.ends && errors.As(err, &e) &&
		(e.StatusCode == http.StatusNotFound || e.StatusCode == http.StatusBadRequest)
}

// counted reports whether the list ends by its total.
func (w *walk) counted() bool {
	switch how := w.how.(type) {
	case OffsetPages:
		return how.Total != "" && !how.UntilEmpty
	case NumberPages:
		return how.Total != "" && how.Pages == "" && how.More == "" && !how.UntilEmpty
	}
	return false
}
