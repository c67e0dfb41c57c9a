package tasks_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/tasks"
)

// A thousand tasks under a limit of 500 calls in ten seconds are done as soon as the limit allows, without a refusal.
func TestLimit(t *testing.T) {
	if testing.Short() {
		t.Skip("takes ten seconds")
	}
	each(t, func(t *testing.T, dsn string) {
		const n, limit, window = 1000, 500, 10 * time.Second
		var mu sync.Mutex
		var calls []time.Time
		refused := 0
		partner := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(20 * time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			now := time.Now()
			if len(calls) >= limit && now.Sub(calls[len(calls)-limit]) < window {
				refused++
				w.WriteHeader(http.StatusTooManyRequests)
				return
			}
			calls = append(calls, now)
		}))
		defer partner.Close()
		client, err := belay.New(partner.URL, belay.WithName("crm"), belay.WithRateLimit(belay.Every(limit, window)))
		if err != nil {
			t.Fatal(err)
		}
		cfg := config(func(ctx context.Context, job *river.Job[work]) error {
			_, err := belay.Post[belay.None](ctx, client, "/records", nil)
			return err
		})
		cfg.River.Queues["crm"] = river.QueueConfig{MaxWorkers: 20}
		cfg.Gates = map[string]tasks.Gate{"crm": tasks.ClientGate(client)}
		c := opened(t, dsn, cfg)
		ids := make([]int64, n)
		for i := range n {
			ids[i] = insert(t, c, work{N: i}, &river.InsertOpts{Queue: "crm"})
		}
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		snoozes := 0
		for _, id := range ids {
			eventually(t, "all done", func() bool { return job(t, c, id).FinalizedAt != nil })
			row := job(t, c, id)
			var st struct{ Snoozes int }
			_ = json.Unmarshal(row.Metadata, &st)
			if snoozes = max(snoozes, st.Snoozes); row.State != rivertype.JobStateCompleted || row.Attempt != 1 {
				t.Error(row.State, row.Attempt)
			}
		}
		took := calls[len(calls)-1].Sub(calls[0])
		// No faster way is allowed: after the first 500, each call comes ten seconds behind the one 500 before it.
		least := window + calls[limit-1].Sub(calls[0])
		share := least.Seconds() / took.Seconds()
		t.Logf("%d calls in %s, the least is %s: %.1f %%; at most %d snoozes; %d refusals", len(calls), took.Round(time.Millisecond),
			least.Round(time.Millisecond), 100*share, snoozes, refused)
		if refused > 0 || snoozes > 1 || share < 0.95 { // 99 % is usual; the rest is for a machine that does something else
			t.Fail()
		}
	})
}
