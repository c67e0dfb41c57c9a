package tasks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/belay-go/belay/internal/errkit"
)

// Schedule inserts a task for each period, once, whichever process comes first, and makes up what was missed while none
// was running. It needs no leader, other than River's own periodic jobs, which are lost while a leader is dead.
type Schedule struct {
	// Name is for the log. It must not be empty.
	Name string
	// Every is the length of a period, at least a second. Periods begin as by time.Truncate, in UTC.
	Every time.Duration
	// CatchUp is how many missed periods are made up at a start, the latest ones. Zero means none beside the present one;
	// negative is an error. What River keeps of tasks that have ended must reach back that far, because a period's task is
	// known by it: the retention period of those that have succeeded is 24 hours by default, the other two are 7 days.
	CatchUp int
	// Args returns the arguments and options of the task of the period that begins at a time. It must return the same
	// arguments for the same period in each process, and other ones, or of another kind, than other schedules: that is how
	// a period's task is known. Nil options mean River's defaults; their UniqueOpts and ScheduledAt are set by the
	// schedule. It must not be nil.
	Args func(period time.Time) (river.JobArgs, *river.InsertOpts)
}

func (s *Schedule) check(r *river.Config) error {
	for _, kept := range []struct {
		name    string
		period  time.Duration
		without time.Duration
	}{
		{"CompletedJobRetentionPeriod", r.CompletedJobRetentionPeriod, 24 * time.Hour},
		{"CancelledJobRetentionPeriod", r.CancelledJobRetentionPeriod, cancelledKept},
		{"DiscardedJobRetentionPeriod", r.DiscardedJobRetentionPeriod, 7 * 24 * time.Hour},
	} {
		if p := cmp.Or(kept.period, kept.without); p >= 0 && s.CatchUp >= 0 && p < s.Every*time.Duration(s.CatchUp+1) {
			return fmt.Errorf("the Schedule %s: River.%s is %s, must be at least Every * (CatchUp + 1), which is %s: "+
				"a period's task is known by what is kept of it", s.Name, kept.name, p, s.Every*time.Duration(s.CatchUp+1))
		}
	}
	switch {
	case s.Name == "":
		return errors.New("a Schedule has no Name")
	case s.Every < time.Second:
		return fmt.Errorf("the Schedule %s: Every is %s, must be at least a second", s.Name, s.Every)
	case s.CatchUp < 0:
		return fmt.Errorf("the Schedule %s: CatchUp is %d, must not be negative", s.Name, s.CatchUp)
	case s.Args == nil:
		return fmt.Errorf("the Schedule %s: Args is nil", s.Name)
	}
	return nil
}

// errArgs is the error of Args that panicked.
var errArgs = errors.New("tasks: Args of a Schedule panicked")

// runSchedule inserts the tasks of a schedule until ctx ends.
func (c *Client[TTx]) runSchedule(ctx context.Context, s *Schedule) {
	var period time.Time
	for {
		now := time.Now().UTC()
		// At first, and after the clock has jumped or this process stood still: what is older than CatchUp is left out.
		first := now.Truncate(s.Every).Add(-time.Duration(s.CatchUp) * s.Every)
		if period.Before(first) || period.Sub(now) > s.Every {
			period = first
		}
		if wait := period.Sub(now); wait > 0 {
			if errkit.Sleep(ctx, min(wait, time.Minute)) != nil { // not for long, as the clock may jump meanwhile
				return
			}
			continue
		}
		for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
			err := c.insertPeriod(ctx, s, period)
			if err == nil || ctx.Err() != nil {
				break
			}
			c.log.WarnContext(ctx, "tasks: schedule", "name", s.Name, "period", period, "error", err)
			if errors.Is(err, errArgs) || time.Since(period) > s.Every*time.Duration(s.CatchUp+1) { // the next one may do better
				break
			}
			if errkit.Sleep(ctx, wait) != nil {
				return
			}
		}
		period = period.Add(s.Every)
	}
}

// insertPeriod inserts the task of a period, unless it is there.
func (c *Client[TTx]) insertPeriod(ctx context.Context, s *Schedule, period time.Time) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errArgs, p)
		}
	}()
	args, opts := s.Args(period)
	var own river.InsertOpts
	if opts != nil {
		own = *opts
	}
	if held, err := c.scheduleHeld(ctx, queueOf(args, opts)); held || err != nil {
		return err
	}
	own.ScheduledAt = period
	own.UniqueOpts = river.UniqueOpts{ByArgs: true, ByPeriod: s.Every, ByState: rivertype.JobStates()}
	_, err = c.Insert(ctx, args, &own)
	return err
}
