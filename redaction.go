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

// secrets returns what must not be seen of the attempts: all that the authenticator put onto them,
// whatever kind it is, and the caller's own headers that look like credentials.
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

// stripLocation takes out of a redirect what the authenticator put into the query, if the partner says it
// back: it would go wherever the redirect leads.
func (x *exchange) stripLocation(resp *http.Response) {
	if to := resp.Header.Get("Location"); to != "" {
		if clean := x.unsigned(to); clean != to {
			resp.Header.Set("Location", clean)
		}
	}
}

// unsigned takes out of a link of the partner's the parameters that hold the credential: whoever keeps the link would keep it.
func (x *exchange) unsigned(link string) string {
	before, raw, ok := strings.Cut(link, "?")
	if !ok || x.signed == nil {
		return link
	}
	secrets := slices.DeleteFunc(x.secrets(), func(s string) bool { return len(s) < 4 })
	raw, fragment, _ := strings.Cut(raw, "#")
	holds := func(pair string) bool {
		_, value, _ := strings.Cut(pair, "=")
		for range 3 { // links may stand in links
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

// clean takes out of an error's text what must not be seen: a url.Error's URL, and the credential.
func (x *exchange) clean(err error) error {
	if err == nil {
		return nil
	}
	return redact.Error(err, x.secrets())
}

// url returns what may be shown of the request's URL: the path template where there is one.
func (x *exchange) url() string {
	if x.opts.route == "" || x.base == nil {
		return redact.URL(x.req.URL)
	}
	return x.labelled(x.opts.route)
}

const maxLoggedBody = 4 << 10

// shownBody returns what may be shown of the request's body.
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

// redacted is what the user's redactor makes of a body; nothing if it panics.
func (x *exchange) redacted(contentType string, head []byte) (shown string) {
	defer func() {
		if recover() != nil {
			shown = ""
		}
	}()
	return x.set.redactor(contentType, head)
}
