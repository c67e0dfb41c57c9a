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

// Paginator says how a partner pages. Its kinds are structs of this package; implement it for a partner that has a way of
// its own. Which to choose:
//
//	the partner sends                                     use
//	a Link header (GitHub, Shopify)                       LinkPages
//	a cursor in the JSON (Slack, HubSpot, Notion)         CursorPages
//	the next page's URL in the JSON (Salesforce, Graph)   NextURLPages
//	has_more, and wants the last item's id (Stripe)       LastIDPages
//	nothing, and takes an offset or a skip (Attio)        OffsetPages
//	nothing, and takes the number of a page               NumberPages
//
// Paths name values in a page's JSON, by names joined with dots ("data.results"); a name may hold dots itself
// ("@odata.nextLink").
type Paginator interface {
	// Check returns why the paginator cannot be used, such as for want of a rule by which it ends. It is asked once, before the
	// first request.
	Check() error
	// ItemsPath says where the items are in a page; empty when the page is the array.
	ItemsPath() string
	// Ask puts r.Cursor, which is empty for the first page, onto a request.
	Ask(r *PageRequest) error
	// Next returns the cursor of the page after a, empty when a is the last.
	Next(a *PageAnswer) (cursor string, err error)
}

// PageRequest is what a paginator says of the request for a page.
type PageRequest struct {
	// Cursor is where the page begins, as Next returned it.
	Cursor string
	// Query are parameters to set, beside those of the call's options.
	Query url.Values
	// Body is what [PostBody] was given, to write into; nil without it.
	Body map[string]any
	// URL asks for that in place of the path, its query and Query. It must be of the partner's origin.
	URL string
}

// PageAnswer is what a paginator sees of a page. It must not keep it.
type PageAnswer struct {
	// Cursor is that of the request, and URL the request's.
	Cursor string
	URL    *url.URL
	// Header is the answer's.
	Header http.Header
	// Count is how many items the page has, and Last the JSON of the last one, nil when there is none.
	Count int
	Last  []byte
	// Total may be set to how many items there are in all.
	Total int

	doc *jsonscan.Doc
}

// Value returns the JSON of the value at path; nil when there is none or it is null.
func (a *PageAnswer) Value(path string) (json.RawMessage, error) {
	v, err := a.doc.Value(path)
	if err != nil || len(v) == 0 || string(v) == "null" {
		return nil, err
	}
	return v, nil
}

// text returns the string or number at path; empty when there is none.
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

// flag returns the boolean at path, which must be one.
func (a *PageAnswer) flag(path string) (bool, error) {
	v, err := a.Value(path)
	switch {
	case err != nil:
		return false, err
	case string(v) == "true", string(v) == "false":
		return string(v) == "true", nil
	case v == nil:
		return false, fmt.Errorf("there is no %s", path)
	}
	return false, fmt.Errorf("%s is not a boolean", path)
}

// number returns the whole number at path; -1 when there is none.
func (a *PageAnswer) number(path string) (int, error) {
	s, err := a.text(path)
	if err != nil || s == "" {
		return -1, err
	}
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || !(n >= 0 && n <= 1<<53) {
		return -1, fmt.Errorf("%s is not a count", path)
	}
	return int(n), nil
}

// set writes a parameter to where the partner wants it.
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
		// A copy, as the body is every page's.
		clone := make(map[string]any, len(inner)+1)
		for k, v := range inner {
			clone[k] = v
		}
		at[first] = clone
		at, name = clone, rest
	}
}

// missing makes the error of fields that must not be empty.
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

// CursorPages follows a cursor that each page holds: Slack, HubSpot, Notion, Zendesk, Google, Attio's newer lists. It ends where
// the cursor is missing, null or empty, and where More says so.
type CursorPages struct {
	// Items is the path of the items; empty when the page is the array, which then holds no cursor.
	Items string
	// Cursor is the path of the next page's cursor, text or a number.
	Cursor string
	// Param is the parameter that takes it, in the query or, with InBody, in the body of [PostBody], where dots lead into
	// objects ("variables.after").
	Param  string
	InBody bool
	// More is the path of a boolean that says whether there are more, which is trusted over a cursor that is there (Zendesk). Empty
	// means that there is none.
	More string
	// Required says that the cursor stands on every page, null or empty on the last: one without it is [ErrData], rather than the
	// end. A cursor that the partner has renamed would end every list after its first page. It is not asked of a page that More says is
	// the last.
	Required bool
}

// Check implements [Paginator].
func (p CursorPages) Check() error {
	return missing("CursorPages", "Cursor", p.Cursor, "Param", p.Param)
}

// ItemsPath implements [Paginator].
func (p CursorPages) ItemsPath() string { return p.Items }

// Ask implements [Paginator].
func (p CursorPages) Ask(r *PageRequest) error {
	if r.Cursor == "" {
		return nil
	}
	return r.set(p.InBody, p.Param, r.Cursor)
}

// Next implements [Paginator].
func (p CursorPages) Next(a *PageAnswer) (string, error) {
	more := false
	if p.More != "" {
		var err error
		if more, err = a.flag(p.More); err != nil || !more {
			return "", err
		}
	}
	next, err := a.text(p.Cursor)
	if err == nil && more && next == "" {
		err = fmt.Errorf("%s is true, but there is no %s", p.More, p.Cursor)
	}
	if err == nil && p.Required && next == "" {
		var v []byte
		if v, err = a.doc.Value(p.Cursor); err == nil && len(v) == 0 {
			err = fmt.Errorf("there is no %s, null or otherwise", p.Cursor)
		}
	}
	return next, err
}

// LinkPages follows the Link header with rel="next" (RFC 8288): GitHub, Shopify, Okta. It ends where there is none.
type LinkPages struct {
	// Items is the path of the items; empty when the page is the array.
	Items string
}

// Check implements [Paginator].
func (p LinkPages) Check() error { return nil }

// ItemsPath implements [Paginator].
func (p LinkPages) ItemsPath() string { return p.Items }

// Ask implements [Paginator].
func (p LinkPages) Ask(r *PageRequest) error {
	r.URL = r.Cursor
	return nil
}

// Next implements [Paginator].
func (p LinkPages) Next(a *PageAnswer) (string, error) {
	return absoluteNext(a, link.Next(a.Header["Link"]))
}

// NextURLPages follows the URL of the next page, which each page's JSON holds, absolute or relative: Salesforce, Microsoft Graph,
// Calendly, Twilio. It ends where that is missing, null or empty, and where More says so.
type NextURLPages struct {
	// Items is the path of the items, and URL that of the next page's URL.
	Items, URL string
	// More is the path of a boolean that says whether there are more, which is trusted over a URL that is there. Empty
	// means that there is none.
	More string
	// Required says that the URL stands on every page, null or empty on the last, as of [CursorPages].
	Required bool
}

// Check implements [Paginator].
func (p NextURLPages) Check() error { return missing("NextURLPages", "URL", p.URL) }

// ItemsPath implements [Paginator].
func (p NextURLPages) ItemsPath() string { return p.Items }

// Ask implements [Paginator].
func (p NextURLPages) Ask(r *PageRequest) error {
	r.URL = r.Cursor
	return nil
}

// Next implements [Paginator].
func (p NextURLPages) Next(a *PageAnswer) (string, error) {
	next, err := CursorPages{Cursor: p.URL, More: p.More, Required: p.Required}.Next(a)
	if err != nil {
		return "", err
	}
	return absoluteNext(a, next)
}

// absoluteNext resolves a next link against the request's URL.
func absoluteNext(a *PageAnswer, next string) (string, error) {
	if next == "" {
		return "", nil
	}
	u, err := a.URL.Parse(next)
	if err != nil {
		return "", errors.New("the next link is no URL")
	}
	u.Fragment, u.RawFragment = "", ""
	return u.String(), nil
}

// LastIDPages asks for what comes after the last item's id: Stripe. It ends where More says so.
type LastIDPages struct {
	// Items is the path of the items.
	Items string
	// ID is the path of the id within an item. Empty means "id".
	ID string
	// Param is the parameter that takes it, such as "starting_after"; with InBody in the body of [PostBody].
	Param  string
	InBody bool
	// More is the path of the boolean that says whether there are more, such as "has_more".
	More string
}

// Check implements [Paginator].
func (p LastIDPages) Check() error {
	return missing("LastIDPages", "Param", p.Param, "More", p.More)
}

// ItemsPath implements [Paginator].
func (p LastIDPages) ItemsPath() string { return p.Items }

// Ask implements [Paginator].
func (p LastIDPages) Ask(r *PageRequest) error {
	if r.Cursor == "" {
		return nil
	}
	return r.set(p.InBody, p.Param, r.Cursor)
}

// Next implements [Paginator].
func (p LastIDPages) Next(a *PageAnswer) (string, error) {
	more, err := a.flag(p.More)
	if err != nil || !more {
		return "", err
	}
	if a.Last == nil {
		return "", fmt.Errorf("%s is true, but the page is empty", p.More)
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
