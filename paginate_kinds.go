package belay

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/belay-go/belay/internal/jsonscan"
	"github.com/belay-go/belay/internal/link"
)

// Paginator describes how a partner divides a list into pages. This package has a struct for each common way;
// implement the interface for a partner with a way of its own. Choose by this table:
//
//	the partner sends                                     use
//	a Link header (GitHub, Shopify)                       LinkPages
//	a cursor in the JSON (Slack, HubSpot, Notion)         CursorPages
//	the next page's URL in the JSON (Salesforce, Graph)   NextURLPages
//	has_more, and wants the last item's id (Stripe)       LastIDPages
//	nothing, and takes an offset or a skip (Attio)        OffsetPages
//	nothing, and takes the number of a page               NumberPages
//
// A path names a value in the JSON of a page, by names joined with dots ("data.results"). A name may hold dots
// itself ("@odata.nextLink").
type Paginator interface {
	// Check returns an error if the paginator cannot be used, for example because no rule ends the list. It is
	// called once, before the first request.
	Check() error
	// ItemsPath returns the path of the items in a page, empty if the page itself is the array.
	ItemsPath() string
	// Ask adds r.Cursor, which is empty for the first page, to the request.
	Ask(r *PageRequest) error
	// Next returns the cursor of the page after a, empty if a is the last page.
	Next(a *PageAnswer) (cursor string, err error)
}

// missing returns an error that names the empty fields of kind, nil if there are none. The fields alternate
// between name and value.
func missing(kind string, fields ...string) error {
	var empty []string
	for i := 0; i < len(fields); i += 2 {
		if fields[i+1] == "" {
			empty = append(empty, kind+"."+fields[i]+" is empty")
		}
	}
	if len(empty) == 0 {
		return nil
	}
	return errors.New(strings.Join(empty, ", "))
}

// CursorPages follows a cursor that each page holds: Slack, HubSpot, Notion, Zendesk, Google, Attio's newer
// lists. The list ends when the cursor is missing, null or empty, 0, -1 or false, or when More or End says so.
// With UntilEmpty the cursor may stay the same, as that of a scroll at Elasticsearch: each request moves it on, so
// such a page is not requested again after an answer that broke off.
type CursorPages struct {
	// Items is the path of the items; empty if the page itself is the array, which then holds no cursor.
	Items string
	// Cursor is the path of the next page's cursor, a text or a number.
	Cursor string
	// Param is the name of the parameter for the cursor. It is in the query or, if InBody is true, in the body
	// of [PostBody], where dots lead into objects ("variables.after").
	Param  string
	InBody bool
	// More is the path of a boolean that says whether there are more pages, and End that of one that says the
	// opposite (Zendesk's end_of_stream). They overrule a cursor that is present. Empty means that the partner sends
	// none; both are an error.
	More, End string
	// UntilEmpty ends the list at a page without items, for a partner whose every page has a cursor.
	UntilEmpty bool
	// Required says that the cursor is present on every page, and null or empty on the last one. Then a page
	// without it is [ErrData] instead of the end. Without Required, a cursor that the partner has renamed
	// would end every list after its first page. A page that is the last one by More needs no cursor.
	Required bool
}

// Check returns an error that names the fields that are missing or contradict each other.
func (p CursorPages) Check() error {
	return errors.Join(missing("CursorPages", "Cursor", p.Cursor, "Param", p.Param), oneFlag("CursorPages", p.More, p.End))
}

func oneFlag(kind, more, end string) error {
	if more != "" && end != "" {
		return fmt.Errorf("%s.More is %q beside End %q", kind, more, end)
	}
	return nil
}

// ItemsPath returns Items.
func (p CursorPages) ItemsPath() string { return p.Items }

// Ask adds the cursor to the request of a page.
func (p CursorPages) Ask(r *PageRequest) error {
	if r.Cursor == "" {
		return nil
	}
	return r.set(p.InBody, p.Param, r.Cursor)
}

// Next returns the cursor of the next page, empty after the last one.
func (p CursorPages) Next(a *PageAnswer) (string, error) {
	more, err := a.more(p.More, p.End)
	if err != nil || more == no || p.UntilEmpty && a.Count == 0 {
		return "", err
	}
	next, err := a.cursor(p.Cursor)
	if err == nil && more == yes && next == "" {
		err = fmt.Errorf("%s, but there is no %s", saysMore(p.More, p.End), p.Cursor)
	}
	if err == nil && p.Required && next == "" {
		var v []byte
		if v, err = a.doc.Value(p.Cursor); err == nil && len(v) == 0 {
			err = fmt.Errorf("there is no %s, null or otherwise", p.Cursor)
		}
	}
	return next, err
}

// LinkPages follows the Link header with rel="next" (RFC 8288): GitHub, Shopify, Okta. The list ends when
// there is none.
type LinkPages struct {
	// Items is the path of the items; empty if the page itself is the array.
	Items string
	// UntilEmpty ends the list at a page without items, for a partner whose every page has a link.
	UntilEmpty bool
	// KeepOrigin takes only path and query from a link, for a partner whose links are http: or lead to a host of its
	// internal network. KeepQuery adds the parameters of the first request that a link lacks, such as filters.
	KeepOrigin, KeepQuery bool
}

// Check returns an error that names the fields that are missing or contradict each other.
func (p LinkPages) Check() error { return nil }

// ItemsPath returns Items.
func (p LinkPages) ItemsPath() string { return p.Items }

// Ask adds the cursor to the request of a page.
func (p LinkPages) Ask(r *PageRequest) error {
	r.URL, r.KeepQuery = r.Cursor, p.KeepQuery
	return nil
}

// Next returns the cursor of the next page, empty after the last one.
func (p LinkPages) Next(a *PageAnswer) (string, error) {
	if p.UntilEmpty && a.Count == 0 {
		return "", nil
	}
	next := link.Next(a.Header["Link"])
	if next == "" && link.Told(a.Header["Link"]) {
		return "", errors.New("the Link header speaks of a next page, but cannot be read")
	}
	return absoluteNext(a, next, p.KeepOrigin)
}

// NextURLPages follows the URL of the next page, absolute or relative, which each page's JSON holds:
// Salesforce, Microsoft Graph, Calendly, Twilio. The list ends when the URL is missing, null, empty or false, or
// when More or End says so.
type NextURLPages struct {
	// Items is the path of the items, and URL the path of the next page's URL.
	Items, URL string
	// More and End are as for [CursorPages]. They overrule a URL that is present.
	More, End string
	// UntilEmpty, KeepOrigin and KeepQuery are as for [LinkPages].
	UntilEmpty, KeepOrigin, KeepQuery bool
	// Required says that the URL is present on every page, and null or empty on the last one; see
	// [CursorPages].
	Required bool
}

// Check returns an error that names the fields that are missing or contradict each other.
func (p NextURLPages) Check() error {
	return errors.Join(missing("NextURLPages", "URL", p.URL), oneFlag("NextURLPages", p.More, p.End))
}

// ItemsPath returns Items.
func (p NextURLPages) ItemsPath() string { return p.Items }

// Ask adds the cursor to the request of a page.
func (p NextURLPages) Ask(r *PageRequest) error {
	r.URL, r.KeepQuery = r.Cursor, p.KeepQuery
	return nil
}

// Next returns the cursor of the next page, empty after the last one.
func (p NextURLPages) Next(a *PageAnswer) (string, error) {
	next, err := CursorPages{
		Cursor: p.URL, More: p.More, End: p.End, Required: p.Required, UntilEmpty: p.UntilEmpty,
	}.Next(a)
	if err != nil {
		return "", err
	}
	return absoluteNext(a, next, p.KeepOrigin)
}

// absoluteNext resolves a next link against the request's URL. An empty link stays empty.
func absoluteNext(a *PageAnswer, next string, keepOrigin bool) (string, error) {
	if next == "" {
		return "", nil
	}
	u, err := a.URL.Parse(next)
	if err != nil {
		return "", errors.New("the next link is no URL")
	}
	if keepOrigin {
		u.Scheme, u.Host, u.User = a.URL.Scheme, a.URL.Host, nil
	}
	u.Fragment, u.RawFragment = "", ""
	return u.String(), nil
}

// LastIDPages requests the items after the last item's id: Stripe. The list ends when More or End says so, or at a page
// without items with UntilEmpty.
type LastIDPages struct {
	// Items is the path of the items.
	Items string
	// ID is the path of the id within an item. Empty means "id".
	ID string
	// Param is the name of the parameter for the id, such as "starting_after". If InBody is true, it is in the
	// body of [PostBody].
	Param  string
	InBody bool
	// More is the path of the boolean that says whether there are more pages, such as "has_more", and End that of one
	// that says the opposite. Every page must hold it.
	More, End string
	// UntilEmpty ends the list only at a page without items, for a partner that sends no such boolean.
	UntilEmpty bool
}

// Check returns an error that names the fields that are missing or contradict each other.
func (p LastIDPages) Check() error {
	if !p.UntilEmpty && p.End == "" {
		return missing("LastIDPages", "Param", p.Param, "More", p.More)
	}
	return errors.Join(missing("LastIDPages", "Param", p.Param), oneFlag("LastIDPages", p.More, p.End))
}

// ItemsPath returns Items.
func (p LastIDPages) ItemsPath() string { return p.Items }

// Ask adds the cursor to the request of a page.
func (p LastIDPages) Ask(r *PageRequest) error {
	if r.Cursor == "" {
		return nil
	}
	return r.set(p.InBody, p.Param, r.Cursor)
}

// Next returns the cursor of the next page, empty after the last one.
func (p LastIDPages) Next(a *PageAnswer) (string, error) {
	more, err := a.more(p.More, p.End)
	if err != nil || more == no || p.UntilEmpty && a.Count == 0 {
		return "", err
	}
	if a.Last == nil {
		return "", fmt.Errorf("%s, but the page is empty", saysMore(p.More, p.End))
	}
	path := p.ID
	if path == "" {
		path = "id"
	}
	item := jsonscan.New(a.Last)
	v, err := item.Value(path)
	if err == nil && (len(v) == 0 || string(v) == "null") {
		err = fmt.Errorf("the last item has no %s", path)
	}
	if err != nil {
		return "", err
	}
	return plain("the last item's "+path, v)
}

func parseCount(cursor string, first int) (int, error) {
	if cursor == "" {
		return first, nil
	}
	n, err := strconv.Atoi(cursor)
	if err != nil || n < 0 {
		if len(cursor) > 20 || strings.ContainsAny(cursor, "/:?=&") { // a link, in which a secret may be
			cursor = "…"
		}
		return 0, fmt.Errorf("the cursor %q is not one of this list", cursor)
	}
	return n, nil
}
