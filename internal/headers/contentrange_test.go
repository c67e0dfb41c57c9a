package headers

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestContentRange(t *testing.T) {
	for in, want := range map[string]*Range{
		"bytes 0-9/10": {0, 9, 10}, "Bytes 5-9/10": {5, 9, 10}, "bytes=5-9/10": {5, 9, 10}, " bytes  5 - 9 / 10 ": {5, 9, 10},
		"bytes 5-9/*": {5, 9, -1}, "bytes 5-9": {5, 9, -1}, "bytes 5-9/": {5, 9, -1}, "BYTES 0-0/1": {0, 0, 1},
		"bytes 9-5/10": nil, "bytes 5-10/10": nil, "bytes */10": nil, "items 0-9/10": nil, "bytes": nil, "": nil, "bytes5-9/10": nil,
		"bytes -5/10": nil, "bytes +5-9/10": nil, "bytes 5-9/1e3": nil, "bytes 0-99999999999999999999/*": nil, "0-9/10": nil,
	} {
		got, ok := ContentRange(in)
		require.Equal(t, want != nil, ok, in)
		if ok {
			require.Equal(t, *want, got, in)
			require.Equal(t, want.First == 0 && want.Last+1 == want.Total, got.Whole())
		}
	}
	for in, want := range map[string]int64{"bytes */10": 10, "Bytes */0": 0, "bytes 0-9/10": -1, "bytes */*": -1, "": -1} {
		got, ok := UnsatisfiedRange(in)
		require.Equal(t, want >= 0, ok, in)
		if ok {
			require.Equal(t, want, got)
		}
	}
}

func FuzzContentRange(f *testing.F) {
	f.Add("bytes 0-9/10")
	f.Add("Bytes=5-9/*")
	f.Add("bytes */10")
	f.Fuzz(func(t *testing.T, s string) {
		r, ok := ContentRange(s)
		if !ok {
			return
		}
		if r.First < 0 || r.Last < r.First || r.Total >= 0 && r.Last >= r.Total || r.Total < -1 {
			t.Fatalf("%q: %+v", s, r)
		}
		if again, ok := ContentRange(fmt.Sprintf("bytes %d-%d/%d", r.First, r.Last, r.Total)); r.Total >= 0 && (!ok || again != r) {
			t.Fatalf("%q: %+v, %+v", s, r, again)
		}
		if _, both := UnsatisfiedRange(s); both {
			t.Fatalf("%q is both", s)
		}
	})
}
