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
