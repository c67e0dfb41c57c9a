package belay

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
)

// OffsetPages asks for pages by an offset that counts items: Attio, Guesty. The list ends at a page with fewer than
// Limit items or, if Total is known, after as many items, or where More says so. For a partner that sends shorter pages
// before the last one, set Total or UntilEmpty; for one whose total is approximate, leave Total out. The largest Total
// that a page has told counts: some partners count what is left, and one that falls to nothing is a partner that has
// forgotten who asks.
type OffsetPages struct {
	// Items is the path of the items; empty if the page itself is the array.
	Items string
	// Limit is the number of items on a page, at least 1 and no more than the partner allows.
	Limit int
	// OffsetParam and LimitParam are the names of the parameters for the offset and the limit; empty means
	// "offset" and "limit". With InBody they are written into the body of [PostBody], as numbers.
	OffsetParam, LimitParam string
	InBody                  bool
	// Total is the path of the number of items in the whole list. Empty means that the partner does not send
	// it.
	Total string
	// More is the path of a boolean that says whether there are more pages, whatever Limit and Total say. Empty means that
	// the partner sends none.
	More string
	// UntilEmpty ends the list only at a page without items, whatever Total says before it.
	UntilEmpty bool
	// BareFirst leaves the offset out of the request for the first page.
	BareFirst bool
}

// Check returns an error that names the fields that are missing or contradict each other.
func (p OffsetPages) Check() error {
	if p.Limit < 1 {
		return fmt.Errorf("OffsetPages.Limit is %d, must be at least 1", p.Limit)
	}
	return nil
}

// ItemsPath returns Items.
func (p OffsetPages) ItemsPath() string { return p.Items }

// Ask adds the cursor to the request of a page.
func (p OffsetPages) Ask(r *PageRequest) error {
	offset, err := parseCount(r.Cursor, 0)
	if err != nil {
		return err
	}
	err = r.set(p.InBody, cmp.Or(p.LimitParam, "limit"), p.Limit)
	if offset == 0 && p.BareFirst {
		return err
	}
	return errors.Join(r.set(p.InBody, cmp.Or(p.OffsetParam, "offset"), offset), err)
}

// Next returns the cursor of the next page, empty after the last one.
func (p OffsetPages) Next(a *PageAnswer) (string, error) {
	offset, err := parseCount(a.Cursor, 0)
	if err != nil {
		return "", err
	}
	next := offset + a.Count
	if p.More != "" {
		more, err := a.flag(p.More)
		switch {
		case err != nil || !more:
			return "", err
		case a.Count == 0:
			return "", fmt.Errorf("%s says that there is more, but there is nothing at %d", p.More, offset)
		}
		return strconv.Itoa(next), nil
	}
	told, err := a.told(p.Total)
	if err != nil {
		return "", err
	}
	switch most := max(told, a.known.total); {
	case most < 0:
		if a.Count == 0 || a.Count < p.Limit && !p.UntilEmpty {
			return "", nil
		}
	case a.Count == 0 && told > next:
		return "", fmt.Errorf("%s says %d, but there is nothing at %d", p.Total, told, offset)
	case a.Count == 0, !p.UntilEmpty && a.complete(next, told, p.Limit):
		return "", nil
	}
	return strconv.Itoa(next), nil
}

// after returns the cursor of the page behind the one at cursor, if that page is full, and whether total
// allows for a page there. A total of 0 means that the total is not known.
func (p OffsetPages) after(cursor string, total int) (string, bool) {
	offset, _ := parseCount(cursor, 0)
	next := offset + p.Limit
	return strconv.Itoa(next), total == 0 || next < total
}

// NumberPages asks for pages by their numbers. The list ends where More says so, at the last of Pages, after Total
// items, at a page with fewer than Size items, or at a page without items with UntilEmpty. At least one of the five
// must be set. The largest Pages and Total that a page has told count; see [OffsetPages].
type NumberPages struct {
	// Items is the path of the items; empty if the page itself is the array.
	Items string
	// Param is the name of the parameter for the page's number; empty means "page". With InBody, Param and
	// SizeParam are written into the body of [PostBody].
	Param  string
	InBody bool
	// First is the number of the first page. Zero means 1; for a partner that begins with 0, set FromZero.
	First    int
	FromZero bool
	// Size is the number of items on a page, and SizeParam the name of the parameter for it, such as
	// "per_page". An empty SizeParam sends none; with a SizeParam, a Size of zero is an error.
	Size      int
	SizeParam string
	// Pages is the path of the number of pages, and Total that of the number of items. Empty means that the
	// partner does not send it.
	Pages, Total string
	// More is the path of a boolean that says whether there are more pages. Empty means that the partner
	// sends none.
	More string
	// UntilEmpty ends the list at a page without items, and not at one with fewer than Size.
	UntilEmpty bool
	// BareFirst leaves the number out of the request for the first page.
	BareFirst bool
}

// Check returns an error that names the fields that are missing or contradict each other.
func (p NumberPages) Check() error {
	switch {
	case p.Size < 0 || p.First < 0:
		return fmt.Errorf("NumberPages.Size is %d and First is %d, must not be negative", p.Size, p.First)
	case p.FromZero && p.First != 0:
		return fmt.Errorf("NumberPages.First is %d beside FromZero", p.First)
	case p.SizeParam != "" && p.Size == 0:
		return errors.New("NumberPages.SizeParam is set, but Size is 0")
	case p.Size == 0 && p.Pages == "" && p.Total == "" && p.More == "" && !p.UntilEmpty:
		return errors.New("NumberPages has no rule by which it ends: set Size, Pages, Total, More or UntilEmpty")
	}
	return nil
}

// ItemsPath returns Items.
func (p NumberPages) ItemsPath() string { return p.Items }

func (p NumberPages) first() int {
	if p.First == 0 && !p.FromZero {
		return 1
	}
	return p.First
}

// Ask adds the cursor to the request of a page.
func (p NumberPages) Ask(r *PageRequest) error {
	n, err := parseCount(r.Cursor, p.first())
	if err != nil {
		return err
	}
	if p.SizeParam != "" {
		err = r.set(p.InBody, p.SizeParam, p.Size)
	}
	if n == p.first() && p.BareFirst {
		return err
	}
	return errors.Join(err, r.set(p.InBody, cmp.Or(p.Param, "page"), n))
}

// Next returns the cursor of the next page, empty after the last one.
func (p NumberPages) Next(a *PageAnswer) (string, error) {
	n, err := parseCount(a.Cursor, p.first())
	if err != nil {
		return "", err
	}
	told, err := a.told(p.Total)
	if err != nil {
		return "", err
	}
	switch most := max(told, a.known.total); {
	case p.More != "":
		more, err := a.flag(p.More)
		if err != nil || !more {
			return "", err
		}
	case p.Pages != "":
		if over, err := p.lastOf(a, n-p.first()+1); over || err != nil {
			return "", err
		}
	case most >= 0:
		before := a.known.before
		switch { // without the number of items before, only the tally knows where the list ends
		case a.Count == 0 && before < 0 && told > (n-p.first())*p.Size && p.Size > 0:
			return "", fmt.Errorf("%s says %d, but page %d has no items", p.Total, told, n)
		case a.Count == 0, before >= 0 && !p.UntilEmpty && a.complete(before+a.Count, told, p.Size):
			return "", nil
		}
	case a.Count == 0, a.Count < p.Size && !p.UntilEmpty:
		return "", nil
	}
	return strconv.Itoa(n + 1), nil
}

// after returns the cursor of the page behind the one at cursor, and whether total allows for a page there. A
// total of 0 means that the total is not known.
func (p NumberPages) after(cursor string, total int) (string, bool) {
	n, _ := parseCount(cursor, p.first())
	return strconv.Itoa(n + 1), total == 0 || p.Size == 0 || (n-p.first()+1)*p.Size < total
}

// lastOf reports whether the page at place, counted from 1, is the last one by the number of pages. If fewer pages are
// told than have come, the list goes on until a page without items.
func (p NumberPages) lastOf(a *PageAnswer, place int) (bool, error) {
	pages, err := a.number(p.Pages)
	if err == nil && pages < 0 && a.known.pages < 0 {
		err = fmt.Errorf("there is no %s", p.Pages)
	}
	if err != nil {
		return false, err
	}
	first := a.known.pages < 0
	a.known.pages = max(a.known.pages, pages)
	most := a.known.pages
	switch {
	case a.Count > 0:
		return place == most || place == pages && few(most, pages), nil
	case pages >= 0 && pages < place-1 && (first || pages < most) && !few(most, pages),
		first && place > 1 && pages < place-1,
		place == most && pages < place-1,
		place < most && !(pages == place-1 && few(most, pages)):
		if pages >= 0 && pages < most {
			return false, fmt.Errorf("%s fell from %d to %d, and page %d has no items", p.Pages, most, pages, place)
		}
		return false, fmt.Errorf("%s was %d, but page %d has no items", p.Pages, most, place)
	}
	return true, nil
}

// few reports whether a number that fell so may have done it because items were deleted while the list was read.
func few(from, to int) bool { return from-to <= 1+from/10 }

// complete reports whether a list is complete by its total after seen items, with those of this page. A total that is
// smaller than an earlier one may be of a partner that counts what is left, and says nothing, unless it fell by few.
func (a *PageAnswer) complete(seen, told, size int) bool {
	most := max(told, a.known.total)
	if told < 0 || told >= most {
		return seen == most
	}
	return a.Count < size && seen == told && few(most, told)
}

// size returns the number of items on a full page, 0 if it is not known.
func (p OffsetPages) size() int { return p.Limit }

// size returns the number of items on a full page, 0 if it is not known.
func (p NumberPages) size() int { return p.Size }

// place returns the number of pages before the one at cursor.
func (p NumberPages) place(cursor string) int {
	n, _ := parseCount(cursor, p.first())
	return n - p.first()
}

// param returns the name of the parameter for the offset.
func (p OffsetPages) param() string { return cmp.Or(p.OffsetParam, "offset") }

// param returns the name of the parameter for the page's number.
func (p NumberPages) param() string { return cmp.Or(p.Param, "page") }

// before returns the number of items before the page at cursor.
func (p OffsetPages) before(cursor string) int {
	offset, err := parseCount(cursor, 0)
	if err != nil {
		return -1
	}
	return offset
}
