// Package errkit has the parts from which this module makes errors: an error for bad input, errors joined into
// one line, and the reason why a context ended.
package errkit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// Sentinels that the root package exports under the same names.
var (
	ErrInvalid      = errors.New("belay: invalid")
	ErrData         = errors.New("belay: unexpected data")
	ErrBodyTooLarge = errors.New("belay: body too large")
)

// Input returns an error that matches ErrInvalid, wraps err and has its text in one line.
func Input(err error) error { return &inputError{oneLine{err}} }

// Invalidf returns an error that matches ErrInvalid. Its text begins with "belay: ".
func Invalidf(format string, args ...any) error { return Input(fmt.Errorf("belay: "+format, args...)) }

type inputError struct{ err error }

func (e *inputError) Error() string        { return e.err.Error() }
func (e *inputError) Unwrap() error        { return e.err }
func (e *inputError) Is(target error) bool { return target == ErrInvalid }

// ErrAttemptTimeout means that an attempt took too long. It matches os.ErrDeadlineExceeded but not
// context.DeadlineExceeded, because the caller's own deadline has not passed.
var ErrAttemptTimeout error = attemptTimeout{}

type attemptTimeout struct{}

func (attemptTimeout) Error() string        { return "attempt timed out" }
func (attemptTimeout) Timeout() bool        { return true }
func (attemptTimeout) Is(target error) bool { return target == os.ErrDeadlineExceeded }

// AttemptTimeout returns an ErrAttemptTimeout that says how long the attempt took.
func AttemptTimeout(after time.Duration) error { return timedOut{ErrAttemptTimeout, after, ""} }

// CallTimeout returns the error of a call that took longer than it may as a whole. It matches
// context.DeadlineExceeded.
func CallTimeout(after time.Duration) error {
	return timedOut{errCallTimeout{}, after, " (WithTimeout)"}
}

// IsCallTimeout reports whether err is of CallTimeout.
func IsCallTimeout(err error) bool { return errors.Is(err, errCallTimeout{}) }

type errCallTimeout struct{}

func (errCallTimeout) Error() string        { return "the call timed out" }
func (errCallTimeout) Is(target error) bool { return target == context.DeadlineExceeded }

// timedOut is a net.Error of something that took too long.
type timedOut struct {
	what  error
	after time.Duration
	note  string
}

func (e timedOut) Error() string   { return e.what.Error() + " after " + e.after.String() + e.note }
func (e timedOut) Unwrap() error   { return e.what }
func (e timedOut) Timeout() bool   { return true }
func (e timedOut) Temporary() bool { return true }

// TimedOut reports whether err or any error that it wraps says that it is a timeout. Unlike errors.As it does not
// stop at the first one that says that it is none.
func TimedOut(err error) bool {
	switch e := err.(type) {
	case nil:
		return false
	case interface{ Unwrap() []error }:
		for _, err := range e.Unwrap() {
			if TimedOut(err) {
				return true
			}
		}
		return false
	case interface{ Timeout() bool }:
		return e.Timeout()
	}
	return TimedOut(errors.Unwrap(err))
}

// Join returns an error that wraps a and b and has a text of one line. A nil error adds nothing.
func Join(a, b error) error {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	return oneLine{errors.Join(a, b)}
}

// oneLine is an error with "; " in place of the line breaks in its text.
type oneLine struct{ error }

func (e oneLine) Error() string { return strings.ReplaceAll(e.error.Error(), "\n", "; ") }
func (e oneLine) Unwrap() error { return e.error }

// Timeout and Temporary make a oneLine a net.Error: callers of net/http ask the outermost error only.
func (e oneLine) Timeout() bool   { return TimedOut(e.error) }
func (e oneLine) Temporary() bool { return e.Timeout() }

// Context returns the reason why ctx ended: its error and, if that differs, its cause. It returns nil if ctx
// has not ended.
func Context(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(cause, err) {
		return cause
	}
	return Join(err, cause)
}

// Sleep waits for d, or returns the reason why ctx ended before that. If d is zero or negative, it only
// checks ctx.
func Sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return Context(ctx)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return Context(ctx)
	}
}

// List collects the errors of a configuration. The zero value is an empty list.
type List struct{ errs []error }

// Add adds err, unless it is nil.
func (l *List) Add(err error) {
	if err != nil {
		l.errs = append(l.errs, err)
	}
}

// If adds an error with the formatted text if wrong is true.
func (l *List) If(wrong bool, format string, args ...any) {
	if wrong {
		l.errs = append(l.errs, fmt.Errorf(format, args...))
	}
}

// Err returns all errors joined with a text of one line, or nil if there are none.
func (l *List) Err() error {
	if len(l.errs) == 0 {
		return nil
	}
	return oneLine{errors.Join(l.errs...)}
}
