package tasks

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivershared/riverpilot"
	"github.com/riverqueue/river/rivertype"

	"github.com/belay-go/belay/belaysql"
)

// Config configures [Open] and [New]. The zero value only inserts.
type Config struct {
	// River is River's own configuration. Its Plugins, ErrorHandler, RetryPolicy and JobStuckHandler are called beside those
	// of this package. Zero fields mean River's defaults, but for JobTimeout (5 min), JobStuckThreshold (1 min, see
	// [ErrStuck]), FetchCooldown (10 ms), RescueStuckJobsAfter and CancelledJobRetentionPeriod (7 days each, because many
	// dead letters are in that state). FetchOnlyKnownKinds is always true: a process that does not know a kind leaves it to
	// another one, during a deploy. Schema must be empty: use the search_path of the connection.
	River river.Config
	// Decide decides what a failed task does next. Nil means [Decide].
	Decide func(err error, job *rivertype.JobRow) Decision
	// MaxSnoozes and MaxSnoozeAge bound how often, and for how long in a row, a task is put off without spending an attempt;
	// after that it spends one, and waits all the same. Zero means 1,000 and 3 days; negative is an error.
	MaxSnoozes   int
	MaxSnoozeAge time.Duration
	// MaxRequeues is how often a task may run again because its process died, before it becomes a dead letter: a task that
	// kills its process would do so for ever. Zero means 5; negative is an error.
	MaxRequeues int
	// Heartbeat is the time between two signs of life of a process, and DeadAfter the time without one after which another
	// process runs its tasks. Zero means 2 s and 8 s; DeadAfter must be at least twice Heartbeat.
	Heartbeat, DeadAfter time.Duration
	// Shared lets several processes work on one SQLite file. Without it one process holds the file while it works, and
	// runs the tasks of the one before at once. The one kind keeps the other out. It has no meaning for PostgreSQL.
	Shared bool
	// MaxDepth bounds the tasks that wait in a queue: an insert above it is a *QueueFullError, until nine tenths of it
	// wait. Depths are bounds of single queues. Zero means 10,000; negative means no bound.
	MaxDepth int
	Depths   map[string]int
	// Gates are those of partners, by queue: while one is closed, no task of its queue begins. Nil means none.
	Gates map[string]Gate
	// Schedules insert tasks for each of their periods, as long as the client works. Nil means none.
	Schedules []Schedule
	// Alert is called when a task is given up: canceled by its error, a dead letter, or too often requeued; and by
	// [Client.Watch] when nobody works. It runs on the goroutine of what has found it, and must be quick. Nil means none.
	Alert func(context.Context, Alert)
}

// Alert says that a task was given up, or that nobody works.
type Alert struct {
	// JobID, Kind and Queue are of the task; they are empty if the alert is for several, or for all.
	JobID       int64
	Kind, Queue string
	Class       string // of the error, such as "auth"; "panic", "requeued", "no_workers"
	Error       string // one line
	At          time.Time
}

// pluggedDriver is a driver with parts of its own in the place of River's, such as River Pro's. They look for what they
// know in it, so it cannot be wrapped.
type pluggedDriver interface{ PluginPilot() riverpilot.Pilot }

const (
	defaultTimeout = 5 * time.Minute
	stuckAfter     = time.Minute // behind the timeout
	// rescueAfter is long, because signs of life do better, and River's rescue would discard a long import of a kind that
	// its leader does not know.
	rescueAfter   = 7 * 24 * time.Hour
	cancelledKept = 7 * 24 * time.Hour
)

// Client is a *river.Client whose tasks follow the rules of this package. Start and Stop are those of this type: never
// call the embedded client's own. Create it with [Open] or [New]. It is safe for concurrent use.
type Client[TTx any] struct {
	*river.Client[TTx]
	cfg   Config
	d     dialect
	db    *sql.DB // for short statements
	read  *sql.DB // another pool: insert middleware runs within a transaction of the first one
	signs *signs
	store *belaysql.Store
	log   *slog.Logger
	file  string // of SQLite, to be locked; empty for none
	own   []*sql.DB
	close []func()

	retries retries
	panics  panics
	runs    runs
	beat    heartbeat
	depths  depths
	shares  shares
	writers writers
	fence   fence // empty for a driver that may not be wrapped
	wake    *wake // nil for a database that wakes by itself
	pausing sync.Mutex
	told    map[string]time.Time // when queues were paused or let go on, guarded by pausing

	works   atomic.Bool // Start has succeeded, and Stop has not been called
	mu      sync.Mutex
	stop    context.CancelFunc
	running sync.WaitGroup
	unlock  func()
}

// New returns a client over a River driver of yours, such as riverpgxv5. db leads to the same database, by another pool
// than the driver's; it stays yours. It must allow at least three connections: one for signs of life while the client
// works, one for your transaction, and one for what an insert within it looks up. The tables of River must be there: see
// rivermigrate. Those of this package are created.
func New[TTx any](ctx context.Context, driver riverdriver.Driver[TTx], db *sql.DB, dialect belaysql.Dialect, cfg Config) (*Client[TTx], error) {
	if driver == nil || db == nil {
		return nil, errors.New("tasks: New: the driver or the database is nil")
	}
	if most := db.Stats().MaxOpenConnections; most > 0 && most < 3 {
		return nil, fmt.Errorf("tasks: New: the database allows %d connections (SetMaxOpenConns), must be at least three", most)
	}
	c, err := newClient(ctx, driver, db, db, db, dialect, cfg)
	if err != nil {
		return nil, fmt.Errorf("tasks: New: %w", err)
	}
	return c, nil
}

func newClient[TTx any](
	ctx context.Context, driver riverdriver.Driver[TTx], db, read, beat *sql.DB, kind belaysql.Dialect, cfg Config,
) (*Client[TTx], error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	store, err := belaysql.New(ctx, db, kind)
	if err != nil {
		return nil, err
	}
	c := &Client[TTx]{cfg: cfg, d: dialectOf(kind, cfg.DeadAfter), db: db, read: read, signs: newSigns(beat, cfg.DeadAfter/4), store: store}
	c.log, c.told = cfg.River.Logger, make(map[string]time.Time)
	if c.log == nil {
		c.log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	if err := c.migrate(ctx); err != nil {
		return nil, err
	}
	r := cfg.River
	if r.ID == "" {
		r.ID = clientID()
	}
	r.JobTimeout = cmp.Or(r.JobTimeout, defaultTimeout)
	r.FetchCooldown = cmp.Or(r.FetchCooldown, 10*time.Millisecond)
	r.JobStuckThreshold = cmp.Or(r.JobStuckThreshold, stuckAfter)
	r.RescueStuckJobsAfter = cmp.Or(r.RescueStuckJobsAfter, rescueAfter)
	r.CancelledJobRetentionPeriod = cmp.Or(r.CancelledJobRetentionPeriod, cancelledKept)
	r.FetchOnlyKnownKinds = true
	r.Logger = c.log
	r.RetryPolicy = &c.retries
	if c.retries.next = cfg.River.RetryPolicy; c.retries.next == nil {
		c.retries.next = new(river.DefaultClientRetryPolicy)
	}
	c.panics.next = cfg.River.ErrorHandler
	r.ErrorHandler = &c.panics
	r.JobStuckHandler = c.stuck
	r.Plugins = append([]rivertype.Plugin{&plugin[TTx]{c: c}}, cfg.River.Plugins...)
	c.beat.id = r.ID
	if _, plugged := driver.(pluggedDriver); !plugged {
		c.fence = fencePostgres
		if kind == belaysql.SQLite {
			c.fence, c.wake = fenceSQLite, new(wake)
			driver = &wakingDriver[TTx]{driver, c.wake}
		}
		driver = &fencedDriver[TTx]{driver, c.fence}
	}
	if c.Client, err = river.NewClient(driver, &r); err != nil {
		return nil, err
	}
	return c, nil
}

func (cfg *Config) check() error {
	var errs []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	bad(cfg.MaxSnoozes < 0, "Config.MaxSnoozes is %d, must not be negative", cfg.MaxSnoozes)
	bad(cfg.MaxSnoozeAge < 0, "Config.MaxSnoozeAge is %s, must not be negative", cfg.MaxSnoozeAge)
	bad(cfg.MaxRequeues < 0, "Config.MaxRequeues is %d, must not be negative", cfg.MaxRequeues)
	bad(cfg.Heartbeat < 0, "Config.Heartbeat is %s, must not be negative", cfg.Heartbeat)
	cfg.MaxSnoozes, cfg.MaxSnoozeAge = cmp.Or(cfg.MaxSnoozes, 1000), cmp.Or(cfg.MaxSnoozeAge, 72*time.Hour)
	cfg.MaxRequeues, cfg.MaxDepth = cmp.Or(cfg.MaxRequeues, 5), cmp.Or(cfg.MaxDepth, defaultDepth)
	cfg.Heartbeat = cmp.Or(cfg.Heartbeat, 2*time.Second)
	cfg.DeadAfter = cmp.Or(cfg.DeadAfter, 4*cfg.Heartbeat)
	bad(cfg.DeadAfter < 2*cfg.Heartbeat, "Config.DeadAfter is %s, must be at least twice Heartbeat (%s)", cfg.DeadAfter, cfg.Heartbeat)
	names := make(map[string]bool)
	for i := range cfg.Schedules {
		name := cfg.Schedules[i].Name
		bad(names[name], "Config.Schedules has two of the name %q", name)
		names[name] = true
		if err := cfg.Schedules[i].check(&cfg.River); err != nil {
			errs = append(errs, err)
		}
	}
	for queue, gate := range cfg.Gates {
		_, known := cfg.River.Queues[queue]
		bad(gate == nil, "Config.Gates[%q] is nil", queue)
		bad(!known && len(cfg.River.Queues) > 0, "Config.Gates[%q]: River.Queues has no such queue", queue)
	}
	bad(cfg.River.Schema != "", "Config.River.Schema is %q, must be empty: use the search_path of the connection", cfg.River.Schema)
	if cfg.Decide == nil {
		cfg.Decide = Decide
	}
	return errors.Join(errs...)
}

// Store returns the tables of package belaysql in the same database: tokens, watermarks, an inbox.
func (c *Client[TTx]) Store() *belaysql.Store { return c.store }

// DB returns a pool on the database, for short statements: with SQLite it is one connection, and a transaction that is
// held over a call of a partner stops all tasks.
func (c *Client[TTx]) DB() *sql.DB { return c.db }

// Start begins to work on tasks, and to send signs of life. A client without River.Queues only inserts, and need not be
// started. With SQLite it is ErrLocked if another process works on the file, unless both have Config.Shared.
func (c *Client[TTx]) Start(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stop != nil {
		return errors.New("tasks: Start: the client has been started, and no Stop has succeeded")
	}
	if c.file != "" {
		unlock, err := lockFile(c.file+".lock", c.cfg.Shared)
		if err != nil {
			return fmt.Errorf("tasks: Start: %w", err)
		}
		c.unlock = unlock
	}
	if err := c.recover(ctx); err != nil {
		c.letGo()
		return fmt.Errorf("tasks: Start: %w", err)
	}
	beating, stop := context.WithCancel(context.WithoutCancel(ctx))
	c.running.Go(func() { c.beatOn(beating) })
	c.running.Go(func() { c.watchOthers(beating) })
	if err := c.Client.Start(ctx); err != nil {
		stop()
		c.running.Wait()
		c.letGo()
		return err
	}
	for i := range c.cfg.Schedules {
		c.running.Go(func() { c.runSchedule(beating, &c.cfg.Schedules[i]) })
	}
	c.running.Go(func() { c.takeTurns(beating) })
	if len(c.cfg.Gates) > 0 {
		c.running.Go(func() { c.watchGates(beating) })
	}
	c.stop = stop
	c.works.Store(true)
	return nil
}

// Stop waits until the tasks that run have ended, and stops. If ctx ends first, their contexts are canceled; they are
// put back without spending an attempt. If one does not heed its context, Stop is an error after five seconds more, and
// may be called again; the client still counts as one that works. A client that was not started stops at once.
func (c *Client[TTx]) Stop(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stop == nil {
		return nil
	}
	c.works.Store(false)
	err := c.Client.Stop(ctx)
	if err != nil && ctx.Err() != nil {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		err = c.Client.StopAndCancel(last)
	}
	if err != nil { // signs of life go on, and the file stays locked, so that nobody else runs what still runs here
		return fmt.Errorf("tasks: Stop: tasks still run: %w", err)
	}
	c.stop()
	c.running.Wait()
	c.stop = nil
	c.leave(context.WithoutCancel(ctx))
	c.letGo()
	return nil
}

// Close ends the signs of life for good, and closes what [Open] has opened. Stop the client before, and use it no more.
// Close a client of [New], too. It may wait for a sign that is being sent, for 20 s at most.
func (c *Client[TTx]) Close() error {
	var errs []error
	c.signs.release(true)
	for _, f := range c.close {
		f()
	}
	for _, db := range c.own {
		errs = append(errs, db.Close())
	}
	c.close, c.own = nil, nil
	return errors.Join(errs...)
}

func (c *Client[TTx]) letGo() {
	c.signs.release(false)
	if c.unlock != nil {
		c.unlock()
		c.unlock = nil
	}
}

// CompleteTx completes a task in the transaction that has done its work, so that both are true or neither: then the
// work is done exactly once. It is river.JobCompleteTx without the driver's type, and [ErrLost] if the task runs, or has
// run, elsewhere meanwhile: roll back then. Return nil after the commit.
func CompleteTx[TTx any, A river.JobArgs](ctx context.Context, tx TTx, job *river.Job[A]) error {
	// River's own says nothing if the task is not running any more, or is another one's.
	if r := runOf(ctx); r != nil {
		if c, ok := r.client.(*Client[TTx]); ok {
			id, at := c.runArgs(job.JobRow)
			var mine int
			err := c.Client.Driver().UnwrapExecutor(tx).QueryRow(ctx, c.d.sql(lockRun), id, at).Scan(&mine)
			if err != nil {
				return err
			}
			if mine == 0 {
				return ErrLost
			}
		}
	}
	_, err := river.JobCompleteTx[riverdriver.Driver[TTx]](ctx, tx, job)
	return err
}
