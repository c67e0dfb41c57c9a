package moment

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTime(t *testing.T) {
	want := time.Date(2026, 11, 29, 1, 50, 50, 0, time.UTC)
	for _, s := range []string{
		"2026-11-29T01:50:50Z", "2026-11-29T01:50:50+0000", "2026-11-29T02:50:50+01:00", "2026-11-29 01:50:50",
		"2026-11-29 01:50:50 UTC", "2026-11-29 01:50:50 +0000", "2026-11-29t01:50:50z", "2026-11-29 01:50:50 GMT",
		"Sun, 29 Nov 2026 01:50:50 GMT", "Sun, 29 Nov 2026 02:50:50 +0100", "29 Nov 2026 01:50:50 GMT",
		"Sun, 29 Nov 2026 01:50:50 UTC", "Sunday, 29-Nov-26 01:50:50 GMT", "Sun Nov 29 01:50:50 2026",
	} {
		got, rest, ok := Time(s)
		require.True(t, ok && rest == "" && got.Equal(want), "%s: %v %q %v", s, got, rest, ok)
	}
	got, rest, ok := Time("2026-11-29T01:50Z, then again")
	require.True(t, ok && got.Equal(want.Add(-50*time.Second)) && rest == ", then again", got)
	for _, s := range []string{"", "20", "2026-11-29", "2026-13-29T01:50:50Z", "tomorrow"} {
		_, _, ok := Time(s)
		require.False(t, ok, s)
	}
}

func TestSpan(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"30s": 30 * time.Second, "30 s": 30 * time.Second, "30sec": 30 * time.Second, "30 secs": 30 * time.Second,
		"1 minute": time.Minute, "2 minutes and 5 seconds": 125 * time.Second, "5 min": 5 * time.Minute, "60min": time.Hour,
		"1m30s": 90 * time.Second, "1h2m3s": 3723 * time.Second, "94ms": 94 * time.Millisecond, "PT30S": 30 * time.Second,
		"PT1H30M": 90 * time.Minute, "P1DT1S": 24*time.Hour + time.Second, "00:00:20": 20 * time.Second,
		"01:00:00": time.Hour, "1.5 seconds": 1500 * time.Millisecond, "1 day": 24 * time.Hour,
		"99999999999 seconds": Longest, "0s": 0,
	} {
		got, rest, ok := Span(s)
		require.True(t, ok && rest == "" && got == want, "%s: %v %q %v", s, got, rest, ok)
	}
	for _, s := range []string{"", "20", "P", "PT", "s", "twenty seconds", "20x", "30 sheep"} {
		_, _, ok := Span(s)
		require.False(t, ok, s)
	}
	got, rest, ok := Span("20 seconds. Then more")
	require.True(t, ok && got == 20*time.Second && rest == ". Then more", rest)
}

func TestEpoch(t *testing.T) {
	want := time.Date(2026, 11, 29, 1, 50, 50, 0, time.UTC)
	for _, unit := range []float64{1, 1e3, 1e6, 1e9} {
		got, ok := Epoch(float64(want.Unix()) * unit)
		require.True(t, ok && got.Equal(want), "%v: %v", unit, got)
	}
	for _, n := range []float64{-1, 0, 20, 8e8, 1e19} {
		_, ok := Epoch(n)
		require.False(t, ok, n)
	}
}

func FuzzMoment(f *testing.F) {
	for _, s := range []string{"2026-11-29T01:50Z", "Sun, 29 Nov 2026 01:50:50 GMT", "1m30s", "PT30S", "00:00:20", "2 minutes and 5 seconds"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d, rest, ok := Span(s); d < 0 || d > Longest || len(rest) > len(s) || ok && rest == s {
			t.Fatalf("%q: %v %q", s, d, rest)
		}
		if _, rest, ok := Time(s); len(rest) > len(s) || ok && rest == s {
			t.Fatalf("%q: %q", s, rest)
		}
	})
}
