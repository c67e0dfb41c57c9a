package main

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/belay-go/belay/tasks"
)

// filter declares the flags that select dead letters.
func filter(flags *flag.FlagSet) func() tasks.DeadFilter {
	since := flags.Duration("since", 24*time.Hour, "given up within this time; 0 for all")
	var f tasks.DeadFilter
	flags.StringVar(&f.Kind, "kind", "", "of this kind of task")
	flags.StringVar(&f.Queue, "queue", "", "of this queue")
	return func() tasks.DeadFilter {
		if *since > 0 {
			f.Since = time.Now().Add(-*since)
		}
		return f
	}
}

func dead(flags *flag.FlagSet) action {
	which := filter(flags)
	return func(ctx context.Context, c *tasks.Client[*sql.Tx], out io.Writer) error {
		groups, err := c.DeadGroups(ctx, which())
		if err != nil {
			return err
		}
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "COUNT\tKIND\tCLASS\tFINGERPRINT\tLAST\tEXAMPLE")
		for _, g := range groups {
			fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\n", g.Count, g.Kind, g.Class, g.Fingerprint, g.Last.UTC().Format(time.RFC3339), g.Example)
		}
		return w.Flush()
	}
}

func replay(flags *flag.FlagSet) action {
	which := filter(flags)
	fingerprint := flags.String("fingerprint", "", "that failed so, as dead shows it")
	run := flags.Bool("run", false, "do it; otherwise they are only counted")
	var how tasks.Replay
	flags.Float64Var(&how.PerSecond, "per-second", 10, "at most so many a second; 0 for all at once")
	flags.IntVar(&how.Limit, "limit", 0, "at most so many; 0 for all")
	return func(ctx context.Context, c *tasks.Client[*sql.Tx], out io.Writer) error {
		f := which()
		f.Fingerprint, how.DryRun = *fingerprint, !*run
		r, err := c.Replay(ctx, f, how)
		if how.DryRun {
			fmt.Fprintf(out, "%d would be replayed; do it with -run\n", r.Matched)
		} else {
			fmt.Fprintf(out, "%d of %d are available again; %d stay, because a task with the same unique key waits or runs: %v\n",
				r.Replayed, r.Matched, len(r.Conflicts), r.Conflicts)
		}
		return err
	}
}

func recoverQueue(flags *flag.FlagSet) action {
	queue := flags.String("queue", "", "the queue")
	name := flags.String("how", "", "refresh, skip-stale or hold-schedules")
	return func(ctx context.Context, c *tasks.Client[*sql.Tx], out io.Writer) error {
		for _, how := range []tasks.Recovery{tasks.RecoverRefresh, tasks.RecoverSkipStale, tasks.RecoverHoldSchedules} {
			if how.String() != *name {
				continue
			}
			r, err := c.Recover(ctx, *queue, how)
			fmt.Fprintf(out, "%d waited, %d were canceled, %d begin anew\n", r.Waiting, r.Canceled, r.Refreshed)
			return err
		}
		return fmt.Errorf("-how is %q, must be refresh, skip-stale or hold-schedules", *name)
	}
}
