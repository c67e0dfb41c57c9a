package belay

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/belay-go/belay/internal/redact"
)

// failure makes the error of a call from its verdict, its last answer and its cause.
func (c *call) failure(resp *http.Response, err error) error {
	e := &Error{
		Partner: c.set.name, Integration: c.integration, Method: c.method(), URL: c.url(),
		Verdict: c.verdict, Attempts: c.sends,
	}
	var ours *Error
	if errors.As(err, &ours) {
		if e.Integration == "" {
			e.Integration = ours.Integration // whose token it was
		}
		if ours.Method == "" {
			e.StatusCode = ours.StatusCode
		}
		if err == error(ours) {
			err = ours.Err
		}
	}
	e.Err = both(c.clean(err), c.clean(c.extra))
	if c.lost != nil && resp == nil && c.lost.resp != nil {
		e.StatusCode = c.lost.resp.StatusCode
		e.RequestID = requestID(c.lost.resp.Header, c.secrets())
	}
	if resp != nil {
		head := c.att.peeked
		if !c.att.done {
			if c.whole && c.buffer != nil {
				head = append([]byte(nil), c.data[:min(len(c.data), maxErrorBody)]...)
			} else {
				head, _ = readSome(resp.Body, maxErrorBody, errorBodyWait)
			}
		}
		_ = resp.Body.Close()
		secrets := c.secrets()
		e.fill(resp, head, secrets)
		e.RequestID = redact.Values(e.RequestID, secrets)
		for name, s := range e.Fields {
			e.Fields[name] = redact.Values(s, secrets)
		}
		c.freeBuffer()
	}
	return e
}

// clean takes out of an error's text what must not be seen: a url.Error's URL, and the credential.
func (c *call) clean(err error) error {
	if err = withoutURL(err); err == nil {
		return nil
	}
	if secrets := c.secrets(); len(secrets) > 0 {
		text := err.Error()
		if clean := redact.Values(text, secrets); clean != text {
			return &cleaned{err, clean}
		}
	}
	return err
}

// withoutURL takes a url.Error's URL out of err, wherever it stands in it.
func withoutURL(err error) error {
	for {
		ue, ok := err.(*url.Error)
		if !ok {
			break
		}
		err = ue.Err
	}
	var ue *url.Error
	if err == nil || !errors.As(err, &ue) {
		return err
	}
	return &cleaned{err, strings.ReplaceAll(err.Error(), ue.Error(), ue.Err.Error())}
}

// cleaned is an error with another text.
type cleaned struct {
	err  error
	text string
}

func (e *cleaned) Error() string        { return e.text }
func (e *cleaned) Is(target error) bool { return errors.Is(e.err, target) }

// flat is a joined error in one line.
type flat struct{ error }

func (e flat) Error() string { return strings.ReplaceAll(e.error.Error(), "\n", "; ") }
func (e flat) Unwrap() error { return e.error }

// both joins two reasons in one line.
func both(a, b error) error {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	return flat{errors.Join(a, b)}
}
