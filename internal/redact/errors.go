package redact

import (
	"errors"
	"net/url"
	"strings"

	"github.com/belay-go/belay/internal/errkit"
)

// WithoutURL removes the URL of a [url.Error] from err, at any depth, because the query may hold a
// credential.
func WithoutURL(err error) error {
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
	return &redacted{err, strings.ReplaceAll(err.Error(), ue.Error(), ue.Err.Error())}
}

// Error removes the URL of a [url.Error] and secrets from the text of err. Nil stays nil.
func Error(err error, secrets []string) error {
	if err = WithoutURL(err); err == nil || len(secrets) == 0 {
		return err
	}
	text := err.Error()
	if clean := Values(text, secrets); clean != text {
		return &redacted{err, clean}
	}
	return err
}

// redacted is an error with another text. It has no Unwrap, because that would lead to the text that was
// removed.
type redacted struct {
	err  error
	text string
}

func (e *redacted) Error() string        { return e.text }
func (e *redacted) Is(target error) bool { return errors.Is(e.err, target) }

// Timeout and Temporary make a redacted error a net.Error, as the one that it hides may be.
func (e *redacted) Timeout() bool   { return errkit.TimedOut(e.err) }
func (e *redacted) Temporary() bool { return e.Timeout() }
