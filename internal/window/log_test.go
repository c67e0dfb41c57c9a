package window

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The log holds the last few thousand, says when that is not all, and forgets what the partner did not count.
func TestLog(t *testing.T) {
	var l Log
	at, whole := l.Since(0, -1, nil)
	require.Empty(t, at)
	require.True(t, whole)
	a := l.Note(0, Holder{Credential: 1}, 2)
	b := l.Note(100*time.Microsecond, Holder{Credential: 1}, 1) // together with the one before
	c := l.Note(time.Millisecond, Holder{Credential: 2}, 1)
	require.Equal(t, a, b)
	require.NotEqual(t, a, c)
	at, whole = l.Since(0, -1, nil)
	require.Equal(t, []time.Duration{0, 0, 0, time.Millisecond}, at)
	require.True(t, whole)
	at, _ = l.Since(1, -1, nil)
	require.Len(t, at, 3)
	at, _ = l.Since(0, 0, nil)
	require.Equal(t, []time.Duration{time.Millisecond}, at)
	l.Gone(a, 1)
	l.Gone(c, 1)
	l.Gone(c, 1) // twice is once
	l.Gone(0, 1)
	l.Gone(99, 1)
	at, _ = l.Since(0, -1, nil)
	require.Len(t, at, 2)
	for i := range 2 * logged {
		l.Note(time.Duration(i)*time.Millisecond+time.Second, Holder{Credential: 3}, 1)
	}
	at, whole = l.Since(3, 0, nil)
	require.Len(t, at, logged+1)
	require.False(t, whole)
	at, whole = l.Since(3, at[len(at)-11], nil)
	require.Len(t, at, 10)
	require.True(t, whole)
	l.Gone(a, 1) // long gone
	require.LessOrEqual(t, len(l.ring), logged)
}
