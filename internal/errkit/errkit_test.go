package errkit_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay/internal/errkit"
)

func TestInput(t *testing.T) {
	t.Parallel()
	err := errkit.Input(io.EOF)
	require.EqualError(t, err, "EOF")
	require.ErrorIs(t, err, errkit.ErrInvalid)
	require.ErrorIs(t, err, io.EOF)
}

func TestInvalidf(t *testing.T) {
	t.Parallel()
	err := errkit.Invalidf("N is %d: %w", 1, io.EOF)
	require.EqualError(t, err, "belay: N is 1: EOF")
	require.ErrorIs(t, err, errkit.ErrInvalid)
	require.ErrorIs(t, err, io.EOF)
	err = errkit.Invalidf("New: %w", errors.Join(errors.New("a"), io.EOF))
	require.EqualError(t, err, "belay: New: a; EOF")
	require.ErrorIs(t, err, io.EOF)
}

func TestJoin(t *testing.T) {
	t.Parallel()
	a, b := errors.New("a\nsecond line"), io.EOF
	require.Equal(t, a, errkit.Join(a, nil))
	require.Equal(t, b, errkit.Join(nil, b))
	require.NoError(t, errkit.Join(nil, nil))
	err := errkit.Join(a, b)
	require.EqualError(t, err, "a; second line; EOF")
	require.ErrorIs(t, err, a)
	require.ErrorIs(t, err, b)
}

func TestContext(t *testing.T) {
	t.Parallel()
	plain, cancel := context.WithCancel(t.Context())
	cancel()
	require.Equal(t, context.Canceled, errkit.Context(plain))
	caused, stop := context.WithCancelCause(t.Context())
	stop(io.EOF)
	require.ErrorIs(t, errkit.Context(caused), context.Canceled)
	require.ErrorIs(t, errkit.Context(caused), io.EOF)
	require.NoError(t, errkit.Context(t.Context()))
}

func TestSleep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		require.NoError(t, errkit.Sleep(t.Context(), time.Hour))
		require.Equal(t, time.Hour, time.Since(began))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.ErrorIs(t, errkit.Sleep(ctx, time.Hour), context.DeadlineExceeded)
		require.Equal(t, time.Hour+time.Minute, time.Since(began))
		require.ErrorIs(t, errkit.Sleep(ctx, 0), context.DeadlineExceeded)
		require.NoError(t, errkit.Sleep(t.Context(), -1))
	})
}

func TestList(t *testing.T) {
	t.Parallel()
	var l errkit.List
	l.Add(nil)
	l.If(false, "no")
	require.NoError(t, l.Err())
	l.If(true, "A is %d", 1)
	l.Add(io.EOF)
	require.EqualError(t, l.Err(), "A is 1; EOF")
	require.ErrorIs(t, l.Err(), io.EOF)
}
