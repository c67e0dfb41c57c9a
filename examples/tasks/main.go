// Command tasks shows a whole system on one machine: three partners, which it plays itself, ten companies, imports by
// schedule, webhooks and pushes, through half a minute in which a partner goes down, a worker is killed, a new version
// is deployed, and a downtime leaves a backlog. In the end it says what became of each task, and that nothing was lost.
//
//	go run .                            on a SQLite file
//	go run . -postgres postgres://…     on PostgreSQL, in an empty database
//	go run . -addr 127.0.0.1:8080       with River's web interface and metrics, until it is stopped
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/riverqueue/river"

	"github.com/belay-go/belay/tasks"
)

func main() {
	postgres := flag.String("postgres", "", "the address of an empty database of PostgreSQL, instead of a SQLite file")
	addr := flag.String("addr", "", "serve what there is to see, and stay after the end")
	work := flag.String("work", "", "be the worker of this database; the command starts itself so")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := func() error {
		if *work != "" {
			return workOn(ctx, *work)
		}
		return run(ctx, *postgres, *addr, os.Stdout)
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "tasks:", err)
		os.Exit(1)
	}
}

// show is the running system, seen by the process that receives webhooks and starts the workers.
type show struct {
	out    io.Writer
	began  time.Time
	dsn    string
	client *tasks.Client[*sql.Tx] // only inserts
	world  *world
	worker *exec.Cmd
}

func run(ctx context.Context, dsn, addr string, out io.Writer) (err error) {
	if dsn == "" {
		dir, err := os.MkdirTemp("", "belay-tasks-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		dsn = "sqlite:" + filepath.Join(dir, "belay.db")
	}
	client, err := tasks.Open(ctx, dsn, tasks.Config{River: river.Config{Workers: workersOf(nil)}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	if err := createTables(ctx, client.DB()); err != nil {
		return err
	}
	s := &show{out: out, began: time.Now(), dsn: dsn, client: client}
	if s.world, err = newWorld(client); err != nil {
		return err
	}
	defer s.world.close()
	if addr != "" {
		looking, end := context.WithCancel(ctx)
		defer end()
		if err := s.look(looking, addr); err != nil {
			return err
		}
	}
	defer func() { s.kill() }()

	if err := s.start(ctx); err != nil {
		return err
	}
	s.say("one worker, three partners, ten companies; each period of three seconds imports everything; twenty webhooks a second")
	feed, stop := context.WithCancel(ctx)
	defer stop()
	feeding := s.world.sendWebhooks(feed)
	for _, step := range []struct {
		after time.Duration
		do    func(context.Context) error
	}{
		{4 * time.Second, s.outage}, {3 * time.Second, s.killed}, {2 * time.Second, s.deploy}, {2 * time.Second, s.downtime},
	} {
		if err := wait(ctx, step.after); err != nil {
			return err
		}
		if err := step.do(ctx); err != nil {
			return err
		}
	}
	if err := wait(ctx, 3*time.Second); err != nil {
		return err
	}
	stop()
	<-feeding
	s.say("no more webhooks; what waits is done")
	if err := s.untilDone(ctx); err != nil {
		return err
	}
	if err := s.report(ctx); err != nil || addr == "" {
		return err
	}
	<-ctx.Done()
	return nil
}

// outage takes a partner down for four seconds.
func (s *show) outage(ctx context.Context) error {
	s.world.down.Store(true)
	s.say("the crm goes down")
	held := false
	for end := time.Now().Add(4 * time.Second); time.Now().Before(end); {
		reasons, err := s.client.Paused(ctx)
		if err != nil {
			return err
		}
		if !held && len(reasons["crm"]) > 0 {
			held = true
			s.say("its queue is held: %s", reasons["crm"][0])
		}
		if err := wait(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	s.world.down.Store(false)
	s.say("the crm is back, after %d requests in vain", s.world.refused.Load())
	for {
		reasons, err := s.client.Paused(ctx)
		if err != nil || len(reasons["crm"]) == 0 {
			s.say("its queue goes on")
			return err
		}
		if err := wait(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// killed kills the worker in the middle of its work, and starts another one.
func (s *show) killed(ctx context.Context) error {
	s.say("the worker is killed (kill -9)")
	s.kill()
	if err := s.start(ctx); err != nil {
		return err
	}
	s.say("a new one has started; the tasks of the dead one run again, without spending an attempt")
	return nil
}

// deploy replaces the worker without interrupting a task.
func (s *show) deploy(ctx context.Context) error {
	s.say("a deploy: drain")
	running, err := s.client.Drain(ctx, 10*time.Second)
	if err != nil {
		return err
	}
	if len(running) > 0 {
		return fmt.Errorf("still running: %v", running)
	}
	if err := s.stop(); err != nil {
		return err
	}
	s.say("nothing runs; the old version has ended")
	if err := s.start(ctx); err != nil {
		return err
	}
	if err := s.client.Resume(ctx, "*", "drain"); err != nil {
		return err
	}
	s.say("the new version works")
	return nil
}

// downtime stops the worker for a while that stands for hours, and recovers from the backlog.
func (s *show) downtime(ctx context.Context) error {
	if err := s.stop(); err != nil {
		return err
	}
	// What a night of schedules leaves: an import of each integration for each period.
	var params []river.InsertManyParams
	for period := range 20 {
		for _, company := range companies() {
			for _, partner := range partners {
				params = append(params, river.InsertManyParams{Args: importRecords{company, partner, int64(period)}})
			}
		}
	}
	if _, err := s.client.InsertMany(ctx, params); err != nil {
		return err
	}
	if err := wait(ctx, 2*time.Second); err != nil { // webhooks go on
		return err
	}
	status, err := s.client.Status(ctx)
	if err != nil {
		return err
	}
	waiting := 0
	for _, q := range status.Queues {
		waiting += q.Waiting
	}
	s.say("no worker for hours: %d tasks wait", waiting)
	for _, partner := range partners {
		r, err := s.client.Recover(ctx, partner, tasks.RecoverRefresh)
		if err != nil {
			return err
		}
		s.say("recovering %s: %d waited, %d outdated imports canceled, %d begin anew; all events stay", partner, r.Waiting, r.Canceled, r.Refreshed)
	}
	if err := s.start(ctx); err != nil {
		return err
	}
	s.say("the worker is back")
	return nil
}

// start starts a worker process, and waits until it works.
func (s *show) start(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	s.worker = exec.Command(self, "-work", s.dsn)
	s.worker.Env = append(os.Environ(), "PARTNERS="+s.world.url())
	s.worker.Stdout, s.worker.Stderr = os.Stderr, os.Stderr
	if err := s.worker.Start(); err != nil {
		return err
	}
	for pid := fmt.Sprintf("-%d-", s.worker.Process.Pid); ; {
		status, err := s.client.Status(ctx)
		if err != nil {
			return err
		}
		for _, id := range status.Processes {
			if strings.Contains(id, pid) {
				return nil
			}
		}
		if err := wait(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// stop lets the worker end by itself.
func (s *show) stop() error {
	if err := s.worker.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	err := s.worker.Wait()
	s.worker = nil
	return err
}

func (s *show) kill() {
	if s.worker != nil {
		_ = s.worker.Process.Kill()
		_ = s.worker.Wait()
		s.worker = nil
	}
}

func (s *show) say(format string, args ...any) {
	fmt.Fprintf(s.out, "%5.1fs  %s\n", time.Since(s.began).Seconds(), fmt.Sprintf(format, args...))
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
