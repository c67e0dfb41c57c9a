package driver_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
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
	for _, id := range []string{"same", "changed", "gone", "elsewhere", "merged"} {
		add(first, id, `{"x": 1}`)
	}
	empty, err := driver.OpenSnapshot("")
	require.NoError(t, err)
	require.Equal(t, driver.Delta{Updated: []string{"changed", "elsewhere", "gone", "merged", "same"}}, first.Since(empty))
	mark, err := first.Mark()
	require.NoError(t, err)

	before, err := driver.OpenSnapshot(mark)
	require.NoError(t, err)
	now := driver.NewSnapshot()
	add(now, "same", `{"x":1}`)
	add(now, "changed", `{"x": 2}`)
	add(now, "new", `{}`)
	delta := now.Since(before)
	require.Equal(t, driver.Delta{Added: []string{"new"}, Updated: []string{"changed"}, Deleted: []string{"elsewhere", "gone", "merged"}}, delta)
	broken := errors.New("no")
	copied := delta
	require.ErrorIs(t, now.Missing(t.Context(), before, &copied, func(context.Context, string) (string, error) { return "", broken }), broken)
	require.NoError(t, now.Missing(t.Context(), before, &delta, func(_ context.Context, id string) (string, error) {
		switch id {
		case "gone":
			return "", fmt.Errorf("410: %w", belay.ErrNotFound)
		case "merged":
			return "same", nil
		}
		return id, nil
	}))
	require.Equal(t, []string{"gone"}, delta.Deleted)
	require.Equal(t, map[string]string{"merged": "same"}, delta.Merged)
	require.Equal(t, []string{"gone", "merged"}, now.Since(before).Deleted, "what is elsewhere is kept")
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
