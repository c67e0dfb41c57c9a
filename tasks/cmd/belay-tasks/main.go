// Command belay-tasks drains the queues of package tasks before a deploy, verifies the processes after it, and shows what
// waits.
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/belay-go/belay/tasks"
)

const usage = `usage: belay-tasks [-db DSN] command [flags]

  drain  [-wait 60s]        hold all queues, and wait until no task runs
  resume                    let them go on
  verify [-n 1] [-wait 60s] wait until n processes give signs of life
  status                    show the queues and the processes

The DSN is "sqlite:path" or "postgres://…"; the default is that of BELAY_TASKS_DB. The exit status is 1 if drain or verify did
not get there in time, 2 for another failure.
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
	command := global.Arg(0)
	flags := flag.NewFlagSet(command, flag.ContinueOnError)
	flags.SetOutput(out)
	wait := flags.Duration("wait", time.Minute, "the longest wait")
	n := flags.Int("n", 1, "the number of processes")
	do := map[string]func(*tasks.Client[*sql.Tx]) error{
		"drain": func(c *tasks.Client[*sql.Tx]) error { return drain(ctx, c, *wait, out) },
		"resume": func(c *tasks.Client[*sql.Tx]) error {
			return c.Resume(ctx, "*", "drain")
		},
		"verify": func(c *tasks.Client[*sql.Tx]) error {
			if err := c.VerifyWorkers(ctx, *n, *wait); err != nil {
				return fmt.Errorf("%w: %w", errLate, err)
			}
			return nil
		},
		"status": func(c *tasks.Client[*sql.Tx]) error { return status(ctx, c, out) },
	}[command]
	if do == nil {
		fmt.Fprint(out, usage)
		return fmt.Errorf("the command is %q, must be drain, resume, verify or status", command)
	}
	if err := flags.Parse(global.Args()[1:]); err != nil {
		return err
	}
	if dsn == "" {
		return errors.New("there is no database: give -db or BELAY_TASKS_DB")
	}
	c, err := tasks.Open(ctx, dsn, tasks.Config{})
	if err != nil {
		return err
	}
	return errors.Join(do(c), c.Close())
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
	fmt.Fprintln(w, "QUEUE\tWAITING\tOLDEST\tRUNNING\tDEAD\tHELD")
	for _, q := range s.Queues {
		fmt.Fprintf(w, "%s\t%d\t%s\t%d\t%d\t%s\n", q.Queue, q.Waiting, q.Oldest.Round(time.Second), q.Running, q.Dead, strings.Join(q.Paused, ", "))
	}
	fmt.Fprintf(w, "\n%d processes\n", len(s.Processes))
	for _, id := range s.Processes {
		fmt.Fprintln(w, id)
	}
	return w.Flush()
}
