package belay

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"github.com/belay-go/belay/internal/origin"
	"github.com/belay-go/belay/internal/redact"
)

// Authenticator gives the credential for an attempt. It is asked once for each attempt, before the
// attempt waits for its turn, and may block; ctx is the call's. An error ends the call as ErrAuth.
// It must be safe for concurrent use. Where it is comparable, calls of one Authenticator share the
// pauses that the partner sets for a credential.
type Authenticator interface {
	Credential(ctx context.Context) (Credential, error)
}

// Credential puts itself onto a request. The request is a clone that only this attempt uses, and it
// leads to the partner's own origin. It must be safe for concurrent use.
type Credential interface {
	Apply(req *http.Request) error
}

// Refresher is an [Authenticator] that can do something about a credential that the partner has answered with a
// 401. It is asked once for each call; the call is sent once more, whatever its method, as a 401 was not
// processed, and that attempt pays quota like any other. A second 401 is final. Without the layer of retries there
// is no second attempt.
type Refresher interface {
	// Reject says that the partner did not take c. It returns whether the next Credential will be another.
	// It must not block.
	Reject(ctx context.Context, c Credential) (retry bool)
}

// Bearer sends "Authorization: Bearer" and the token (RFC 6750 section 2.1).
func Bearer(token Secret) Authenticator {
	return inHeader("Bearer", "Authorization", "Bearer "+token.Reveal(), token.check())
}

// APIKey sends the key in a header, such as "X-Api-Key". Prefer it to [APIKeyQuery].
func APIKey(header string, key Secret) Authenticator {
	err := key.check()
	switch {
	case err != nil:
	case header == "":
		err = errors.New("the name of the header is empty")
	case !token(header):
		err = fmt.Errorf("%q is not the name of a header", header)
	}
	return inHeader("APIKey", textproto.CanonicalMIMEHeaderKey(header), key.Reveal(), err)
}

// APIKeyQuery sends the key as a query parameter, for partners that take it nowhere else. It is put
// onto the wire only; errors, logs and events never hold it.
func APIKeyQuery(param string, key Secret) Authenticator {
	err := key.check()
	if err == nil && param == "" {
		err = errors.New("the name of the parameter is empty")
	}
	pair := url.QueryEscape(param) + "=" + url.QueryEscape(key.Reveal())
	return &static{name: "APIKeyQuery", value: NewSecret(pair), err: err}
}

// Basic sends "Authorization: Basic" (RFC 7617). The user must not hold a colon; the password may be
// empty when the user is the secret, as some partners want it: Basic("", key) sends key as the user.
func Basic(user string, password Secret) Authenticator {
	err := password.check()
	if err == nil && strings.ContainsAny(user, ":\r\n") {
		err = fmt.Errorf("the user %q has a colon or a line break", user)
	}
	pair := user + ":" + password.Reveal()
	if user == "" {
		pair = password.Reveal() + ":"
	}
	return inHeader("Basic", "Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(pair)), err)
}

func inHeader(name, header, value string, err error) Authenticator {
	return &static{name: name, header: header, value: NewSecret(value), err: err}
}

// static is a credential that does not change.
type static struct {
	name   string
	header string // empty: value belongs to the query
	value  Secret // all of what is sent
	err    error  // why it cannot be
}

func (s *static) check() error {
	if s.err != nil {
		return fmt.Errorf("%s: %w", s.name, s.err)
	}
	return nil
}

// token reports whether s is a token of RFC 9110 section 5.6.2.
func token(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

// Credential returns itself.
func (s *static) Credential(context.Context) (Credential, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	return s, nil
}

// Apply puts the credential onto req.
func (s *static) Apply(req *http.Request) error {
	if s.header != "" {
		req.Header[s.header] = []string{s.value.Reveal()}
		return nil
	}
	u := *req.URL
	// Appended rather than parsed and encoded again: the partner's own query stays as it was.
	pair := s.value.Reveal()
	if u.RawQuery != "" {
		pair = u.RawQuery + "&" + pair
	}
	u.RawQuery = pair
	req.URL = &u
	return nil
}

// authenticator returns the call's own, or the client's, or nil.
//
// A policy that wraps a transport by itself knows no origin to send a credential to, so it sends none.
func (c *call) authenticator() Authenticator {
	switch {
	case c.base == nil || c.opts.noAuth:
		return nil
	case c.opts.auth != nil:
		return c.opts.auth
	}
	return c.auth
}

// token is the layer that gets a fresh credential. It may block, so it comes before anything is held.
func (c *call) token(in *within) (*http.Response, error) {
	if err := c.confidential(); err != nil {
		return nil, c.stop(err)
	}
	auth := c.authenticator()
	if err := c.credential(auth); err != nil {
		return nil, err
	}
	resp, err := in.send(c)
	source, cred := sourceOf(auth, c.cred)
	switch refused := resp != nil && resp.StatusCode == http.StatusUnauthorized && c.verdict.Class == ClassAuth; {
	case refused && !c.renewed:
		if r, ok := auth.(Refresher); ok {
			c.renewed = true
			c.renew = r.Reject(c.ctx, c.cred)
		}
	case source == nil:
	case refused:
		source.rejectedAnew(cred)
	case err == nil && c.verdict.Class == ClassOK:
		source.accepted(cred)
	}
	return resp, err
}

// sourceOf returns the source of tokens that an authenticator is, or has within, and the credential as that knows it.
func sourceOf(auth Authenticator, c Credential) (*tokenSource, Credential) {
	for {
		switch a := auth.(type) {
		case *tokenSource:
			return a, c
		case *Rotating:
			was, ok := c.(rotated)
			if !ok {
				return nil, nil
			}
			auth, c = was.of.Authenticator, was.Credential
		default:
			return nil, nil
		}
	}
}

// credential asks auth for one.
func (c *call) credential(auth Authenticator) error {
	cred, err := auth.Credential(c.ctx)
	if err == nil && cred == nil {
		err = errors.New("the authenticator returned no credential")
	}
	if err != nil {
		c.stop(err)
		if c.verdict.Class == ClassClient {
			c.verdict.Class = ClassAuth
		}
		c.verdict.unsent = true
		c.noteOutcome(nil)
		return err
	}
	c.cred = cred
	return nil
}

// reauthenticate reports whether the call is to be sent again with another credential, after a 401.
func (c *call) reauthenticate() bool {
	again := c.renew
	c.renew = false
	return again && c.replayable() == nil
}

// confidential refuses to send a credential where others can read it.
func (c *call) confidential() error {
	u := c.req.URL
	if u.Scheme == "https" || c.set.insecure || origin.Loopback(u) {
		return nil
	}
	return invalid("refusing to send a credential to %s: not https, and not loopback (WithInsecureCredentials)", origin.Of(u))
}

// sign is the layer that puts the credential onto a clone, when all waiting is over.
func (c *call) sign(in *within) (*http.Response, error) {
	if s, ok := c.cred.(interface{ stale() bool }); ok && s.stale() {
		// It has ended while the call waited for its turn, which is not given back for the while that another takes.
		if err := c.credential(c.authenticator()); err != nil {
			return nil, err
		}
		if c.limiter != nil {
			c.limiter.line.moved(&c.ticket)
		}
	}
	if c.signed != nil { // the attempt before
		c.past = c.secrets()
	}
	ctx, _ := c.attemptContext()
	clone := &struct {
		req http.Request
		url url.URL
	}{*c.req.WithContext(ctx), *c.req.URL}
	out := &clone.req
	out.URL = &clone.url
	if out.Header = c.req.Header.Clone(); out.Header == nil {
		out.Header = make(http.Header)
	}
	if err := c.cred.Apply(out); err != nil {
		return nil, c.stop(err)
	}
	c.out, c.signed = out, out
	return in.send(c)
}

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
