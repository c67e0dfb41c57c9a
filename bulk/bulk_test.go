package bulk_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/belay-go/belay/internal/testkit"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/bulk"
)

func count(n int) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		for i := range n {
			if !yield(i, nil) {
				return
			}
		}
	}
}

// failAt yields n items and then an error.
func failAt(n int, err error) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		for i := range n {
			if !yield(i, nil) {
				return
			}
		}
		yield(0, err)
	}
}

// Several at a time, all of them, and what fails does not stop the others.
func TestForEach(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "five at a time", func(t *testing.T) {
		for _, n := range []int{0, 1, 3} {
			var now, most, done atomic.Int32
			opts := []bulk.Option{nil}
			want := 5
			if n > 0 {
				opts, want = append(opts, bulk.Parallel(n)), n
			}
			began := time.Now()
			err := bulk.ForEach(t.Context(), count(30), func(_ context.Context, i int) error {
				most.Store(max(most.Load(), now.Add(1)))
				defer now.Add(-1)
				time.Sleep(time.Second)
				done.Add(1)
				return nil
			}, opts...)
			require.NoError(t, err)
			require.EqualValues(t, []int32{30, int32(want)}, []int32{done.Load(), most.Load()})
			require.Equal(t, time.Duration(30/want)*time.Second, time.Since(began))
		}
	})
	testkit.Bubble(t, "errors with their items, bounded", func(t *testing.T) {
		odd := errors.New("odd")
		err := bulk.ForEach(t.Context(), count(1000), func(_ context.Context, i int) error {
			if i%2 == 1 {
				return fmt.Errorf("%w\n%d", odd, i)
			}
			return nil
		}, bulk.Parallel(1))
		var failed *bulk.ItemErrors
		require.ErrorAs(t, err, &failed)
		require.ErrorIs(t, err, odd)
		require.Equal(t, []int{500, 1000, 100}, []int{failed.Failed, failed.Done, len(failed.Errors)})
		require.Equal(t, []any{1, 1}, []any{failed.Errors[0].Index, failed.Errors[0].Item})
		require.Equal(t, "belay: 500 of 1000 items failed; item 1: odd 1; item 3: odd 3; item 5: odd 5; …", err.Error())
	})
	testkit.Bubble(t, "StopOnError", func(t *testing.T) {
		var begun, canceled atomic.Int32
		err := bulk.ForEach(t.Context(), count(100), func(ctx context.Context, i int) error {
			begun.Add(1)
			if i == 2 {
				return errors.New("no")
			}
			select {
			case <-ctx.Done():
				canceled.Add(1)
				return nil
			case <-time.After(time.Minute):
				return nil
			}
		}, bulk.StopOnError())
		require.ErrorContains(t, err, "item 2: no")
		require.LessOrEqual(t, begun.Load(), int32(6))
		require.Positive(t, canceled.Load())
	})
	testkit.Bubble(t, "the source's error, after what was begun", func(t *testing.T) {
		broken := errors.New("the source broke")
		var done atomic.Int32
		err := bulk.ForEach(t.Context(), failAt(3, broken), func(context.Context, int) error {
			time.Sleep(time.Second)
			done.Add(1)
			return nil
		})
		require.ErrorIs(t, err, broken)
		require.EqualValues(t, 3, done.Load())
		err = bulk.ForEach(
			t.Context(),
			failAt(3, broken),
			func(context.Context, int) error { return errors.New("and an item") },
		)
		require.ErrorIs(t, err, broken)
		require.ErrorContains(t, err, "and an item")
	})
	testkit.Bubble(t, "cancel", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
		defer cancel()
		n := 0
		err := bulk.ForEach(ctx, count(1_000_000), func(ctx context.Context, i int) error {
			n++
			<-time.After(time.Minute)
			return ctx.Err()
		}, bulk.Parallel(1))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 2, n)
	})
	testkit.Bubble(t, "a panic goes on in the caller", func(t *testing.T) {
		require.PanicsWithValue(t, "mine", func() {
			_ = bulk.ForEach(t.Context(), count(100), func(_ context.Context, i int) error {
				if i == 3 {
					panic("mine")
				}
				return nil
			})
		})
	})
	require.ErrorContains(
		t,
		bulk.ForEach(t.Context(), count(1), func(context.Context, int) error { return nil }, bulk.Parallel(0)),
		"Parallel: 0",
	)
	require.ErrorIs(t, bulk.ForEach[int](t.Context(), nil, nil), belay.ErrInvalid)
}

func TestBatch(t *testing.T) {
	t.Parallel()
	var got [][]int
	for b, err := range bulk.Batch(bulk.Of([]int{1, 2, 3, 4, 5}), 2) {
		require.NoError(t, err)
		got = append(got, b)
	}
	require.Equal(t, [][]int{{1, 2}, {3, 4}, {5}}, got)
	broken := errors.New("broke")
	got = nil
	var last error
	for b, err := range bulk.Batch(failAt(3, broken), 2) {
		if err != nil {
			last = err
			continue
		}
		require.NoError(t, last)
		got = append(got, b)
	}
	require.Equal(t, [][]int{{0, 1}, {2}}, got)
	require.ErrorIs(t, last, broken)
	for range bulk.Batch(count(10), 3) {
		break
	}
	for _, err := range bulk.Batch(count(10), 0) {
		require.ErrorIs(t, err, belay.ErrInvalid)
	}
}

// Lookups that come together are one call, of no more than so many; one bad key fails alone.
func TestBatcher(t *testing.T) {
	t.Parallel()
	type asked struct {
		mu    sync.Mutex
		calls [][]int
	}
	bad := func(status int, keys ...int) error {
		c, err := belay.New(
			"https://partner.test",
			belay.WithRetry(belay.RetryPolicy{MaxAttempts: 1}),
			belay.WithTransport(
				testkit.RoundTrip(func(*http.Request) (*http.Response, error) { return testkit.Reply(status), nil }),
			),
		)
		require.NoError(t, err)
		_, err = belay.Get[belay.None](context.Background(), c, "/")
		return err
	}
	make1 := func(t *testing.T, refuse func(keys []int) error) (*asked, *bulk.Batcher[int, string]) {
		a := new(asked)
		b, err := bulk.NewBatcher(4, 10*time.Millisecond, func(ctx context.Context, keys []int) (map[int]string, error) {
			a.mu.Lock()
			a.calls = append(a.calls, slices.Sorted(slices.Values(keys)))
			a.mu.Unlock()
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			if err := refuse(keys); err != nil {
				return nil, err
			}
			out := make(map[int]string)
			for _, k := range keys {
				if k != 404 {
					out[k] = fmt.Sprint("v", k)
				}
			}
			return out, nil
		})
		require.NoError(t, err)
		return a, b
	}
	ok := func([]int) error { return nil }
	testkit.Bubble(t, "together", func(t *testing.T) {
		a, b := make1(t, ok)
		var wg sync.WaitGroup
		for _, key := range []int{1, 2, 3, 1, 2, 404} {
			synctest.Wait()
			wg.Go(func() {
				v, err := b.Get(t.Context(), key)
				if key == 404 {
					require.ErrorIs(t, err, belay.ErrNotFound)
					return
				}
				require.NoError(t, err)
				require.Equal(t, fmt.Sprint("v", key), v)
			})
		}
		wg.Wait()
		require.Equal(t, [][]int{{1, 2, 3, 404}}, a.calls, "at once, as it was full")
		began := time.Now()
		_, err := b.Get(t.Context(), 7)
		require.NoError(t, err)
		require.Equal(t, 60*time.Millisecond, time.Since(began))
	})
	testkit.Bubble(t, "split", func(t *testing.T) {
		a, b := make1(t, func(keys []int) error {
			if slices.Contains(keys, 3) {
				return bad(422)
			}
			return nil
		})
		var wg sync.WaitGroup
		var failed atomic.Int32
		for key := range 4 {
			wg.Go(func() {
				if _, err := b.Get(t.Context(), key); err != nil {
					require.ErrorIs(t, err, belay.ErrInvalid)
					require.Equal(t, 3, key)
					failed.Add(1)
				}
			})
		}
		wg.Wait()
		require.EqualValues(t, 1, failed.Load())
		require.Len(t, a.calls, 5)
	})
	testkit.Bubble(t, "what is no fault of a key is not split", func(t *testing.T) {
		for _, status := range []int{500, 401, 429} {
			a, b := make1(t, func([]int) error { return bad(status) })
			var wg sync.WaitGroup
			for key := range 4 {
				wg.Go(func() {
					_, err := b.Get(t.Context(), key)
					require.Error(t, err)
				})
			}
			wg.Wait()
			require.Len(t, a.calls, 1, status)
		}
	})
	testkit.Bubble(t, "who goes leaves the others; when all have gone the call is canceled", func(t *testing.T) {
		a, b := make1(t, ok)
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan error, 2)
		go func() { _, err := b.Get(ctx, 1); gone <- err }()
		stays := make(chan error, 1)
		go func() { _, err := b.Get(t.Context(), 2); stays <- err }()
		synctest.Wait()
		time.Sleep(20 * time.Millisecond)
		cancel()
		require.ErrorIs(t, <-gone, context.Canceled)
		require.NoError(t, <-stays)
		ctx, cancel = context.WithCancel(t.Context())
		go func() { _, err := b.Get(ctx, 1); gone <- err }()
		synctest.Wait()
		time.Sleep(20 * time.Millisecond)
		began := time.Now()
		cancel()
		<-gone
		synctest.Wait()
		require.Zero(t, time.Since(began))
		_, err := b.Get(t.Context(), 5)
		require.NoError(t, err)
		require.Len(t, a.calls, 3)
	})
	testkit.Bubble(t, "a panic", func(t *testing.T) {
		b, err := bulk.NewBatcher(1, 0, func(context.Context, []int) (map[int]int, error) { panic("x") })
		require.NoError(t, err)
		_, err = b.Get(t.Context(), 1)
		require.ErrorContains(t, err, "panicked")
	})
	for _, c := range []struct {
		most int
		wait time.Duration
	}{{0, 0}, {1, -1}} {
		_, err := bulk.NewBatcher(c.most, c.wait, func(context.Context, []int) (map[int]int, error) { return nil, nil })
		require.ErrorIs(t, err, belay.ErrInvalid)
	}
	_, err := bulk.NewBatcher[int, int](1, 0, nil)
	require.ErrorIs(t, err, belay.ErrInvalid)
	var none *bulk.Batcher[int, int]
	_, err = none.Get(t.Context(), 1)
	require.ErrorIs(t, err, belay.ErrInvalid)
}

// One call for many lookups that come at about the same time.
func ExampleBatcher() {
	contacts, err := bulk.NewBatcher(
		100,
		5*time.Millisecond,
		func(_ context.Context, ids []string) (map[string]string, error) {
			fmt.Println("one call for", len(ids)) // GET /contacts?ids=…
			out := make(map[string]string)
			for _, id := range ids {
				out[id] = "contact " + id
			}
			return out, nil
		},
	)
	if err != nil {
		panic(err)
	}
	_ = bulk.ForEach(context.Background(), bulk.Of(strings.Fields("7 8 9")), func(ctx context.Context, id string) error {
		_, err := contacts.Get(ctx, id)
		return err
	})
	// Output: one call for 3
}

// Two thousand contacts, five at a time, of which one fails.
func ExampleForEach() {
	err := bulk.ForEach(context.Background(), bulk.Of([]int{1, 2, 3}), func(_ context.Context, id int) error {
		if id == 2 {
			return errors.New("no such contact")
		}
		return nil
	})
	fmt.Println(err)
	// Output: belay: 1 of 3 items failed; item 1: no such contact
}
