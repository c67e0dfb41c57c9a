package keylock

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// One holder at a time for each key; a wait ends with its context; nothing is left behind.
func TestLock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var l Locks
		began := time.Now()
		var all sync.WaitGroup
		for i := range 10 {
			all.Go(func() {
				unlock, err := l.Lock(t.Context(), []string{"a", "b"}[i%2])
				if err != nil {
					t.Error(err)
					return
				}
				time.Sleep(time.Second)
				unlock()
			})
		}
		all.Wait()
		if took := time.Since(began); took != 5*time.Second {
			t.Error(took)
		}
		unlock, _ := l.Lock(t.Context(), "a")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := l.Lock(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		unlock()
		if len(l.keys) != 0 {
			t.Error("keys are left")
		}
	})
}
