package redact

import (
	"errors"
	"net/url"
	"strings"

	"github.com/belay-go/belay/internal/errkit"
)

// WithoutURL removes the URL of each [url.Error] in err, at any depth, because the query may hold a
// credential.
func WithoutURL(err error) error {
	for {
		ue, ok := err.(*url.Error)
		if !ok {
			break
		}
		err = ue.Err
	}
	if err == nil {
		return nil
	}
	var found []*url.Error
	collect(err, &found, 0)
	if len(found) == 0 {
		return err
	}
	text := err.Error()
	for _, ue := range found {
		text = strings.ReplaceAll(text, ue.Error(), ue.Err.Error())
		if len(ue.URL) > 3 { // a text that was made in another way
			text = strings.ReplaceAll(text, ue.URL, Mask)
		}
	}
	return &redacted{func() error { return err }, text}
}

// deepest is the depth to which a tree of errors is searched.
const deepest = 100

// collect appends the url.Errors in the tree of err, the outer ones first.
func collect(err error, found *[]*url.Error, depth int) {
	if err == nil || depth > deepest || len(*found) > deepest {
		return
	}
	if ue, ok := err.(*url.Error); ok && ue != nil && ue.Err != nil {
		*found = append(*found, ue)
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		collect(e.Unwrap(), found, depth+1)
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			collect(inner, found, depth+1)
		}
	}
}

// Error removes the URL of a [url.Error], the queries and users of other URLs, and secrets from the text of err. Nil
// stays nil.
func Error(err error, secrets []string) error {
	if err = WithoutURL(err); err == nil {
		return nil
	}
	text := err.Error()
	if clean := withoutQueries(Values(text, secrets)); clean != text {
		return &redacted{func() error { return err }, clean}
	}
	return err
}

// Hidden returns err with another text. Is and the properties of a net.Error stay.
func Hidden(err error, text string) error { return &redacted{func() error { return err }, text} }

// redacted is an error with another text. It has no Unwrap, because that would lead to the text that was
// removed, and it holds the error in a func, which no verb prints.
type redacted struct {
	err  func() error
	text string
}

func (e *redacted) Error() string        { return e.text }
func (e *redacted) Is(target error) bool { return errors.Is(e.err(), target) }

// Timeout and Temporary make a redacted error a net.Error, as the one that it hides may be.
func (e *redacted) Timeout() bool   { return errkit.TimedOut(e.err()) }
func (e *redacted) Temporary() bool { return e.Timeout() }
