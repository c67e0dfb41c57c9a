package belay

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
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

// PageRequest is a paginator's part of the request for a page.
type PageRequest struct {
	// Cursor is the place at which the page begins, as Next returned it.
	Cursor string
	// Query holds query parameters to add to those of the call's options. It replaces those of the same name.
	Query url.Values
	// Body is a shallow copy of the object given to [PostBody], to write into; nil without PostBody.
	Body map[string]any
	// URL replaces the path and its query, and the Query options of the call. It must be of the partner's
	// origin.
	URL string
	// KeepQuery adds those parameters of the path and of the Query options to URL that it does not have.
	KeepQuery bool

	flat bool // the body is a form, in which dots are a part of the name
}

// PageAnswer is a page as a paginator sees it. The paginator must not keep it.
type PageAnswer struct {
	// Cursor is the cursor of the request, and URL the request's URL.
	Cursor string
	URL    *url.URL
	// Header is the header of the answer.
	Header http.Header
	// Count is the number of items in the page, and Last the JSON of the last item, nil if there is none.
	Count int
	Last  []byte
	// Total may be assigned the number of items in the whole list. A list that ends before as many have come is
	// [ErrData].
	Total int

	doc   *jsonscan.Doc
	known toldSoFar
}

// Value returns the JSON of the value at path. It is nil if there is no value or it is null.
func (a *PageAnswer) Value(path string) (json.RawMessage, error) {
	v, err := a.doc.Value(path)
	if err != nil || len(v) == 0 || string(v) == "null" {
		return nil, err
	}
	return v, nil
}

// text returns the string or number at path, empty if there is none.
func (a *PageAnswer) text(path string) (string, error) {
	v, err := a.Value(path)
	if err != nil || v == nil {
		return "", err
	}
	return plain(path, v)
}

func plain(what string, v []byte) (string, error) {
	switch v[0] {
	case '"':
		var s string
		err := json.Unmarshal(v, &s)
		return s, err
	case '{', '[', 't', 'f':
		return "", fmt.Errorf("%s is neither text nor a number", what)
	}
	if !json.Valid(v) {
		return "", fmt.Errorf("%s is malformed", what)
	}
	return string(v), nil
}

// flag returns the boolean at path, which may be written as a number or a text. Anything else at path, or nothing, is
// an error.
func (a *PageAnswer) flag(path string) (bool, error) {
	v, err := a.Value(path)
	switch {
	case err != nil:
		return false, err
	case v == nil:
		return false, fmt.Errorf("there is no %s", path)
	}
	switch strings.ToLower(strings.Trim(string(v), `"`)) {
	case "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	}
	return false, fmt.Errorf("%s is not a boolean", path)
}

// number returns the whole number at path, -1 if there is none, which some partners write as -1 too.
func (a *PageAnswer) number(path string) (int, error) {
	s, err := a.text(path)
	if err != nil || s == "" {
		return -1, err
	}
	n, err := strconv.ParseFloat(s, 64)
	if err == nil && n == -1 {
		return -1, nil
	}
	if err != nil || !(n >= 0 && n <= 1<<53) {
		return -1, fmt.Errorf("%s is not a count", path)
	}
	return int(n), nil
}

// set writes a parameter into the query or, if inBody is true, into the body, where dots in name lead into
// objects.
func (r *PageRequest) set(inBody bool, name string, value any) error {
	if !inBody {
		if r.Query == nil {
			r.Query = make(url.Values)
		}
		r.Query.Set(name, fmt.Sprint(value))
		return nil
	}
	if r.Body == nil {
		return errors.New("InBody is set, but there is no PostBody")
	}
	at := r.Body
	if r.flat {
		at[name] = value
		return nil
	}
	for {
		first, rest, deeper := strings.Cut(name, ".")
		if !deeper {
			at[name] = value
			return nil
		}
		inner, ok := at[first].(map[string]any)
		if !ok {
			if at[first] != nil {
				return fmt.Errorf("the body's %s is no object", first)
			}
			inner = make(map[string]any)
		}
		// Write to a copy, because all pages share the inner objects.
		clone := make(map[string]any, len(inner)+1)
		for k, v := range inner {
			clone[k] = v
		}
		at[first] = clone
		at, name = clone, rest
	}
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

// hint is what a page says of whether there are more pages.
type hint uint8

const (
	silent hint = iota
	yes
	no
)

// more returns what the boolean at path more says, or the opposite of the one at path end.
func (a *PageAnswer) more(more, end string) (hint, error) {
	path := or(more, end)
	if path == "" {
		return silent, nil
	}
	is, err := a.flag(path)
	if err == nil && is == (more != "") {
		return yes, nil
	}
	return no, err
}

// saysMore is how the boolean at path more, or the one at path end, says that there are more pages.
func saysMore(more, end string) string {
	if more == "" {
		return end + " is false"
	}
	return more + " is true"
}

// cursor returns the cursor at path, empty if there is none. Partners also write 0, -1 and false for none, and these
// and null as texts.
func (a *PageAnswer) cursor(path string) (string, error) {
	v, err := a.Value(path)
	if err != nil || v == nil || string(v) == "false" {
		return "", err
	}
	next, err := plain(path, v)
	switch strings.ToLower(next) {
	case "0", "-1", "0.0", "-1.0", "false", "null", "undefined":
		next = ""
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

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
