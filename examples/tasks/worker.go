package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/importer"
	"github.com/belay-go/belay/tasks"
)

var partners = []string{"crm", "pms", "pay"}

func companies() (all []string) {
	for i := range 10 {
		all = append(all, fmt.Sprintf("company-%02d", i))
	}
	return all
}

const every = 3 * time.Second // a day, with time run fast

// The tasks: everything of a period → a company → its integrations; and what a webhook brings to another partner.
type (
	syncAll struct {
		Period int64 `json:"period"`
	}
	syncCompany struct {
		Name   string `json:"company"`
		Period int64  `json:"period"`
	}
	importRecords struct {
		Name    string `json:"company"`
		Partner string `json:"partner"`
		Period  int64  `json:"period"`
	}
	push struct {
		Name  string `json:"company"`
		Event string `json:"event"`
	}
)

func (syncAll) Kind() string       { return "sync_all" }
func (syncCompany) Kind() string   { return "sync_company" }
func (importRecords) Kind() string { return "import" }
func (push) Kind() string          { return "push" }

// Of the imports of an integration only the newest matters, one runs at a time, and the companies take turns.
func (a importRecords) LatestKey() string         { return a.Name + "/" + a.Partner }
func (a importRecords) WritesTo() string          { return a.Name + "/" + a.Partner }
func (a importRecords) Company() string           { return a.Name }
func (importRecords) ExpiresAfter() time.Duration { return 5 * time.Minute }
func (a importRecords) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: a.Partner, Priority: tasks.PriorityNormal}
}

// A push is never outdated, and goes before imports.
func (a push) Company() string { return a.Name }

func (push) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: "crm", Priority: tasks.PriorityHigh}
}

type record struct {
	ID      string `json:"id"`
	Version int64  `json:"version"`
}

// system is what the tasks work with.
type system struct {
	client  *tasks.Client[*sql.Tx]
	clients map[string]*belay.Client // by partner
}

// workersOf returns the workers of a system; nil is one that only inserts.
func workersOf(s *system) *river.Workers {
	w := river.NewWorkers()
	river.AddWorker(w, &importWorker{s: s})
	river.AddWorker(w, river.WorkFunc(func(ctx context.Context, job *river.Job[syncAll]) error {
		return fanOut(ctx, s, job, func(insert func(river.JobArgs)) {
			for _, name := range companies() {
				insert(syncCompany{name, job.Args.Period})
			}
		})
	}))
	river.AddWorker(w, river.WorkFunc(func(ctx context.Context, job *river.Job[syncCompany]) error {
		return fanOut(ctx, s, job, func(insert func(river.JobArgs)) {
			for _, partner := range partners {
				insert(importRecords{job.Args.Name, partner, job.Args.Period})
			}
		})
	}))
	river.AddWorker(w, river.WorkFunc(func(ctx context.Context, job *river.Job[tasks.EventArgs]) error { return s.handle(ctx, job) }))
	river.AddWorker(w, river.WorkFunc(func(ctx context.Context, job *river.Job[push]) error {
		_, err := belay.Post[belay.None](ctx, s.clients["crm"], "/contacts", map[string]string{"event": job.Args.Event},
			belay.IdempotencyKey(job.Args.Event)) // the partner knows it, should the push be repeated
		return err
	}))
	return w
}

// fanOut inserts further tasks and completes this one in one transaction: both or neither.
func fanOut[A river.JobArgs](ctx context.Context, s *system, job *river.Job[A], f func(insert func(river.JobArgs))) error {
	var params []river.InsertManyParams
	f(func(args river.JobArgs) { params = append(params, river.InsertManyParams{Args: args}) })
	tx, err := s.client.DB().BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // nothing after the commit
	if _, err := s.client.InsertManyTx(ctx, tx, params); err != nil {
		return err
	}
	if err := tasks.CompleteTx(ctx, tx, job); err != nil {
		return err
	}
	return tx.Commit()
}

// handle handles a webhook's event: it is noted, pushed to the crm, and done, all in one transaction, so exactly once.
func (s *system) handle(ctx context.Context, job *river.Job[tasks.EventArgs]) error {
	it := job.Args.Item
	tx, err := s.client.DB().BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(ctx, "insert into events (id) values ($1)", it.ID); err != nil {
		return err
	}
	if _, err := s.client.InsertTx(ctx, tx, push{it.Integration, it.ID}, nil); err != nil {
		return err
	}
	if err := tasks.CompleteTx(ctx, tx, job); err != nil {
		return err
	}
	return tx.Commit()
}

// importWorker imports the records of an integration, and goes on after a kill where it was.
type importWorker struct {
	tasks.ImportDefaults[importRecords]
	s *system
}

func (w *importWorker) Work(ctx context.Context, job *river.Job[importRecords]) error {
	a := job.Args
	_, err := tasks.RunImport(ctx, w.s.client, tasks.Import[record, record]{
		Key: a.Partner + "/" + a.Name + "/records",
		Job: importer.Job[record, record]{
			Name: "records", Partner: a.Partner, Integration: a.Name, BatchSize: 20,
			Adapt: func(r record) (record, error) { return r, nil },
		},
		Pages: func(ctx context.Context, from string) iter.Seq2[belay.Page[record], error] {
			return belay.Pages[record](ctx, w.s.clients[a.Partner], "/records?company="+a.Name,
				belay.CursorPages{Items: "items", Cursor: "next", Param: "cursor"}, belay.StartAt(from))
		},
		Save: func(ctx context.Context, tx *sql.Tx, b importer.Batch[record]) error {
			for _, r := range b.Records {
				if _, err := tx.ExecContext(ctx, `insert into records (partner, company, id, version) values ($1, $2, $3, $4)
					on conflict (partner, company, id) do update set version = excluded.version`, a.Partner, a.Name, r.ID, r.Version); err != nil {
					return err
				}
			}
			return nil
		},
	})
	return err
}

// workOn is the worker process.
func workOn(ctx context.Context, dsn string) error {
	var urls map[string]string
	if err := json.Unmarshal([]byte(os.Getenv("PARTNERS")), &urls); err != nil {
		return fmt.Errorf("PARTNERS: %w", err)
	}
	s := &system{clients: make(map[string]*belay.Client)}
	queues := map[string]river.QueueConfig{"default": {MaxWorkers: 5}}
	gates := make(map[string]tasks.Gate)
	for _, partner := range partners {
		c, err := belay.New(urls[partner], belay.WithName(partner), belay.WithRateLimit(belay.PerSecond(100)))
		if err != nil {
			return err
		}
		s.clients[partner], gates[partner], queues[partner] = c, tasks.ClientGate(c), river.QueueConfig{MaxWorkers: 10}
	}
	client, err := tasks.Open(ctx, dsn, tasks.Config{
		River: river.Config{Workers: workersOf(s), Queues: queues, Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))},
		Gates: gates,
		Decide: func(err error, job *rivertype.JobRow) tasks.Decision {
			d := tasks.Decide(err, job)
			d.Wait /= 20 // time runs fast
			return d
		},
		Schedules: []tasks.Schedule{{Name: "everything", Every: every, CatchUp: 1, Args: func(period time.Time) (river.JobArgs, *river.InsertOpts) {
			return syncAll{period.Unix()}, nil
		}}},
		Heartbeat: time.Second,
	})
	if err != nil {
		return err
	}
	defer client.Close()
	s.client = client
	for {
		err := client.Start(ctx)
		if err == nil {
			break
		}
		if ctx.Err() != nil || !strings.Contains(err.Error(), tasks.ErrLocked.Error()) {
			return err
		}
		if err := wait(ctx, 20*time.Millisecond); err != nil { // the one before has not ended
			return err
		}
	}
	<-ctx.Done()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return client.Stop(last)
}

func createTables(ctx context.Context, db *sql.DB) error {
	for _, statement := range []string{
		"create table records (partner text not null, company text not null, id text not null, version bigint not null, primary key (partner, company, id))",
		"create table events (id text not null)",
	} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("the database must be an empty one: %w", err)
		}
	}
	return nil
}
