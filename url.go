package belay

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/belay-go/belay/internal/origin"
	"github.com/belay-go/belay/internal/redact"
)

// foreign reports whether req leads to another origin than those of the partner: the base URL's and the
// trusted ones. Without a base URL it reports false.
func (s *stack) foreign(req *http.Request) bool {
	return s.base != nil && req != nil && req.URL != nil && !origin.Partner(req.URL, s.base, s.set.trusted)
}

// resolve joins path to the base URL. An absolute URL must lead to the partner; it is returned without user
// and fragment.
func (s *stack) resolve(path string) (*url.URL, error) {
	if absolute(path) {
		u, err := url.Parse(path)
		if err != nil {
			return nil, invalid("the URL cannot be parsed")
		}
		if s.foreign(&http.Request{URL: u}) {
			return nil, invalid("the URL leads to %s, not to the partner at %s (WithTrustedOrigins)",
				origin.Of(u), origin.Of(s.base))
		}
		u.User, u.Fragment = nil, ""
		return u, nil
	}
	u := *s.base
	path, _, _ = strings.Cut(path, "#")
	path, query, _ := strings.Cut(path, "?")
	joined := escapeRest(joinPath(s.base.EscapedPath(), path))
	plain, err := url.PathUnescape(joined)
	if err != nil {
		return nil, invalid("the path is badly escaped: %w", err)
	}
	u.Path, u.RawPath, u.RawQuery = plain, joined, query
	return &u, nil
}

// checkLink returns an error if a link of the partner must not be followed. The text of the error continues a
// sentence that begins with the link.
func (s *stack) checkLink(link string) error {
	u, err := url.Parse(link)
	switch {
	case err != nil || !u.IsAbs():
		return errors.New("is no absolute URL")
	case u.User != nil:
		return fmt.Errorf("to %s holds a user", origin.Of(u))
	case s.foreign(&http.Request{URL: u}):
		return fmt.Errorf("leads to %s, not to the partner at %s (WithTrustedOrigins)", origin.Of(u), origin.Of(s.base))
	}
	return nil
}

// absolute reports whether path is a URL with a scheme.
func absolute(path string) bool {
	scheme, _, ok := strings.Cut(path, "://")
	return ok && !strings.ContainsAny(scheme, "/?#{")
}

// escapeRest escapes the bytes of path that may not stand in a URL's path and are not escaped yet. Otherwise
// net/url would ignore RawPath, and would undo the escapes that path has already.
func escapeRest(path string) string {
	var b strings.Builder
	for i := range len(path) {
		if c := path[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("\"<>\\^`{|}[]", c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// escapedQuery returns a query in which what no server takes as it is (RFC 3986 section 3.4) is escaped: blanks,
// control characters, all that is not ASCII, and a percent sign without two digits. Escapes that it has already stay,
// and so do quotes, brackets and braces, which partners write into their own links.
func escapedQuery(query string) string {
	bad := func(i int) bool {
		c := query[i]
		if c == '%' {
			return i+2 >= len(query) || !isHex(query[i+1]) || !isHex(query[i+2])
		}
		return c <= ' ' || c >= 0x7f
	}
	clean := true
	for i := range len(query) {
		clean = clean && !bad(i)
	}
	if clean {
		return query
	}
	var b strings.Builder
	for i := range len(query) {
		if bad(i) {
			fmt.Fprintf(&b, "%%%02X", query[i])
		} else {
			b.WriteByte(query[i])
		}
	}
	return b.String()
}

func isHex(c byte) bool { return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f' }

// wellEscaped returns req, or a clone of it with a query that may be sent.
func wellEscaped(req *http.Request) *http.Request {
	query := escapedQuery(req.URL.RawQuery)
	if query == req.URL.RawQuery {
		return req
	}
	clone, u := *req, *req.URL
	u.RawQuery = query
	clone.URL = &u
	return &clone
}

// joinPath joins two paths with one slash between them. An empty path returns base.
func joinPath(base, path string) string {
	switch {
	case path == "":
		return base
	case strings.HasSuffix(base, "/") && strings.HasPrefix(path, "/"):
		return base + path[1:]
	case strings.HasSuffix(base, "/") || strings.HasPrefix(path, "/"):
		return base + path
	}
	return base + "/" + path
}

// expand fills the {names} of the template with the call's values, escaped. A name without a value is an
// error, and so is a value without a name.
func (o *callOptions) expand(template string) (string, error) {
	var b strings.Builder
	used := 0
	rest := template
	for {
		before, after, ok := strings.Cut(rest, "{")
		b.WriteString(before)
		if !ok {
			break
		}
		name, tail, ok := strings.Cut(after, "}")
		value, given := o.values[name]
		if !ok || !given {
			return "", invalid("the path %q needs PathValue(%q, …)", withoutQuery(template), redact.Line(name, 40))
		}
		if strings.Contains(b.String(), "?") {
			b.WriteString(url.QueryEscape(value))
		} else {
			b.WriteString(url.PathEscape(value))
		}
		used++
		rest = tail
	}
	if used < len(o.values) {
		for name := range o.values {
			if !strings.Contains(template, "{"+name+"}") {
				return "", invalid("the path %q has no {%s}", withoutQuery(template), name)
			}
		}
	}
	return b.String(), nil
}

// withoutQuery returns a path template as errors show it.
func withoutQuery(template string) string {
	before, _, _ := strings.Cut(template, "?")
	return redact.Line(before, 200)
}

// parseBase parses a base URL or a trusted origin.
func parseBase(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, errors.New("the base URL cannot be parsed") // without err, whose text may hold a password
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("the base URL's scheme is %q, must be http or https", u.Scheme)
	case u.Hostname() == "":
		return nil, errors.New("the base URL has no host")
	case u.User != nil:
		return nil, fmt.Errorf("the base URL of %s holds a user; use WithAuth(Basic(…))", u.Host)
	case u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("the base URL of %s holds a query or a fragment", u.Host)
	}
	return u, nil
}
