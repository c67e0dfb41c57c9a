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
func (c *call) secrets() []string {
	secrets := slices.Clip(c.past)
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
	for name, values := range c.req.Header {
		if redact.LooksSecret(name) {
			for _, v := range values {
				hide(v)
			}
		}
	}
	if c.signed == nil {
		return secrets
	}
	for name, values := range c.signed.Header {
		if old := c.req.Header[name]; !slices.Equal(old, values) {
			for _, v := range values {
				hide(v)
			}
		}
	}
	if c.signed.URL.RawQuery != c.req.URL.RawQuery {
		old := c.req.URL.Query()
		for name, values := range c.signed.URL.Query() {
			if !slices.Equal(old[name], values) {
				secrets = append(secrets, values...)
			}
		}
	}
	return secrets
}

// stripLocation takes out of a redirect what the authenticator put into the query, if the partner says it
// back: it would go wherever the redirect leads.
func (c *call) stripLocation(resp *http.Response) {
	if to := resp.Header.Get("Location"); to != "" {
		if clean := c.unsigned(to); clean != to {
			resp.Header.Set("Location", clean)
		}
	}
}

// unsigned takes out of a link of the partner's the parameters that hold the credential: whoever keeps the link would keep it.
func (c *call) unsigned(link string) string {
	before, raw, ok := strings.Cut(link, "?")
	if !ok || c.signed == nil {
		return link
	}
	secrets := slices.DeleteFunc(c.secrets(), func(s string) bool { return len(s) < 4 })
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
func (c *call) clean(err error) error {
	if err == nil {
		return nil
	}
	return redact.Error(err, c.secrets())
}

// url returns what may be shown of the request's URL: the path template where there is one.
func (c *call) url() string {
	if c.opts.route == "" || c.base == nil {
		return redact.URL(c.req.URL)
	}
	return c.labelled(c.opts.route)
}

const maxLoggedBody = 4 << 10

// shownBody returns what may be shown of the request's body.
func (c *call) shownBody() string {
	if c.req.GetBody == nil || c.req.Body == nil {
		return ""
	}
	rc, err := c.req.GetBody()
	if err != nil {
		return ""
	}
	defer rc.Close()
	head, _ := io.ReadAll(io.LimitReader(rc, maxLoggedBody))
	contentType := c.req.Header.Get("Content-Type")
	if c.set.redactor != nil {
		return redact.Line(c.redacted(contentType, head), maxLoggedBody)
	}
	return redact.Shape(contentType, head, maxLoggedBody)
}

// redacted is what the user's redactor makes of a body; nothing if it panics.
func (c *call) redacted(contentType string, head []byte) (shown string) {
	defer func() {
		if recover() != nil {
			shown = ""
		}
	}()
	return c.set.redactor(contentType, head)
}
