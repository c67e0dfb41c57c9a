package driver_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay/driver"
)

// Times as older services write them.
func TestFlexTimeOfOlderServices(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 5, 1, 12, 30, 15, 0, time.UTC)
	for in, want := range map[string]time.Time{
		`"/Date(1777638615000)/"`:      at,
		`"/Date(1777638615000+0000)/"`: at,
		`"/Date(1777638615000+0200)/"`: at,
		`"/Date(1777638615000-0530)/"`: at,
		`"\/Date(1777638615000)\/"`:    at,
		`"/Date(-1000)/"`:              time.Unix(-1, 0),
		`"0000-00-00"`:                 {},
		`"0000-00-00T00:00:00+00:00"`:  {},
		`"00000000"`:                   {},
		`"202402291200"`:               time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC),
		`20240229`:                     time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC),
		`"20240229 120000"`:            time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC),
		`"20240229120000Z"`:            time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC),
		`"2024-02-29 12:00:00+02"`:     time.Date(2024, 2, 29, 10, 0, 0, 0, time.UTC),
		`"2024-02-29t12:00:00z"`:       time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC),
		`"0000-00-00 00:00:00"`:        {},
		`"0000-00-00T00:00:00Z"`:       {},
		`"20260501T123015Z"`:           at,
		`"20260501T123015+0000"`:       at,
		`"20260501T143015+0200"`:       at,
		`"20260501T123015"`:            at,
		`"20260501T123015.000Z"`:       at,
		`"20260501123015"`:             at,
		`"20260501"`:                   time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC),
		`1777638615000`:                at,
		`"1777638615000"`:              at,
	} {
		var got driver.FlexTime
		require.NoError(t, json.Unmarshal([]byte(in), &got), in)
		require.True(t, want.Equal(got.Time), "%s: %v", in, got.Time)
	}
	for _, in := range []string{
		`"/Date()/"`, `"/Date(x)/"`, `"/Date(1777638615000)"`, `"/Date(1777638615000+9)/"`, `"/Date(99999999999999999999)/"`,
		`"/Date(999999999999999999)/"`, `"0000-00-01"`, `"0000-00-00 10:00"`, `"20261301T000000Z"`,
	} {
		var got driver.FlexTime
		require.Error(t, json.Unmarshal([]byte(in), &got), "%s: %v", in, got.Time)
	}
}
