package bulk_test

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/bulk"
	"github.com/belay-go/belay/internal/testkit"
)

// An outage in the middle of a batch loses no item: the calls wait, unless they are told not to.
func TestForEachOutlivesAnOutage(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		opts   []bulk.Option
		client []belay.Option
		all    bool
	}{
		"by default":       {all: true},
		"without patience": {opts: []bulk.Option{bulk.Patience(0)}},
		"of the client's own": {
			opts: []bulk.Option{bulk.Patience(0)}, client: []belay.Option{belay.WithPatience(time.Hour)}, all: true,
		},
		"a little of the batch": {opts: []bulk.Option{bulk.Patience(time.Second)}},
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			began := time.Now()
			rt := testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
				if at := time.Since(began); at > 5*time.Second && at < 65*time.Second {
					return testkit.Reply(503), nil
				}
				time.Sleep(100 * time.Millisecond)
				return testkit.Reply(200), nil
			})
			c, err := belay.New("https://partner.test", append(tc.client, belay.WithTransport(rt))...)
			require.NoError(t, err)
			var done atomic.Int32
			err = bulk.ForEach(t.Context(), count(300), func(ctx context.Context, _ int) error {
				_, err := belay.Put[belay.None](ctx, c, "/things/{id}", nil, belay.PathValue("id", "1"))
				if err == nil {
					done.Add(1)
				}
				return err
			}, tc.opts...)
			if tc.all {
				require.NoError(t, err)
				require.EqualValues(t, 300, done.Load())
			} else {
				require.ErrorIs(t, err, belay.ErrUnavailable)
			}
		})
	}
	require.ErrorIs(t, bulk.ForEach(t.Context(), count(1), func(context.Context, int) error { return nil },
		bulk.Patience(-1)), belay.ErrInvalid)
}
