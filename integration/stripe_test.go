// Package integration runs Belay against a server that is not its own, through faults that are real.
package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/belay-go/belay"
)

const (
	calls   = 500
	workers = 8
	cutAt   = calls / 2
	cutFor  = 3 * time.Second
	key     = "sk_test_123"
)

// partner is the three calls of the job; how they are made is what is compared.
type partner struct {
	list   func(ctx context.Context) (int, error)
	read   func(ctx context.Context, id string) (string, error)
	create func(ctx context.Context, email string) (string, error)
}

type customer struct {
	ID    string `json:"id"`
	Email string `json:"email"`
}

type list struct {
	Data []customer `json:"data"`
}

func withBelay(t *testing.T, addr string, d *dialer, o belay.Observer) (partner, *belay.Client) {
	c, err := belay.New("http://"+addr+"/v1",
		belay.WithName("stripe"),
		belay.WithAuth(belay.Bearer(belay.NewSecret(key))),
		belay.WithIdempotencyKeys("Idempotency-Key"),
		belay.WithTransport(&http.Transport{DialContext: d.dial, MaxIdleConnsPerHost: 10}),
		belay.WithObserver(o))
	require.NoError(t, err)
	patience := belay.Patience(time.Minute)
	return partner{
		list: func(ctx context.Context) (int, error) {
			l, err := belay.Get[list](ctx, c, "/customers", belay.Query("limit", "3"), patience)
			return len(l.Data), err
		},
		read: func(ctx context.Context, id string) (string, error) {
			got, err := belay.Get[customer](ctx, c, "/customers/{id}", belay.PathValue("id", id), patience)
			return got.ID, err
		},
		create: func(ctx context.Context, email string) (string, error) {
			got, err := belay.Post[customer](ctx, c, "/customers", url.Values{"email": {email}}, patience)
			return got.Email, err
		},
	}, c
}

func withNetHTTP(addr string, d *dialer) (partner, *http.Transport) {
	transport := &http.Transport{DialContext: d.dial, MaxIdleConnsPerHost: 10}
	client := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	do := func(ctx context.Context, method, path string, form url.Values, out any) error {
		req, err := http.NewRequestWithContext(ctx, method, "http://"+addr+"/v1"+path, strings.NewReader(form.Encode()))
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+key)
		if form != nil {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		data, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode >= 400 {
			err = fmt.Errorf("status %d", resp.StatusCode)
		}
		if err == nil {
			err = json.NewDecoder(bytes.NewReader(data)).Decode(out)
		}
		return err
	}
	return partner{
		list: func(ctx context.Context) (int, error) {
			var l list
			err := do(ctx, http.MethodGet, "/customers?limit=3", nil, &l)
			return len(l.Data), err
		},
		read: func(ctx context.Context, id string) (string, error) {
			var c customer
			err := do(ctx, http.MethodGet, "/customers/"+id, nil, &c)
			return c.ID, err
		},
		create: func(ctx context.Context, email string) (string, error) {
			var c customer
			err := do(ctx, http.MethodPost, "/customers", url.Values{"email": {email}}, &c)
			return c.Email, err
		},
	}, transport
}

type outcome struct {
	took time.Duration
	lost []error
}

// run does the job: a list, a read and a create in turn, with a cut of the line in the middle.
func run(t *testing.T, p partner, f *faults) outcome {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var o outcome
	var mu sync.Mutex
	var wg sync.WaitGroup
	var next atomic.Int64
	start := time.Now()
	for range workers {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < calls; i = next.Add(1) - 1 {
				if i == cutAt {
					wg.Go(func() {
						if err := f.cut(cutFor); err != nil {
							t.Error(err)
						}
					})
				}
				if err := one(ctx, p, int(i)); err != nil {
					mu.Lock()
					o.lost = append(o.lost, fmt.Errorf("call %d: %w", i, err))
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	o.took = time.Since(start)
	return o
}

func one(ctx context.Context, p partner, i int) error {
	switch i % 3 {
	case 0:
		n, err := p.list(ctx)
		if err == nil && n == 0 {
			err = fmt.Errorf("the list is empty")
		}
		return err
	case 1:
		id := fmt.Sprintf("cus_%d", i)
		got, err := p.read(ctx, id)
		if err == nil && got != id {
			err = fmt.Errorf("asked for %s, got %s", id, got)
		}
		return err
	}
	email := fmt.Sprintf("user%d@example.com", i)
	got, err := p.create(ctx, email)
	if err == nil && got != email {
		err = fmt.Errorf("created %s, got %s", email, got)
	}
	return err
}

// Nothing is lost, no create is sent twice without its key, and nothing is left over; plain net/http is
// put through the same.
func TestStripeThroughFaults(t *testing.T) {
	upstream := stripeMock(t)
	before := goleak.IgnoreCurrent()

	t.Run("job", func(t *testing.T) {
		var attempts, retries atomic.Int64
		count := belay.ObserverFunc(func(_ context.Context, e belay.Event) {
			switch e.(type) {
			case belay.AttemptDone:
				attempts.Add(1)
			case belay.Retrying:
				retries.Add(1)
			}
		})
		seen := &recorder{writes: make(map[string][]string)}
		f := faultProxy(t, strings.TrimPrefix(seen.serve(t, upstream).URL, "http://"))
		conns := &dialer{}
		p, client := withBelay(t, f.addr, conns, count)
		ours := run(t, p, f)
		require.NoError(t, client.Close())

		plainSeen := &recorder{writes: make(map[string][]string)}
		plainFaults := faultProxy(t, strings.TrimPrefix(plainSeen.serve(t, upstream).URL, "http://"))
		plainConns := &dialer{}
		q, transport := withNetHTTP(plainFaults.addr, plainConns)
		plain := run(t, q, plainFaults)
		transport.CloseIdleConnections()

		t.Logf("%-34s %10s %10s", "", "belay", "net/http")
		row := func(name string, a, b any) { t.Logf("%-34s %10v %10v", name, a, b) }
		row("calls", calls, calls)
		row("lost", len(ours.lost), len(plain.lost))
		row("attempts", attempts.Load(), calls)
		row("retries", retries.Load(), 0)
		row("arrived at the server", seen.total, plainSeen.total)
		row("creates that arrived twice", seen.repeated(), plainSeen.repeated())
		row("  of those without one key", seen.unkeyed(), plainSeen.unkeyed())
		row("seconds", fmt.Sprintf("%.1f", ours.took.Seconds()), fmt.Sprintf("%.1f", plain.took.Seconds()))
		require.Empty(t, ours.lost)
		require.Zero(t, seen.unkeyed())
		require.NotEmpty(t, plain.lost, "the faults were none")
		require.Eventually(
			t,
			func() bool { return conns.count() == 0 },
			5*time.Second,
			10*time.Millisecond,
			"connections left over",
		)
	})
	goleak.VerifyNone(t, before)
}
