package bulk_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/bulk"
	"github.com/belay-go/belay/internal/testkit"
)

// A key that cannot be the key of a map is an error, and holds up nobody.
// An item is not printed with its error, nor written with it.
func TestItemsAreNotPrinted(t *testing.T) {
	t.Parallel()
	type customer struct{ Email string }
	err := bulk.ForEach(t.Context(), bulk.Of([]customer{{"canary@x.test"}}), func(context.Context, customer) error { return errors.New("no") })
	var all *bulk.ItemErrors
	require.ErrorAs(t, err, &all)
	data, jerr := json.Marshal(all)
	require.NoError(t, jerr)
	text := string(data)
	for _, v := range []any{err, all, all.Errors, all.Errors[0], *all} {
		text += fmt.Sprintf("%v %+v %#v %s %q", v, v, v, v, v)
	}
	require.NotContains(t, text, "canary")
	require.Contains(t, fmt.Sprintf("%#v", all.Errors[0]), "item 0: no")
}

func TestKeysThatCannotBeHashed(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "", func(t *testing.T) {
		b, err := bulk.NewBatcher(10, time.Second, func(_ context.Context, keys []any) (map[any]int, error) {
			got := make(map[any]int)
			for _, k := range keys {
				got[k] = 1
			}
			return got, nil
		})
		require.NoError(t, err)
		var wg sync.WaitGroup
		for _, key := range []any{[]int{1}, map[string]int{}, func() {}, struct{ a any }{[]int{1}}, "good", 5, nil} {
			wg.Go(func() {
				_, err := b.Get(t.Context(), key)
				switch key.(type) {
				case string, int, nil:
					require.NoError(t, err)
				default:
					require.ErrorIs(t, err, belay.ErrInvalid)
				}
			})
		}
		wg.Wait()
	})
}

// A function that ends its goroutine has not done its item.
func TestCallThatChangesItsKeys(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "", func(t *testing.T) {
		b, err := bulk.NewBatcher(2, time.Second, func(_ context.Context, keys []any) (map[any]int, error) {
			for i := range keys {
				keys[i] = []int{1}
			}
			return nil, io.ErrUnexpectedEOF
		})
		require.NoError(t, err)
		var both sync.WaitGroup
		for _, key := range []any{"a", "b"} {
			both.Go(func() {
				_, err := b.Get(t.Context(), key)
				assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
			})
		}
		both.Wait()
	})
}

func TestFunctionsThatEndTheirGoroutine(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "ForEach", func(t *testing.T) {
		for _, opts := range [][]bulk.Option{nil, {bulk.Parallel(1)}, {bulk.StopOnError(), bulk.Parallel(1)}} {
			done := 0
			var mu sync.Mutex
			err := bulk.ForEach(t.Context(), bulk.Of([]int{1, 2, 3, 4}), func(_ context.Context, n int) error {
				if n == 2 {
					runtime.Goexit()
				}
				mu.Lock()
				done++
				mu.Unlock()
				return nil
			}, opts...)
			var failed *bulk.ItemErrors
			require.ErrorAs(t, err, &failed)
			require.Equal(t, 1, failed.Failed)
			require.Equal(t, 1, failed.Errors[0].Index)
			require.ErrorContains(t, err, "ended its goroutine")
			require.Equal(t, failed.Done-1, done)
		}
	})
	testkit.Bubble(t, "Batcher", func(t *testing.T) {
		bad := &belay.Error{Verdict: belay.Verdict{Class: belay.ClassClient}, StatusCode: 400}
		b, err := bulk.NewBatcher(4, time.Second, func(_ context.Context, keys []int) (map[int]int, error) {
			switch {
			case len(keys) == 4:
				return nil, bad // it is split in halves
			case keys[0] == 3:
				runtime.Goexit()
			}
			return map[int]int{keys[0]: keys[0], keys[1]: keys[1]}, nil
		})
		require.NoError(t, err)
		var wg sync.WaitGroup
		for key := 1; key <= 4; key++ {
			wg.Go(func() {
				v, err := b.Get(t.Context(), key)
				if key <= 2 {
					require.NoError(t, err)
					require.Equal(t, key, v)
					return
				}
				require.ErrorContains(t, err, "ended its goroutine")
				require.False(t, errors.Is(err, belay.ErrNotFound))
			})
			time.Sleep(time.Millisecond)
		}
		wg.Wait()
	})
}
