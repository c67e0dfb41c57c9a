package belay

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode"
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

// expired reports whether an error of a page says that its cursor, which the parameter param holds, has expired: a 410,
// or a 400, 404, 409 or 422 that says so.
func expired(e *Error, param string) bool {
	switch e.StatusCode {
	case http.StatusGone:
		return true
	case http.StatusBadRequest, http.StatusNotFound, http.StatusConflict, http.StatusUnprocessableEntity:
	default:
		return false
	}
	if saysExpired(words(e.Code)) || saysExpired(words(e.Message)) {
		return true
	}
	for name, text := range e.Fields {
		if own := param != "" && strings.EqualFold(name, param); own && isBad(words(text)) || saysExpired(words(name+" "+text)) {
			return true
		}
	}
	return false
}

// cursors are what partners call a cursor, in lower case and without blanks.
var cursors = strings.Fields("cursor pagetoken nexttoken nextpagetoken synctoken paginationtoken pageinfo pagecursor " +
	"continuation continuationtoken scroll scrollid skiptoken deltatoken deltalink querylocator locator startingafter " +
	"bookmark nextcursor endcursor aftercursor searchcontext paginationkey")

// noCursor are the words behind one of those that make it something else.
var noCursor = strings.Fields("limit size count field fields type types option options format name names parameter param order")

// words returns the words of a sentence or of a code, in lower case: pageToken and page_token are two.
func words(s string) []string {
	var b strings.Builder
	before := ' '
	for _, r := range s[:min(len(s), 1000)] {
		switch {
		case unicode.IsUpper(r) && unicode.IsLower(before):
			b.WriteByte(' ')
			fallthrough
		case unicode.IsLetter(r), unicode.IsDigit(r), r == '\'':
			b.WriteRune(unicode.ToLower(r))
		default:
			b.WriteByte(' ')
		}
		before = r
	}
	return strings.Fields(b.String())
}

// saysExpired reports whether words speak of a cursor that cannot be used.
func saysExpired(words []string) bool {
	for i := range words {
		for n := 1; n <= 3 && i+n <= len(words); n++ {
			if !slices.Contains(cursors, strings.Join(words[i:i+n], "")) {
				continue
			}
			if i+n < len(words) && slices.Contains(noCursor, words[i+n]) {
				continue
			}
			if isBad(words[max(0, i-5):i]) || isBad(words[i+n:min(len(words), i+n+6)]) {
				return true
			}
		}
	}
	return false
}

// isBad reports whether words say that something is of no use any more.
func isBad(words []string) bool {
	said := " " + strings.Join(words, " ") + " "
	for _, bad := range [...]string{
		"expired", "invalid", "not valid", "no longer", "stale", "not found", "does not exist", "doesn't exist", "unknown",
		"out of date", "not recognized", "unrecognized", "isn't valid", "outdated", "timed out", "gone",
	} {
		if strings.Contains(said, " "+bad+" ") {
			return true
		}
	}
	return false
}
