package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// row is what became of the tasks of one kind.
type row struct {
	kind                                         string
	inserted, completed, outdated, dead          int
	attempts, snoozes, requeues, waited, waiting int
}

// rows counts the tasks in the database.
func (s *show) rows(ctx context.Context) (all []*row, err error) {
	by := make(map[string]*row)
	for _, kind := range []string{"sync_all", "sync_company", "import", "belay_event", "push"} {
		by[kind] = &row{kind: kind}
		all = append(all, by[kind])
	}
	params := river.NewJobListParams().First(5000)
	for {
		got, err := s.client.JobList(ctx, params)
		if err != nil {
			return nil, err
		}
		for _, job := range got.Jobs {
			r := by[job.Kind]
			var meta struct {
				Snoozes  int    `json:"snoozes"`
				Waits    int    `json:"tasks_waits"`
				Requeues int    `json:"tasks_requeues"`
				Class    string `json:"tasks_class"`
			}
			_ = json.Unmarshal(job.Metadata, &meta)
			r.inserted++
			switch {
			case job.State == rivertype.JobStateCompleted:
				r.completed++
			case job.State == rivertype.JobStateCancelled && meta.Class == "":
				r.outdated++
			case job.FinalizedAt != nil:
				r.dead++
			default:
				r.waiting++
			}
			r.attempts += max(0, job.Attempt-1)
			r.snoozes += meta.Snoozes - meta.Waits
			r.waited += meta.Waits
			r.requeues += meta.Requeues
		}
		if len(got.Jobs) < 5000 {
			return all, nil
		}
		params = params.After(got.LastCursor)
	}
}

// untilDone waits until nothing waits but what the schedule brings.
func (s *show) untilDone(ctx context.Context) error {
	for {
		all, err := s.rows(ctx)
		if err != nil {
			return err
		}
		waiting := 0
		for _, r := range all {
			waiting += r.waiting
		}
		if waiting == 0 {
			return s.stop()
		}
		if err := wait(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// report says what became of each task, and is an error if anything was lost or done twice.
func (s *show) report(ctx context.Context) error {
	all, err := s.rows(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintln(s.out)
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "task\tinserted\tdone\toutdated\tdead\twaiting\tattempts spent\tput off\twaited for a writer\trun again after a kill\t")
	lost := 0
	for _, r := range all {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t\n", r.kind, r.inserted, r.completed, r.outdated, r.dead, r.waiting, r.attempts, r.snoozes, r.waited, r.requeues)
		lost += r.inserted - r.completed - r.outdated
	}
	if err := w.Flush(); err != nil {
		return err
	}
	number := func(query string) (n int) {
		err = errors.Join(err, s.client.DB().QueryRowContext(ctx, query).Scan(&n))
		return n
	}
	sent := int(s.world.sent.Load())
	events, distinct := number("select count(*) from events"), number("select count(distinct id) from events")
	records := number("select count(*) from records")
	s.world.mu.Lock()
	pushed := len(s.world.pushed)
	s.world.mu.Unlock()
	fmt.Fprintf(s.out, "\n%d events were sent, a third of them twice: %d were handled, %d of them distinct; %d pushes reached the crm\n", sent, events, distinct, pushed)
	fmt.Fprintf(s.out, "%d records of %d integrations\n", records, len(partners)*len(companies()))
	want := len(partners) * len(companies()) * recordsOfEach
	if err != nil || lost > 0 || events != sent || distinct != sent || pushed != sent || records != want {
		return errors.Join(err, errors.New("something was lost, or done twice"))
	}
	fmt.Fprintln(s.out, "nothing was lost, and no event was handled twice")
	return nil
}
