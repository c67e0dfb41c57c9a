package fault_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay/internal/fault"
)

func TestInput(t *testing.T) {
	t.Parallel()
	err := fault.Input(io.EOF)
	require.EqualError(t, err, "EOF")
	require.ErrorIs(t, err, fault.ErrInvalid)
	require.ErrorIs(t, err, io.EOF)
}

func TestInvalidf(t *testing.T) {
	t.Parallel()
	err := fault.Invalidf("N is %d: %w", 1, io.EOF)
	require.EqualError(t, err, "belay: N is 1: EOF")
	require.ErrorIs(t, err, fault.ErrInvalid)
	require.ErrorIs(t, err, io.EOF)
}

func TestJoin(t *testing.T) {
	t.Parallel()
	a, b := errors.New("a\nsecond line"), io.EOF
	require.Equal(t, a, fault.Join(a, nil))
	require.Equal(t, b, fault.Join(nil, b))
	require.NoError(t, fault.Join(nil, nil))
	err := fault.Join(a, b)
	require.EqualError(t, err, "a; second line; EOF")
	require.ErrorIs(t, err, a)
	require.ErrorIs(t, err, b)
	require.NoError(t, fault.OneLine(nil))
}

func TestContext(t *testing.T) {
	t.Parallel()
	plain, cancel := context.WithCancel(t.Context())
	cancel()
	require.Equal(t, context.Canceled, fault.Context(plain))
	caused, stop := context.WithCancelCause(t.Context())
	stop(io.EOF)
	require.ErrorIs(t, fault.Context(caused), context.Canceled)
	require.ErrorIs(t, fault.Context(caused), io.EOF)
	require.NoError(t, fault.Context(t.Context()))
}

func TestSleep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		require.NoError(t, fault.Sleep(t.Context(), time.Hour))
		require.Equal(t, time.Hour, time.Since(began))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.ErrorIs(t, fault.Sleep(ctx, time.Hour), context.DeadlineExceeded)
		require.Equal(t, time.Hour+time.Minute, time.Since(began))
		require.ErrorIs(t, fault.Sleep(ctx, 0), context.DeadlineExceeded)
		require.NoError(t, fault.Sleep(t.Context(), -1))
	})
}

func TestList(t *testing.T) {
	t.Parallel()
	var l fault.List
	l.Add(nil)
	l.If(false, "no")
	require.NoError(t, l.Err())
	l.If(true, "A is %d", 1)
	l.Add(io.EOF)
	require.EqualError(t, l.Err(), "A is 1\nEOF")
	require.ErrorIs(t, l.Err(), io.EOF)
}
