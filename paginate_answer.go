package belay

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/belay-go/belay/internal/jsonscan"
)

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

// hint is what a page says of whether there are more pages.
type hint uint8

const (
	silent hint = iota
	yes
	no
)

// more returns what the boolean at path more says, or the opposite of the one at path end.
func (a *PageAnswer) more(more, end string) (hint, error) {
	path := cmp.Or(more, end)
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
