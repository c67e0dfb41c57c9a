package tasks_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/tasks"
)

// A partner that is down for a minute, under twenty workers and tasks that keep coming: few requests are wasted, no attempt is spent
// but by those that were in flight, other queues go on, and so does this one by itself.
func TestOutage(t *testing.T) {
	t.Parallel() // it waits most of the time
	if testing.Short() {
		t.Skip("takes more than a minute")
	}
	each(t, func(t *testing.T, dsn string) {
		var down atomic.Bool
		var wasted, served, others atomic.Int64
		var mu sync.Mutex
		var firstServed time.Time
		partner := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(20 * time.Millisecond)
			if down.Load() {
				wasted.Add(1)
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			served.Add(1)
			mu.Lock()
			defer mu.Unlock()
			if firstServed.IsZero() {
				firstServed = time.Now()
			}
		}))
		defer partner.Close()
		client, err := belay.New(partner.URL, belay.WithName("crm"))
		if err != nil {
			t.Fatal(err)
		}
		cfg := config(func(ctx context.Context, job *river.Job[work]) error {
			if job.Queue == "default" {
				others.Add(1)
				return nil
			}
			_, err := belay.Get[belay.None](ctx, client, "/records")
			return err
		})
		cfg.River.Queues["crm"] = river.QueueConfig{MaxWorkers: 20}
		cfg.Gates = map[string]tasks.Gate{"crm": tasks.ClientGate(client)}
		c := started(t, dsn, cfg)
		held := func() bool {
			reasons, err := c.Paused(t.Context())
			return err == nil && len(reasons["crm"]) > 0
		}
		var ids []int64
		feed, stop := context.WithCancel(t.Context())
		defer stop()
		var feeding sync.WaitGroup
		feeding.Go(func() {
			for i := 0; feed.Err() == nil; i++ {
				ids = append(ids, insert(t, c, work{N: i}, &river.InsertOpts{Queue: "crm"}))
				insert(t, c, work{N: i}, nil)
				time.Sleep(25 * time.Millisecond)
			}
		})
		time.Sleep(3 * time.Second)
		down.Store(true)
		began := time.Now()
		eventually(t, "the queue is held", held)
		heldAfter := time.Since(began)
		before := others.Load()
		time.Sleep(time.Until(began.Add(time.Minute)))
		meanwhile := others.Load() - before
		mu.Lock()
		firstServed = time.Time{}
		mu.Unlock()
		down.Store(false)
		ended := time.Now()
		eventually(t, "the first answer", func() bool { mu.Lock(); defer mu.Unlock(); return !firstServed.IsZero() })
		mu.Lock()
		first := firstServed
		mu.Unlock()
		eventually(t, "the circuit is closed", func() bool {
			for _, circuit := range client.Health().Circuits {
				if circuit.State != belay.BreakerClosed {
					return false
				}
			}
			return true
		})
		closed := time.Now()
		eventually(t, "the queue is released", func() bool { return !held() })
		released := time.Since(closed)
		stop()
		feeding.Wait()
		spent, most := 0, 0
		for _, id := range ids {
			row := job(t, c, id)
			for deadline := time.Now().Add(3 * time.Minute); row.FinalizedAt == nil; row = job(t, c, id) {
				if time.Now().After(deadline) {
					q, err := c.QueueGet(t.Context(), "crm")
					status, _ := c.Status(t.Context())
					t.Fatalf("not done: %s %s, attempt %d, %v, %s; the queue: %+v, %v; %+v; %+v", row.State, row.ScheduledAt, row.Attempt, row.Errors,
						row.Metadata, q, err, status, client.Health().Circuits)
				}
				time.Sleep(5 * time.Millisecond)
			}
			if row.State != rivertype.JobStateCompleted {
				t.Error(row.State, row.Errors)
			}
			if row.Attempt > 1 {
				spent++
			}
			most = max(most, row.Attempt)
		}
		t.Logf("%d tasks; %d requests wasted in a minute; %d tasks spent an attempt, at most %d; held after %s, released %s after the circuit has closed (first answer %s after the end); others meanwhile %d",
			len(ids), wasted.Load(), spent, most-1, heldAfter.Round(time.Millisecond), released.Round(time.Millisecond), first.Sub(ended).Round(time.Millisecond), meanwhile)
		if heldAfter > time.Second || released > time.Second {
			t.Error("the queue was held or released late")
		}
		if wasted.Load() > 36 || spent > 20 || most > 2 {
			t.Error("too much was wasted")
		}
		if meanwhile < 300 {
			t.Error("the others were held, too")
		}
	})
}
