package belay

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// ErrCursorExpired means that the partner does not know a list's cursor any more: it has been too long since the page
// before, or the list was made anew. Begin the list again. The error has a [CursorError].
var ErrCursorExpired = errors.New("belay: the cursor of the list has expired")

// CursorError says where a list was when its cursor expired. Every page before that was complete.
type CursorError struct {
	// Cursor is the cursor that expired. It is where the pages that have come end.
	Cursor string
	// Page is the number of the page that was asked for, from 1.
	Page int
}

// Error returns the number of the page, but not the cursor, which may be a URL with a secret in it.
func (e *CursorError) Error() string {
	return fmt.Sprintf("%v, at page %d", ErrCursorExpired, e.Page)
}

// Is reports whether target is [ErrCursorExpired].
func (e *CursorError) Is(target error) bool { return target == ErrCursorExpired }

// expired reports whether an error of a page says that its cursor has expired: a 410, or a 400, 404 or 422 that says so.
func expired(e *Error) bool {
	switch e.StatusCode {
	case http.StatusGone:
		return true
	case http.StatusBadRequest, http.StatusNotFound, http.StatusUnprocessableEntity:
	default:
		return false
	}
	var said strings.Builder
	said.WriteString(e.Code + " " + e.Message)
	for name, text := range e.Fields {
		said.WriteString(" " + name + " " + text)
	}
	plain := strings.Map(func(r rune) rune {
		if r == '_' || r == '-' || r == ' ' || r == '.' {
			return -1
		}
		return r
	}, strings.ToLower(said.String()))
	about := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(plain, w) {
				return true
			}
		}
		return false
	}
	return about("cursor", "pagetoken", "nexttoken", "synctoken", "paginationtoken", "continuation", "scroll", "pageinfo",
		"skiptoken", "deltatoken", "querylocator", "startingafter", "bookmark") &&
		about("expired", "invalid", "notvalid", "nolonger", "stale", "notfound", "doesnotexist", "unknown", "outofdate")
}
