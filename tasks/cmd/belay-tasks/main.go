// Command belay-tasks drains the queues of package tasks before a deploy, verifies the processes after it, and shows
// what waits; it shows and replays dead letters, and deals with a backlog.
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/belay-go/belay/tasks"
)

const usage = `usage: belay-tasks [-db DSN] command [flags]

  status                      show the queues and the processes
  drain    [-wait 60s]        hold all queues, and wait until no task runs
  resume                      let them go on
  verify   [-n 1] [-wait 60s] wait until n processes give signs of life, behind a drain n new ones
  dead     [-since 24h] [-kind K] [-queue Q]
                              show the dead letters, grouped by what went wrong
  replay   [-fingerprint F] [-kind K] [-queue Q] [-since 24h] [-per-second 10] [-limit N] [-run]
                              make dead letters available again; without -run it only counts them
  recover  -queue Q -how refresh|skip-stale|hold-schedules
                              deal with a queue whose tasks are hours old

The DSN is "sqlite:path", of a file that exists, or "postgres://…"; the default is that of BELAY_TASKS_DB. The exit status is 1 if
drain or verify did not get there in time, 2 for another failure.
`

var errLate = errors.New("not in time")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Getenv("BELAY_TASKS_DB"), os.Stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errLate):
		fmt.Fprintln(os.Stderr, "belay-tasks:", err)
		os.Exit(1)
	case err != nil:
		fmt.Fprintln(os.Stderr, "belay-tasks:", err)
		os.Exit(2)
	}
}

func run(ctx context.Context, args []string, dsn string, out io.Writer) error {
	global := flag.NewFlagSet("belay-tasks", flag.ContinueOnError)
	global.SetOutput(out)
	global.Usage = func() { fmt.Fprint(out, usage) }
	global.StringVar(&dsn, "db", dsn, "the database")
	if err := global.Parse(args); err != nil {
		return err
	}
	command := commands[global.Arg(0)]
	if command == nil {
		fmt.Fprint(out, usage)
		return fmt.Errorf("the command is %q, must be one of %s", global.Arg(0), strings.Join(slices.Sorted(maps.Keys(commands)), ", "))
	}
	flags := flag.NewFlagSet(global.Arg(0), flag.ContinueOnError)
	flags.SetOutput(out)
	do := command(flags)
	if err := flags.Parse(global.Args()[1:]); err != nil {
		return err
	}
	switch path, isFile := strings.CutPrefix(dsn, "sqlite:"); {
	case flags.NArg() > 0:
		return fmt.Errorf("%q is no flag", flags.Arg(0))
	case dsn == "":
		return errors.New("there is no database: give -db, before the command, or BELAY_TASKS_DB")
	case isFile: // Open would make it
		if _, err := os.Stat(path); err != nil {
			return err
		}
	}
	c, err := tasks.Open(ctx, dsn, tasks.Config{})
	if err != nil {
		return err
	}
	return errors.Join(do(ctx, c, out), c.Close())
}

type action func(ctx context.Context, c *tasks.Client[*sql.Tx], out io.Writer) error

// commands declare their flags, and return what they do.
var commands = map[string]func(*flag.FlagSet) action{
	"drain": func(flags *flag.FlagSet) action {
		wait := flags.Duration("wait", time.Minute, "the longest wait")
		return func(ctx context.Context, c *tasks.Client[*sql.Tx], out io.Writer) error {
			return drain(ctx, c, *wait, out)
		}
	},
	"resume": func(*flag.FlagSet) action {
		return func(ctx context.Context, c *tasks.Client[*sql.Tx], _ io.Writer) error {
			return c.Resume(ctx, "*", "drain")
		}
	},
	"verify": func(flags *flag.FlagSet) action {
		wait := flags.Duration("wait", time.Minute, "the longest wait")
		n := flags.Int("n", 1, "the number of processes")
		return func(ctx context.Context, c *tasks.Client[*sql.Tx], _ io.Writer) error {
			if err := c.VerifyWorkers(ctx, *n, *wait); err != nil {
				return fmt.Errorf("%w: %w", errLate, err)
			}
			return nil
		}
	},
	"status": func(*flag.FlagSet) action { return status },
	"dead":   dead, "replay": replay, "recover": recoverQueue,
}

func drain(ctx context.Context, c *tasks.Client[*sql.Tx], wait time.Duration, out io.Writer) error {
	running, err := c.Drain(ctx, wait)
	if err != nil {
		return err
	}
	if len(running) > 0 {
		return fmt.Errorf("%w: tasks still run: %v", errLate, running)
	}
	fmt.Fprintln(out, "no task runs")
	return nil
}

func status(ctx context.Context, c *tasks.Client[*sql.Tx], out io.Writer) error {
	s, err := c.Status(ctx)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "QUEUE\tWAITING\tDUE\tOLDEST\tRUNNING\tDEAD\tHELD")
	for _, q := range s.Queues {
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%d\t%d\t%s\n", q.Queue, q.Waiting, q.Due, q.Oldest.Round(time.Second), q.Running, q.Dead, strings.Join(q.Paused, ", "))
	}
	fmt.Fprintf(w, "\nprocesses: %d", len(s.Processes))
	if s.IdleFor > 0 {
		fmt.Fprintf(w, ", none for %s", s.IdleFor.Round(time.Second))
	}
	fmt.Fprintln(w)
	for _, id := range s.Processes {
		fmt.Fprintln(w, id)
	}
	return w.Flush()
}
