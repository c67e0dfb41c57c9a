package belay

import (
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/belay-go/belay/internal/redact"
)

// secrets returns the texts that must not be shown of the attempts: the headers and query parameters that an
// authenticator of any kind put onto them, and the caller's own headers that look like credentials.
func (x *exchange) secrets() []string {
	secrets := slices.Clip(x.past().secrets)
	hide := func(value string) {
		secrets = append(secrets, value)
		scheme, rest, ok := strings.Cut(value, " ")
		if !ok {
			return
		}
		secrets = append(secrets, rest)
		if plain, err := base64.StdEncoding.DecodeString(rest); err == nil && strings.EqualFold(scheme, "Basic") {
			user, password, _ := strings.Cut(string(plain), ":")
			if secrets = append(secrets, string(plain)); password == "" {
				password = user
			}
			secrets = append(secrets, password)
		}
	}
	for name, values := range x.req.Header {
		if redact.LooksSecret(name) {
			for _, v := range values {
				hide(v)
			}
		}
	}
	if x.signed == nil {
		return secrets
	}
	for name, values := range x.signed.Header {
		if old := x.req.Header[name]; !slices.Equal(old, values) {
			for _, v := range values {
				hide(v)
			}
		}
	}
	if x.signed.URL.RawQuery != x.req.URL.RawQuery {
		old := x.req.URL.Query()
		for name, values := range x.signed.URL.Query() {
			if !slices.Equal(old[name], values) {
				secrets = append(secrets, values...)
			}
		}
	}
	return secrets
}

// stripLocation removes the credential from the query of a redirect's Location, in case the partner repeats
// it there. The credential would otherwise go wherever the redirect leads.
func (x *exchange) stripLocation(resp *http.Response) {
	if to := resp.Header.Get("Location"); to != "" {
		if clean := x.unsigned(to); clean != to {
			resp.Header.Set("Location", clean)
		}
	}
}

// unsigned returns a link of the partner without the query parameters that hold the credential. A link that
// is stored would otherwise store the credential with it.
func (x *exchange) unsigned(link string) string {
	before, raw, ok := strings.Cut(link, "?")
	if !ok || x.signed == nil {
		return link
	}
	secrets := slices.DeleteFunc(x.secrets(), func(s string) bool { return len(s) < 4 })
	raw, fragment, _ := strings.Cut(raw, "#")
	holds := func(pair string) bool {
		_, value, _ := strings.Cut(pair, "=")
		for range 3 { // a link may hold another link, escaped
			if slices.ContainsFunc(secrets, func(s string) bool { return strings.Contains(value, s) }) {
				return true
			}
			plain, err := url.QueryUnescape(value)
			if err != nil || plain == value {
				return false
			}
			value = plain
		}
		return false
	}
	pairs := strings.FieldsFunc(raw, func(r rune) bool { return r == '&' || r == ';' })
	kept := slices.DeleteFunc(slices.Clone(pairs), holds)
	if len(kept) == len(pairs) {
		return link
	}
	if len(kept) > 0 {
		before += "?" + strings.Join(kept, "&")
	}
	if fragment != "" {
		before += "#" + fragment
	}
	return before
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
		return redact.URL(x.req.URL)
	}
	return x.labelled(x.opts.route)
}

const maxLoggedBody = 4 << 10

// shownBody returns the text that errors and events show of the request's body: the result of the user's
// redactor, or else the body's shape. It is empty if the body can be read only once.
func (x *exchange) shownBody() string {
	if x.req.GetBody == nil || x.req.Body == nil {
		return ""
	}
	rc, err := x.req.GetBody()
	if err != nil {
		return ""
	}
	defer rc.Close()
	head, _ := io.ReadAll(io.LimitReader(rc, maxLoggedBody))
	contentType := x.req.Header.Get("Content-Type")
	if x.set.redactor != nil {
		return redact.Line(x.redacted(contentType, head), maxLoggedBody)
	}
	return redact.Shape(contentType, head, maxLoggedBody)
}

// redacted returns the text that the user's redactor makes of a body, "" if the redactor panics.
func (x *exchange) redacted(contentType string, head []byte) (shown string) {
	defer func() {
		if recover() != nil {
			shown = ""
		}
	}()
	return x.set.redactor(contentType, head)
}
