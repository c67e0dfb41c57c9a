package headers

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDeprecation(t *testing.T) {
	t.Parallel()
	at := time.Date(2023, 6, 30, 23, 59, 59, 0, time.UTC)
	for _, c := range []struct {
		deprecation, sunset string
		since, end          time.Time
		told                bool
	}{
		{"", "", time.Time{}, time.Time{}, false},
		{"@1688169599", "", at, time.Time{}, true}, // RFC 9745 section 2.1
		{"@1688169599", "Sun, 30 Jun 2024 23:59:59 UTC", at, at.AddDate(1, 0, 0), true},
		{"", "Sat, 31 Dec 2018 23:59:59 GMT", time.Time{}, time.Date(2018, 12, 31, 23, 59, 59, 0, time.UTC), true}, // RFC 8594 section 3
		{"true", "", time.Time{}, time.Time{}, true},
		{"?1", "", time.Time{}, time.Time{}, true},
		{"@1688169599;a=b", "", at, time.Time{}, true},
		{"Fri, 30 Jun 2023 23:59:59 GMT", "2024-06-30T23:59:59Z", at, at.AddDate(1, 0, 0), true},
		{"false", "", time.Time{}, time.Time{}, false},
		{"@0", "2024-06-30T23:59:59Z", time.Time{}, at.AddDate(1, 0, 0), true},
		{"@", "soon", time.Time{}, time.Time{}, false},
		{"@99999999999999999999", "0", time.Time{}, time.Time{}, false},
		{"@-99999999999999", "Sat, 31 Dec 0018 23:59:59 GMT", time.Time{}, time.Time{}, false},
		{strings.Repeat("1", 5000), strings.Repeat("x", 5000), time.Time{}, time.Time{}, false},
	} {
		h := make(http.Header)
		if c.deprecation != "" {
			h.Set("Deprecation", c.deprecation)
		}
		if c.sunset != "" {
			h.Set("Sunset", c.sunset)
		}
		since, end, told := Deprecation(h)
		require.Equal(t, c.told, told, c)
		if told {
			require.True(t, since.Equal(c.since), "%v %v", c, since)
			require.True(t, end.Equal(c.end), "%v %v", c, end)
		}
	}
}

func FuzzDeprecation(f *testing.F) {
	f.Add("@1688169599", "Sat, 31 Dec 2018 23:59:59 GMT")
	f.Add("true", "x")
	f.Add("@0", "2000-01-01T00:00Z")
	f.Fuzz(func(t *testing.T, deprecation, sunset string) {
		since, end, told := Deprecation(http.Header{"Deprecation": {deprecation}, "Sunset": {sunset}})
		if !told {
			return
		}
		for _, at := range []time.Time{since, end} {
			if !at.IsZero() && (at.UTC().Year() < 1990 || at.UTC().Year() > 2200) {
				t.Fatal(at)
			}
		}
	})
}
