package tasks_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/tasks"
)

// However old a task is, it waits as long as the partner asks, and spends an attempt only after it has been put off too
// often or for too long in a row.
func TestLongSnoozes(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, dsn string) {
		cfg := config(func(context.Context, *river.Job[work]) error { return failure(belay.ClassRefused, 0, time.Hour) })
		cfg.MaxSnoozes = 3
		c := opened(t, dsn, cfg)
		id := insert(t, c, work{}, &river.InsertOpts{MaxAttempts: 4})
		set := func(what string) {
			t.Helper()
			if _, err := c.DB().Exec("update river_job set " + what); err != nil {
				t.Fatal(err)
			}
		}
		set("created_at = '2020-01-01 00:00:00'")
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		for run, spent := range []int{0, 0, 0, 1} {
			eventually(t, "it waits for an hour", func() bool {
				row := job(t, c, id)
				return time.Until(row.ScheduledAt) > 50*time.Minute && len(row.Errors) == spent
			})
			if row := job(t, c, id); row.Attempt != spent {
				t.Errorf("run %d: %s, attempt %d, %v", run, row.State, row.Attempt, row.Errors)
			}
			set("state = 'available', scheduled_at = '2020-01-01 00:00:00'")
		}
	})
}

// What is put off for too long in a row spends an attempt, and waits all the same.
func TestSnoozesForTooLong(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, dsn string) {
		cfg := config(func(context.Context, *river.Job[work]) error { return failure(belay.ClassRefused, 0, 10*time.Minute) })
		cfg.MaxSnoozeAge = 50 * time.Millisecond
		c := started(t, dsn, cfg)
		id := insert(t, c, work{}, nil)
		eventually(t, "it is put off", func() bool { return time.Until(job(t, c, id).ScheduledAt) > 9*time.Minute })
		time.Sleep(60 * time.Millisecond)
		if _, err := c.DB().Exec("update river_job set state = 'available', scheduled_at = '2020-01-01 00:00:00'"); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it spends an attempt", func() bool {
			row := job(t, c, id)
			return row.State == rivertype.JobStateRetryable && row.Attempt == 1 && time.Until(row.ScheduledAt) > 9*time.Minute
		})
	})
}

// A credential that another one replaces is tried once more, whatever the attempts before were about.
func TestRenewedOnce(t *testing.T) {
	t.Parallel()
	renew := &belay.Error{Verdict: belay.Verdict{Class: belay.ClassAuth, Renew: true}, StatusCode: 401}
	for before, want := range map[string]tasks.Action{"transient": tasks.RetryAfter, "": tasks.RetryAfter, "auth": tasks.Cancel} {
		got := tasks.Decide(renew, &rivertype.JobRow{Attempt: 2, Metadata: []byte(`{"tasks_class":"` + before + `"}`)})
		if got.Action != want {
			t.Errorf("after %q: %+v", before, got)
		}
	}
}

// A quota of a day that is used up closes the gate; one of a few seconds does not.
func TestGateOfAQuota(t *testing.T) {
	t.Parallel()
	for per, want := range map[time.Duration]bool{24 * time.Hour: false, 10 * time.Second: true} {
		client, err := belay.New("https://crm.test", belay.WithName("crm"), belay.WithRateLimit(belay.Every(2, per)),
			belay.WithTransport(roundTrip(func(req *http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody, Request: req}, nil
			})))
		if err != nil {
			t.Fatal(err)
		}
		gate := tasks.ClientGate(client)
		for range 2 {
			if open, why := gate.Open(); !open {
				t.Error(per, why)
			}
			if _, err := belay.Get[belay.None](t.Context(), client, "/x"); err != nil {
				t.Fatal(err)
			}
		}
		if open, why := gate.Open(); open != want {
			t.Error(per, open, why)
		}
	}
}

// A task whose time has come is due, though nobody was there to make it available.
func TestOverdue(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, dsn string) {
		c := opened(t, dsn, config(nil))
		insert(t, c, work{}, &river.InsertOpts{ScheduledAt: time.Now().Add(time.Hour)})
		s, err := c.Status(t.Context())
		if err != nil || len(s.Queues) != 1 || s.Queues[0].Due != 0 || s.Queues[0].Waiting != 1 {
			t.Errorf("%+v %v", s, err)
		}
		if _, err := c.DB().Exec("update river_job set scheduled_at = '2020-01-01 00:00:00'"); err != nil {
			t.Fatal(err)
		}
		s, err = c.Status(t.Context())
		if err != nil || s.Queues[0].Due != 1 || s.Queues[0].Waiting != 1 || s.Queues[0].Oldest < time.Hour {
			t.Errorf("%+v %v", s, err)
		}
	})
}

// idle are arguments that expire after the default time.
type idle struct {
	N int `json:"n"`
}

func (idle) Kind() string                { return "idle" }
func (idle) ExpiresAfter() time.Duration { return 0 }

// A task that may expire does so after five minutes in the queue, and once it has begun after an hour.
func TestExpiryOfRetries(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, dsn string) {
		cfg := config(nil)
		river.AddWorker(cfg.River.Workers, river.WorkFunc(func(context.Context, *river.Job[idle]) error { return nil }))
		c := opened(t, dsn, cfg)
		state := func(id int64) rivertype.JobState { return job(t, c, id).State }
		ids := make([]int64, 4)
		for i := range ids {
			ids[i] = insert(t, c, idle{i}, nil)
		}
		for i, change := range []struct {
			age     time.Duration
			attempt int
		}{{4 * time.Minute, 0}, {6 * time.Minute, 0}, {59 * time.Minute, 1}, {61 * time.Minute, 1}} {
			ends := time.Now().Add(5*time.Minute - change.age).UnixMilli()
			set := "jsonb_set(metadata, '$.tasks_expires', $1)"
			if dsn[:7] != "sqlite:" {
				set = "metadata || jsonb_build_object('tasks_expires', $1::bigint)"
			}
			if _, err := c.DB().Exec("update river_job set attempt = $3, metadata = "+set+" where id = $2", ends, ids[i], change.attempt); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i, want := range []rivertype.JobState{"completed", "cancelled", "completed", "cancelled"} {
			eventually(t, "it ends", func() bool { return job(t, c, ids[i]).FinalizedAt != nil })
			if got := state(ids[i]); got != want {
				t.Error(i, got)
			}
		}
	})
}
