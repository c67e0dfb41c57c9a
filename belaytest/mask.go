package belaytest

import (
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/dnaeon/go-vcr.v3/cassette"

	"github.com/belay-go/belay/internal/redact"
)

// mask replaces the secrets in requests and answers. It finds them by the names of headers, parameters and
// fields, and remembers their values, in order to replace them in other places too.
type mask struct {
	Cassette
	marks   map[string]string // by value
	secrets []string          // values that cleaner replaces in every place
}

func newMask(c Cassette) *mask { return &mask{Cassette: c, marks: make(map[string]string)} }

const markPrefix = "MASKED-"

var mark = regexp.MustCompile(markPrefix + `[0-9]+`)

// fits reports whether got equals stored, where a mark in stored matches any text.
func fits(stored, got string) bool {
	got = mark.ReplaceAllString(got, markPrefix+"0")
	parts := mark.Split(mark.ReplaceAllString(stored, markPrefix+"0"), -1)
	if len(parts) == 1 {
		return stored == got
	}
	rest, ok := strings.CutPrefix(got, parts[0])
	if !ok {
		return false
	}
	for _, part := range parts[1 : len(parts)-1] {
		n := strings.Index(rest, part)
		if n < 0 {
			return false
		}
		rest = rest[n+len(part):]
	}
	return strings.HasSuffix(rest, parts[len(parts)-1])
}

// hidden returns the mark that stands for value. If elsewhere is true, cleaner replaces the value in other
// places too. An empty value and a value that is a mark already are returned unchanged.
func (m *mask) hidden(value string, elsewhere bool) string {
	if value == "" || mark.MatchString(value) && mark.ReplaceAllString(value, "") == "" {
		return value
	}
	if elsewhere && len(value) >= shortestSecret && !slices.Contains(m.secrets, value) {
		m.secrets = append(m.secrets, value)
	}
	if m.marks[value] == "" {
		m.marks[value] = fmt.Sprintf("%s%d", markPrefix, len(m.marks)+1)
	}
	return m.marks[value]
}

const (
	// shortestSecret is the length below which a value is not replaced in other places, because ordinary text
	// may contain it.
	shortestSecret = 6
	// longValue is the length from which the value of an unknown header or parameter may be a secret.
	longValue = 16
)

// cleaner returns a function that masks the secrets in a text, in every form that they may have there.
func (m *mask) cleaner() func(string) string {
	mark := func(secret string) string { return m.hidden(secret, false) }
	return func(text string) string { return redact.Replace(text, m.secrets, mark) }
}

func (m *mask) request(q cassette.Request) cassette.Request {
	contentType := q.Headers.Get("Content-Type")
	body, contentType := m.body(contentType, q.Body, true)
	h := m.header(q.Headers, true)
	if contentType != "" {
		h.Set("Content-Type", contentType)
	}
	return cassette.Request{Method: q.Method, URL: m.url(q.URL), Headers: h, Body: body, ContentLength: int64(len(body))}
}

func (m *mask) response(method string, p cassette.Response) cassette.Response {
	h, text := p.Headers.Clone(), p.Body
	if strings.EqualFold(h.Get("Content-Encoding"), "gzip") {
		if plain, err := unzipped(text); err == nil {
			text = plain
			h.Del("Content-Encoding")
			p.Uncompressed = true
		}
	}
	body, contentType := m.body(h.Get("Content-Type"), text, false)
	out := cassette.Response{
		Code: p.Code, Body: body, Headers: m.header(h, false),
		ContentLength: p.ContentLength, Uncompressed: p.Uncompressed,
	}
	if contentType != "" {
		out.Headers.Set("Content-Type", contentType)
	}
	if method != http.MethodHead && body != p.Body { // the recorded lengths would be wrong
		out.ContentLength = int64(len(body))
		out.Headers.Del("Content-Length")
	}
	if method != http.MethodHead && p.ContentLength >= 0 {
		out.ContentLength = int64(len(body))
	}
	return out
}

func unzipped(s string) (string, error) {
	z, err := gzip.NewReader(strings.NewReader(s))
	if err != nil {
		return "", err
	}
	data, err := io.ReadAll(z)
	return string(data), err
}

func has(names []string, name string) bool {
	return slices.ContainsFunc(names, func(k string) bool { return strings.EqualFold(k, name) })
}

// linked reports whether a header holds URLs, which are masked by their parameters.
func linked(name string) bool {
	switch name {
	case "Link", "Location", "Content-Location", "Operation-Location", "Referer":
		return true
	}
	return false
}

func (m *mask) header(h http.Header, request bool) http.Header {
	out := make(http.Header, len(h))
	for name, values := range h {
		for _, v := range values {
			secret := redact.LooksSecret(name)
			switch {
			case linked(name):
				v = m.urls(v)
			case redact.KnownHeader(name), has(m.KeepHeaders, name):
			case request && !secret:
				v = m.hidden(v, len(v) >= longValue)
			default:
				if secret {
					m.parts(v)
				}
				v = m.hidden(v, secret)
			}
			out[name] = append(out[name], v)
		}
	}
	return out
}

// parts hides the parts of a header's value: the token after a scheme, the user and password in base64, the
// values of pairs and cookies.
func (m *mask) parts(v string) {
	if _, rest, ok := strings.Cut(v, " "); ok {
		m.hidden(rest, true)
		if plain, err := base64.StdEncoding.DecodeString(rest); err == nil {
			user, password, _ := strings.Cut(string(plain), ":")
			m.hidden(string(plain), true)
			if m.hidden(password, true); password == "" {
				m.hidden(user, true)
			}
		}
	}
	for pair := range strings.FieldsFuncSeq(v, func(r rune) bool { return r == ';' || r == ',' || r == ' ' }) {
		if _, value, ok := strings.Cut(pair, "="); ok {
			m.hidden(strings.Trim(value, `"`), true)
		}
	}
}

// urls masks the URLs of a Link header, in their angle brackets, or a URL that stands alone.
func (m *mask) urls(v string) string {
	if !strings.Contains(v, "<") {
		return m.url(v)
	}
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(v, "<")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		inner, after, _ := strings.Cut(rest, ">")
		b.WriteString("<" + m.url(inner) + ">")
		v = after
	}
}

func (m *mask) url(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return m.hidden(raw, false)
	}
	if u.User != nil {
		password, _ := u.User.Password()
		m.hidden(password, true)
		m.hidden(u.User.Username(), true)
	}
	u.User, u.Fragment, u.RawFragment = nil, "", ""
	m.path(u)
	pairs := strings.Split(u.RawQuery, "&")
	for n, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		plainName, err := url.QueryUnescape(name)
		if err != nil {
			plainName = name
		}
		if !ok || redact.KnownParam(plainName) || has(m.KeepParams, plainName) {
			continue
		}
		plain, err := url.QueryUnescape(value)
		if err != nil {
			plain = value
		}
		pairs[n] = name + "=" + m.hidden(plain, redact.LooksSecretField(plainName) || len(plain) >= longValue)
	}
	u.RawQuery = strings.Join(pairs, "&")
	return u.String()
}

// path masks the segments of a path that look like credentials, as in Slack's webhooks and Telegram's bots.
func (m *mask) path(u *url.URL) {
	segments := strings.Split(u.EscapedPath(), "/")
	masked := false
	for i, segment := range segments {
		plain, err := url.PathUnescape(segment)
		if err != nil || !redact.LooksRandom(plain) {
			continue
		}
		segments[i], masked = m.hidden(plain, true), true
	}
	if masked {
		u.RawPath = strings.Join(segments, "/")
		if plain, err := url.PathUnescape(u.RawPath); err == nil {
			u.Path = plain
		}
	}
}
