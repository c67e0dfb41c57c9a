package driver_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay/driver"
)

// A snapshot tells what has changed, through a mark, whatever the order of names and the blanks of JSON are.
func TestSnapshot(t *testing.T) {
	t.Parallel()
	add := func(s *driver.Snapshot, id, record string) {
		t.Helper()
		require.NoError(t, s.Add(id, map[string]json.RawMessage{"a": json.RawMessage(record), "b": json.RawMessage("1")}))
	}
	first := driver.NewSnapshot()
	for _, id := range []string{"same", "changed", "gone", "elsewhere"} {
		add(first, id, `{"x": 1}`)
	}
	empty, err := driver.OpenSnapshot("")
	require.NoError(t, err)
	require.Equal(t, driver.Delta{Updated: []string{"changed", "elsewhere", "gone", "same"}}, first.Since(empty))
	mark, err := first.Mark()
	require.NoError(t, err)

	before, err := driver.OpenSnapshot(mark)
	require.NoError(t, err)
	now := driver.NewSnapshot()
	add(now, "same", `{"x":1}`)
	add(now, "changed", `{"x": 2}`)
	add(now, "new", `{}`)
	now.Keep(before, "elsewhere")
	now.Keep(before, "never")
	require.Equal(t, driver.Delta{Added: []string{"new"}, Updated: []string{"changed"}, Deleted: []string{"gone"}}, now.Since(before))
	require.Equal(t, driver.Delta{}, now.Since(now))

	for _, bad := range []string{"x", "eA==", mark[:len(mark)/2]} {
		_, err := driver.OpenSnapshot(bad)
		require.ErrorContains(t, err, "not one of a Snapshot")
	}
	null, err := (&driver.Snapshot{}).Mark()
	require.NoError(t, err)
	_, err = driver.OpenSnapshot(null)
	require.ErrorContains(t, err, "it holds nothing")
	require.Error(t, now.Add("", 1))
	require.ErrorContains(t, now.Add("f", func() {}), `the record "f"`)
}

// What could not be opened again is no mark.
func TestSnapshotIsBounded(t *testing.T) {
	t.Parallel()
	s := driver.NewSnapshot()
	for i := range 65 {
		require.NoError(t, s.Add(fmt.Sprint(i, strings.Repeat("x", 1<<20)), i))
	}
	_, err := s.Mark()
	require.ErrorContains(t, err, "65 records")
}
