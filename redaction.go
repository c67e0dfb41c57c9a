package belay

import (
	"encoding/base64"
	"encoding/hex"
	"io"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/belay-go/belay/internal/errbody"
	"github.com/belay-go/belay/internal/origin"
	"github.com/belay-go/belay/internal/redact"
)

// secrets returns the texts that must not be shown of the attempts: those that identify the caller, and the credentials
// in the caller's own path values and body.
func (x *exchange) secrets() []string {
	secrets := x.credentials()
	for name, value := range x.opts.values {
		if redact.LooksSecretInput(name) {
			secrets = append(secrets, value)
		}
	}
	return append(secrets, x.inBody()...)
}

// credentials returns the headers and query parameters that an authenticator of any kind put onto the attempts, the
// caller's own that look like credentials, and those in the path of the base URL.
func (x *exchange) credentials() []string {
	secrets := slices.Clip(x.past().secrets)
	hide := func(value string) { secrets = append(secrets, partsOf(value)...) }
	for name, values := range x.req.Header {
		if redact.LooksSecretField(name) && !redact.KnownHeader(name) {
			for _, v := range values {
				hide(v)
			}
		}
	}
	for pair := range pairs(x.req.URL.RawQuery) {
		name, value, ok := strings.Cut(pair, "=")
		if name = unescape(name); ok && redact.LooksSecretField(name) && !redact.KnownParam(name) {
			secrets = append(secrets, value, unescape(value))
		}
	}
	secrets = append(secrets, x.inBase...)
	if x.signed == nil {
		return secrets
	}
	if was, is := x.req.URL, x.signed.URL; is.Path != was.Path {
		for part := range strings.SplitSeq(is.EscapedPath(), "/") {
			if len(part) < shortestPart || strings.Contains(was.EscapedPath(), part) {
				continue
			}
			secrets = append(secrets, part, unescape(part))
			for i := range min(8, len(part)-2*shortestPart+1) { // as in /bot<token>/
				secrets = append(secrets, part[i:])
			}
		}
	}
	for name, values := range x.signed.Header {
		if old := x.req.Header[name]; !slices.Equal(old, values) {
			for _, v := range values {
				hide(v)
			}
		}
	}
	if x.signed.URL.RawQuery != x.req.URL.RawQuery {
		old := slices.Collect(pairs(x.req.URL.RawQuery))
		for pair := range pairs(x.signed.URL.RawQuery) {
			if slices.Contains(old, pair) {
				continue
			}
			_, value, ok := strings.Cut(pair, "=")
			if !ok { // a bare token
				value = pair
			}
			secrets = append(secrets, value, unescape(value))
		}
	}
	return secrets
}

// pairs returns the parameters of a query, as they are written.
func pairs(query string) iter.Seq[string] {
	return strings.FieldsFuncSeq(query, func(r rune) bool { return r == '&' || r == ';' })
}

// longestLogin is the size of a body above which no credentials are looked for in it.
const longestLogin = 64 << 10

// inBody returns the credentials in the request's body.
func (x *exchange) inBody() []string {
	if x.req.GetBody == nil || x.req.Body == nil || x.req.ContentLength > longestLogin {
		return nil
	}
	if p := x.past(); p.bodyRead {
		return p.inBody
	}
	var found []string
	if rc, err := x.req.GetBody(); err == nil {
		data, err := io.ReadAll(io.LimitReader(rc, longestLogin+1))
		_ = rc.Close()
		if err == nil && len(data) <= longestLogin {
			found = redact.InBody(x.req.Header.Get("Content-Type"), data)
		}
	}
	h := x.record()
	h.bodyRead, h.inBody = true, found
	return found
}

// partsOf returns a header's value and the parts of it that may be secrets by themselves: what follows the scheme, user
// and password, and the values of pairs, as in sid=x and Token token="x".
func partsOf(value string) []string {
	parts := []string{value}
	scheme, rest, ok := strings.Cut(value, " ")
	if ok {
		parts = append(parts, rest)
		if plain, err := base64.StdEncoding.DecodeString(rest); err == nil && strings.EqualFold(scheme, "Basic") {
			user, password, _ := strings.Cut(string(plain), ":")
			if parts = append(parts, string(plain)); password == "" {
				password = user
			}
			parts = append(parts, password)
		}
	}
	for pair := range strings.FieldsFuncSeq(value, func(r rune) bool { return r == ';' || r == ',' || r == ' ' }) {
		if _, inner, ok := strings.Cut(pair, "="); ok {
			if inner = strings.Trim(inner, `"`); len(inner) >= shortestPart {
				parts = append(parts, inner)
			}
		}
	}
	return parts
}

// shortestPart is the length below which a part of a header's value is not taken for a secret.
const shortestPart = 6

// carriedOver returns the values that must not go to another origin in a redirect: the secrets, and the client's and
// the call's own headers.
func (x *exchange) carriedOver() []string {
	all := x.secrets()
	for _, h := range []http.Header{x.set.header, x.opts.header} {
		for name, values := range h {
			if carried[name] || redact.KnownHeader(name) {
				continue
			}
			for _, v := range values {
				if len(v) >= shortestPart {
					all = append(all, partsOf(v)...)
				}
			}
		}
	}
	return slices.DeleteFunc(all, func(s string) bool { return len(s) < 4 })
}

// unescape returns s without its percent escapes. One that is malformed stays as it is.
func unescape(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if c, err := hex.DecodeString(s[i+1 : i+3]); err == nil {
				b.WriteByte(c[0])
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// stripLocation removes the credential from the query of a redirect's Location, in case the partner repeats
// it there. The credential would otherwise go wherever the redirect leads.
func (x *exchange) stripLocation(resp *http.Response) {
	if to := resp.Header.Get("Location"); to != "" {
		if clean := x.without(to, x.carriedOver()); clean != to {
			resp.Header.Set("Location", clean)
		}
	}
}

// stripPath removes the Location of a redirect that would take a credential in its path or its host to another origin.
// The redirect is the answer then.
func (x *exchange) stripPath(resp *http.Response) {
	to, err := resp.Location()
	if err != nil || !x.foreign(&http.Request{URL: to}) && (x.base != nil || origin.Same(to, x.req.URL)) {
		return
	}
	if redact.Holds(to.Host+to.EscapedPath(), x.carriedOver()) {
		resp.Header.Del("Location")
	}
}

// unsigned returns a link of the partner without the query parameters that hold the credential. A link that
// is stored would otherwise store the credential with it.
func (x *exchange) unsigned(link string) string {
	if !strings.ContainsAny(link, "?#") {
		return link
	}
	return x.without(link, slices.DeleteFunc(x.secrets(), func(s string) bool { return len(s) < 4 }))
}

// without returns a link without the query parameters and the fragment that hold one of secrets.
func (x *exchange) without(link string, secrets []string) string {
	if len(secrets) == 0 {
		return link
	}
	before, fragment, _ := strings.Cut(link, "#")
	before, raw, _ := strings.Cut(before, "?")
	all := slices.Collect(pairs(raw))
	kept := slices.DeleteFunc(slices.Clone(all), func(pair string) bool { return redact.Holds(pair, secrets) })
	bad := redact.Holds(fragment, secrets)
	if len(kept) == len(all) && !bad {
		return link
	}
	if len(kept) > 0 {
		before += "?" + strings.Join(kept, "&")
	}
	if fragment != "" && !bad {
		before += "#" + fragment
	}
	return before
}

// shownTarget returns the URL of a redirect as errors show it: with the names of the call's path values in their
// places.
func (x *exchange) shownTarget(to *url.URL) string {
	shown := redact.WholeURL(to)
	for name, value := range x.opts.values {
		if len(value) > 1 {
			shown = strings.ReplaceAll(shown, "/"+url.PathEscape(value), "/{"+name+"}")
		}
	}
	return redact.Line(redact.Values(shown, x.secrets()), 1024)
}

// clean returns err with a text that holds neither a url.Error's URL nor the credential. Nil stays nil.
func (x *exchange) clean(err error) error {
	if err == nil {
		return nil
	}
	return redact.Error(err, x.secrets())
}

// url returns the request's URL as errors and events show it: with the path template if there is one,
// otherwise redacted.
func (x *exchange) url() string {
	if x.opts.route == "" || x.base == nil {
		return x.withoutInBase(redact.URL(x.req.URL))
	}
	return x.urls.get(x.stack, x.opts.route)
}

const maxLoggedBody = 4 << 10

// shownBody returns the text that events show of the request's body. It is empty if the body can be read only once.
func (x *exchange) shownBody() string {
	if x.req.GetBody == nil || x.req.Body == nil {
		return ""
	}
	rc, err := x.req.GetBody()
	if err != nil {
		return ""
	}
	defer rc.Close()
	head, _ := io.ReadAll(io.LimitReader(rc, errbody.MaxBytes))
	return x.shown(x.req.Header.Get("Content-Type"), head)
}

// shownAnswer returns the text that events show of the body of an answer. It is empty if the body has not been read.
func (x *exchange) shownAnswer(resp *http.Response) string {
	head := x.past().att.peeked
	if len(head) == 0 && x.whole && x.buffer != nil {
		head = x.data[:min(len(x.data), errbody.MaxBytes)]
	}
	return x.shown(resp.Header.Get("Content-Type"), head)
}

// shown returns the text that events show of a body: what the user's redactor makes of it, or else its shape. The
// call's secrets are masked before anything is cut, because the rest of a secret that was cut would not be found.
func (x *exchange) shown(contentType string, head []byte) string {
	if len(head) == 0 {
		return ""
	}
	secrets := x.secrets()
	contentType, body := redact.Values(contentType, secrets), []byte(redact.Values(string(head), secrets))
	body = body[:min(len(body), maxLoggedBody)]
	if x.set.redactor == nil {
		return redact.Shape(contentType, body, maxLoggedBody)
	}
	return redact.Line(redact.Values(x.redacted(contentType, body), secrets), maxLoggedBody)
}

// redacted returns the text that the user's redactor makes of a body, "" if the redactor panics.
func (x *exchange) redacted(contentType string, head []byte) (text string) {
	defer func() {
		if recover() != nil {
			text = ""
		}
	}()
	return x.set.redactor(contentType, head)
}
