package driver_test

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/driver"
)

// What changes while an integration is being opened is not lost, and a kill switch reaches drivers from before a
// reload.
func TestChangesWhileOpening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var disabled atomic.Bool
		var label atomic.Value
		label.Store("old")
		slow := time.Second
		r, f := office(t, func(context.Context, string, string) (driver.Settings, error) {
			s := driver.Settings{Disabled: disabled.Load(), Labels: map[string]string{"v": label.Load().(string)}}
			time.Sleep(slow)
			return s, nil
		}, func(*http.Request) (*http.Response, error) { return answer(200), nil }, driver.Rollout{
			Stable: "v1", Next: "v2", Percent: 100,
		})
		opening := func() *crm {
			t.Helper()
			got := make(chan *crm, 1)
			go func() {
				d, err := f.Open(t.Context(), "c7")
				require.NoError(t, err)
				got <- d
			}()
			synctest.Wait()
			disabled.Store(true)
			label.Store("new")
			require.False(t, f.SetDisabled("c7", true))
			require.NoError(t, f.Reload("c7"))
			require.NoError(t, f.SetRollout(driver.Rollout{Stable: "v1", Next: "v2"}))
			return <-got
		}
		d := opening()
		require.ErrorIs(t, d.Check(t.Context()), belay.ErrDisabled)
		require.Equal(t, []string{"new", "v1"}, []string{d.integration.Labels["v"], d.integration.Version})
		disabled.Store(false)
		require.True(t, f.SetDisabled("c7", false))
		require.NoError(t, d.Check(t.Context()))
		// A long import holds the old driver over a reload.
		require.NoError(t, f.Reload("c7"))
		slow = 0
		again, err := f.Open(t.Context(), "c7")
		require.NoError(t, err)
		require.NotSame(t, d, again)
		require.True(t, f.SetDisabled("c7", true))
		require.ErrorIs(t, again.Check(t.Context()), belay.ErrDisabled)
		require.ErrorIs(t, d.Check(t.Context()), belay.ErrDisabled)
		require.NoError(t, r.Close())
	})
}
