package driver_test

import (
	"context"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/driver"
)

// A function that ends its goroutine has not done its item.
func TestEachThatEndsItsGoroutine(t *testing.T) {
	t.Parallel()
	results := driver.Each(t.Context(), []int{0, 1, 2}, func(_ context.Context, n int, _ *belay.Info) (int, error) {
		if n == 1 {
			runtime.Goexit()
		}
		return n, nil
	})
	require.NoError(t, results[0].Err)
	require.ErrorContains(t, results[1].Err, "ended its goroutine")
	require.NoError(t, results[2].Err)
}
