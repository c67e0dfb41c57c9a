package belay

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/belay-go/belay/internal/errkit"
	"github.com/belay-go/belay/internal/headers"
)

// The waits between two polls: the first, the factor by which they grow, and the longest.
const (
	firstPoll  = time.Second
	pollGrowth = 1.5
	mostPoll   = 30 * time.Second
)

// Poll fetches path until done returns true. It is for an operation resource whose JSON tells its progress.
// Between two polls it waits as [Await] does. An error of done ends Poll, for example because the operation
// has failed, and is returned unchanged. A nil done is an error.
func Poll[T any](
	ctx context.Context, c *Client, path string, done func(T) (bool, error), opts ...CallOption,
) (T, error) {
	var zero T
	if done == nil {
		return zero, invalid("Poll: done is nil")
	}
	for wait := firstPoll; ; wait = longer(wait) {
		var got T
		x, resp, err := c.open(ctx, http.MethodGet, path, nil, append(slices.Clip(opts), Uncached()), func(data []byte, resp *http.Response) error {
			return decodeJSON(data, resp.Header, &got)
		})
		if err != nil {
			return zero, err
		}
		_ = resp.Body.Close()
		x.freeBuffer()
		over, err := done(got)
		if err != nil || over {
			return got, err
		}
		if err := c.pause(ctx, path, wait, resp.Header); err != nil {
			return got, err
		}
	}
}

// longer returns the wait that follows the given one.
func longer(wait time.Duration) time.Duration {
	return min(mostPoll, time.Duration(float64(wait)*pollGrowth))
}

// pollOptions returns opts for a link. The values and the query are left out, because the link holds them
// already, and so is the key.
func pollOptions(path string, opts []CallOption) []CallOption {
	return append(append([]CallOption{}, opts...), callOption(func(o *callOptions) {
		o.values, o.query, o.key, o.literal = nil, nil, "", true
		o.route, _, _ = strings.Cut(path, "?")
	}))
}

// pause waits until the next poll: for wait or for the Retry-After in h, whichever is longer. It fails at
// once if the deadline of ctx comes before that.
func (c *Client) pause(ctx context.Context, path string, wait time.Duration, h http.Header) error {
	asked, _ := headers.RetryAfter(h, time.Now(), false)
	wait = max(wait, asked)
	fail := func(err error) error {
		return c.fault(http.MethodGet, path, Verdict{Class: ClassCanceled, Scope: ScopeCall, RetryAfter: wait},
			fmt.Errorf("the partner has not finished: %w", err))
	}
	if deadline, ok := ctx.Deadline(); ok && wait > time.Until(deadline) {
		return fail(&waitError{"the next look would be in", wait})
	}
	if err := errkit.Sleep(ctx, wait); err != nil {
		return fail(err)
	}
	return nil
}
