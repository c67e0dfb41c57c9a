package tasks

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/riverqueue/river/rivertype"

	"github.com/belay-go/belay/internal/errkit"
)

// Watch configures [Client.Watch].
type Watch struct {
	// Every is the time between two looks. Zero means 10 s; negative is an error.
	Every time.Duration
	// NoWorkers is how long no process may have worked before Config.Alert is called with the Class "no_workers", once
	// until one works again. Zero means 60 s; negative is an error.
	NoWorkers time.Duration
	// Emergency starts the client, with its River.Queues, when more than EmergencyWaiting tasks are due in them and the
	// oldest has waited for longer than EmergencyAge, and stops it when a tenth of that is left. False starts nothing.
	Emergency bool
	// EmergencyWaiting and EmergencyAge are 1,000 and 10 min if they are zero; negative is an error.
	EmergencyWaiting int
	EmergencyAge     time.Duration
}

// Watch looks at the queues until ctx ends, in a process that does not work on them by itself, such as one that
// receives webhooks: it calls Config.Alert when nobody works, and may work itself in an emergency. The client must not
// be started otherwise. It returns when ctx has ended and what it started has stopped; an error says that it has not,
// as that of Stop.
func (c *Client[TTx]) Watch(ctx context.Context, w Watch) (err error) {
	if w.Every < 0 || w.NoWorkers < 0 || w.EmergencyWaiting < 0 || w.EmergencyAge < 0 {
		return fmt.Errorf("tasks: Watch: %+v: nothing may be negative", w)
	}
	if w.Emergency && len(c.cfg.River.Queues) == 0 {
		return errors.New("tasks: Watch: Emergency without Config.River.Queues")
	}
	if c.works.Load() {
		return errors.New("tasks: Watch: the client has been started")
	}
	w.defaults()
	alerted, works, stopping := false, false, false
	stop := func() error {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
		defer cancel()
		err := c.Stop(last)
		works, stopping = err != nil, err != nil
		return err
	}
	defer func() {
		if works {
			err = stop()
		}
	}()
	for {
		s, err := c.Status(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			c.log.WarnContext(ctx, "tasks: Watch", "error", err)
		default:
			idle := s.IdleFor >= w.NoWorkers
			if idle && !alerted {
				alerted = c.alertNoWorkers(ctx, &s)
			}
			alerted = alerted && idle
			switch waiting, oldest := c.ownQueues(&s); {
			case stopping: // it fetches nothing any more: only a whole end lets it begin again
				if err := stop(); err != nil {
					c.log.WarnContext(ctx, "tasks: Watch", "error", err)
				}
			case !works && w.Emergency && waiting > w.EmergencyWaiting && oldest > w.EmergencyAge:
				if err := c.Start(context.WithoutCancel(ctx)); err != nil {
					c.log.WarnContext(ctx, "tasks: Watch: starting in an emergency", "error", err) // the file may be that of one who works
					break
				}
				works = true
				c.log.WarnContext(ctx, "tasks: this process works in an emergency", "waiting", waiting, "oldest", oldest)
			case works && waiting <= w.EmergencyWaiting/10:
				if err := stop(); err != nil {
					c.log.WarnContext(ctx, "tasks: Watch", "error", err)
				}
			}
		}
		if errkit.Sleep(ctx, w.Every) != nil {
			return nil
		}
	}
}

// stopWithin bounds the end of an emergency.
const stopWithin = 30 * time.Second

func (w *Watch) defaults() {
	if w.Every == 0 {
		w.Every = 10 * time.Second
	}
	if w.NoWorkers == 0 {
		w.NoWorkers = noWorkersAfter
	}
	if w.EmergencyWaiting == 0 {
		w.EmergencyWaiting = 1000
	}
	if w.EmergencyAge == 0 {
		w.EmergencyAge = 10 * time.Minute
	}
}

// ownQueues returns how many tasks are due in the queues that this process knows, and how long the oldest has waited.
func (c *Client[TTx]) ownQueues(s *Status) (due int, oldest time.Duration) {
	for _, q := range s.Queues {
		if _, mine := c.cfg.River.Queues[q.Queue]; mine && len(q.Paused) == 0 {
			due, oldest = due+q.Due, max(oldest, q.Oldest)
		}
	}
	return due, oldest
}

// alertNoWorkers alerts if anything waits, and reports whether it did.
func (c *Client[TTx]) alertNoWorkers(ctx context.Context, s *Status) bool {
	waiting := 0
	for _, q := range s.Queues {
		waiting += q.Waiting
	}
	if waiting == 0 {
		return false
	}
	text := fmt.Sprintf("no process has worked for %s, and %d tasks wait", s.IdleFor.Round(time.Second), waiting)
	c.log.ErrorContext(ctx, "tasks: "+text)
	c.alert(ctx, &rivertype.JobRow{}, "no_workers", text)
	return true
}
