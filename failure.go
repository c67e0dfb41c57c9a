package belay

import (
	"errors"
	"net/http"
	"strings"

	"github.com/belay-go/belay/internal/errbody"
	"github.com/belay-go/belay/internal/errkit"
	"github.com/belay-go/belay/internal/headers"
	"github.com/belay-go/belay/internal/redact"
)

// failure returns the *Error of a call, made from its verdict, its last answer and its cause. It reads the
// beginning of the answer's body, at most errbody.MaxBytes bytes, and closes it.
func (x *exchange) failure(resp *http.Response, err error) error {
	e := &Error{
		Partner: x.set.name, Integration: x.integration, Method: x.method(), URL: x.url(),
		Verdict: x.verdict, Attempts: x.sends,
	}
	var ours *Error
	if errors.As(err, &ours) {
		if e.Integration == "" {
			e.Integration = ours.Integration // the integration of the token
		}
		if ours.Method == "" {
			e.StatusCode = ours.StatusCode
		}
		if err == error(ours) {
			err = ours.Err
		}
	}
	e.Err = errkit.Join(x.clean(err), x.clean(x.past().note))
	if e.Done = x.unread; e.StatusCode == 0 {
		e.StatusCode = x.answered
	}
	if p := x.past().previous; p != nil && resp == nil && p.resp != nil {
		e.StatusCode = p.resp.StatusCode
		e.RequestID = headers.RequestID(p.resp.Header, x.secrets(), "")
	}
	if resp != nil {
		head := x.past().att.peeked
		if !x.past().att.done {
			if x.whole && x.buffer != nil {
				head = append([]byte(nil), x.data[:min(len(x.data), errbody.MaxBytes)]...)
			} else {
				head, _ = errbody.Read(resp.Body, errbody.MaxWait, interrupt)
			}
		}
		_ = resp.Body.Close()
		secrets := x.secrets()
		e.fill(resp, head, secrets)
		e.RequestID = redact.Values(e.RequestID, secrets)
		for name, s := range e.Fields {
			e.Fields[name] = redact.Values(s, secrets)
		}
		x.freeBuffer()
	}
	return e
}

// labelled returns the URL of a route as errors and events show it: with the path template, without a query.
// For an absolute URL it returns the base URL.
func (s *stack) labelled(route string) string {
	route, _, _ = strings.Cut(route, "?")
	if absolute(route) {
		return s.withoutInBase(redact.URL(s.base))
	}
	return redact.Line(s.base.Scheme+"://"+s.base.Host+joinPath(s.basePath, route), 1024)
}

// withoutInBase returns a text without the credentials in the base URL's path.
func (s *stack) withoutInBase(text string) string {
	if len(s.inBase) == 0 {
		return text
	}
	return redact.Values(text, s.inBase)
}

// shownPath returns a base URL's path without the segments that are credentials, as in Slack's webhooks, and those.
func shownPath(escaped string) (shown string, secrets []string) {
	segments := strings.Split(escaped, "/")
	for i, segment := range segments {
		if plain := unescape(segment); redact.LooksRandom(plain) {
			secrets = append(secrets, plain)
			segments[i] = redact.Mask
		}
	}
	return strings.Join(segments, "/"), secrets
}

// fault returns the *Error of a call that has ended outside the layers.
func (s *stack) fault(method, route string, v Verdict, err error) error {
	return &Error{
		Partner: s.set.name, Integration: s.integration, Method: method, URL: s.labelled(route), Verdict: v, Err: err,
	}
}

// dataFault returns the *Error of a call whose answer is not as promised: ClassData.
func (s *stack) dataFault(method, route string, err error) error {
	return s.fault(method, route, Verdict{Class: ClassData, Scope: ScopeCall}, err)
}
