package belay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
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

// Await sends a request whose work may take the partner longer. While the answer is 202 (RFC 9110 section
// 15.3.3), Await polls by GET: at the latest Operation-Location or Location of the answers, or at path if
// there was none. Before each poll it waits for the answer's Retry-After or for a backoff that begins at one
// second and grows to 30 seconds, whichever is longer. It returns the first answer that is not 202.
//
// The context bounds it: without a deadline it may take as long as the partner likes. The link must lead to
// the partner's own origin or to a trusted one. Method, path, body, T and opts are as for [Send]; the body
// and an idempotency key are sent with the first request only.
func Await[T any](ctx context.Context, c *Client, method, path string, body any, opts ...CallOption) (T, error) {
	var out, zero T
	pending := json.RawMessage{}
	var h http.Header
	status := 0
	var asked *url.URL
	send := func(method, target string, body any, opts []CallOption) error {
		x, resp, err := c.open(ctx, method, target, body, opts, func(data []byte, _ *http.Response) error {
			pending = append(pending[:0], data...)
			return nil
		})
		if err != nil {
			return err
		}
		status, h, asked = resp.StatusCode, resp.Header, resp.Request.URL
		_ = resp.Body.Close()
		x.freeBuffer()
		return nil
	}
	if err := send(method, path, body, opts); err != nil {
		return zero, err
	}
	later := pollOptions(path, opts)
	again := append(append([]CallOption{}, opts...), callOption(func(o *callOptions) { o.key = "" }))
	wait := firstPoll
	target := path
	for ; status == http.StatusAccepted; wait = longer(wait) {
		next := h.Get("Operation-Location")
		if next == "" {
			next = h.Get("Location")
		}
		pollOpts := again
		if next != "" {
			u, err := asked.Parse(next)
			if err != nil {
				return zero, c.dataFault(method, path, errors.New("the link to the operation is no URL"))
			}
			if err := c.checkLink(u.String()); err != nil {
				return zero, c.dataFault(method, path, fmt.Errorf("the link to the operation %w", err))
			}
			target = u.String()
		}
		if target != path {
			pollOpts = later
		}
		if err := c.pause(ctx, path, wait, h); err != nil {
			return zero, err
		}
		pending = pending[:0]
		if err := send(http.MethodGet, target, nil, pollOpts); err != nil {
			return zero, err
		}
	}
	switch to := any(&out).(type) {
	case *None:
	case *[]byte:
		*to = pending
	default:
		if status == http.StatusNoContent || status == http.StatusResetContent {
			return zero, nil
		}
		if err := decodeJSON(pending, h, &out); err != nil {
			return zero, c.dataFault(method, path, err)
		}
	}
	return out, nil
}

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
		x, resp, err := c.open(ctx, http.MethodGet, path, nil, opts, func(data []byte, resp *http.Response) error {
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
