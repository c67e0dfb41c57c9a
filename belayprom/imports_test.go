package belayprom_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/belayprom"
	"github.com/belay-go/belay/inbox"
)

// Imports tell how far they are from their beginning; the counters count each record once, over several runs.
func TestImports(t *testing.T) {
	m := must[*belayprom.Metrics](t)(belayprom.New(belayprom.Config{}))
	tell := func(e belay.ImportProgress) {
		e.Partner, e.Import = "crm", "people"
		m.Observe(t.Context(), e)
	}
	tell(belay.ImportProgress{Read: 10, Saved: 8, Added: 5, Updated: 3, Skipped: 1, Rejected: 1, Elapsed: time.Second})
	tell(belay.ImportProgress{Read: 20, Saved: 17, Added: 10, Updated: 7, Skipped: 1, Rejected: 2, Deleted: 4, Elapsed: 2 * time.Second, Ended: true})
	tell(belay.ImportProgress{Run: 2, Read: 20, Saved: 20}) // two others, side by side
	tell(belay.ImportProgress{Run: 3, Read: 1, Saved: 1, Ended: true, Err: errors.New("no")})
	tell(belay.ImportProgress{Run: 2, Read: 30, Saved: 29})
	m.Observe(t.Context(), belay.SchemaChanged{Partner: "crm"})
	m.Observe(t.Context(), belay.CallDone{Call: belay.CallInfo{Partner: "crm", Route: "/x"}, StatusCode: 200, Kept: true, Stale: true})
	contains(t, text(t, m),
		"integration_import_records_total{change=added,import=people,partner=crm} 10",
		"integration_import_records_total{change=updated,import=people,partner=crm} 7",
		"integration_import_records_total{change=deleted,import=people,partner=crm} 4",
		"integration_import_records_total{change=rejected,import=people,partner=crm} 2",
		"integration_import_records_total{change=unchanged,import=people,partner=crm} 1",
		"integration_import_records_total{change=saved,import=people,partner=crm} 30",
		"integration_import_runs_total{import=people,partner=crm,result=failed} 1",
		"integration_import_runs_total{import=people,partner=crm,result=ok} 1",
		"integration_schema_changes_total{partner=crm} 1",
		"integration_api_kept_answers_total{partner=crm,result=stale} 1",
	)
	if err := m.AddChecker(nil); err == nil {
		t.Error("a nil checker is taken")
	}
	if err := m.AddInbox("", new(inbox.Worker)); err == nil {
		t.Error("an empty name is taken")
	}
}

// Queues of tasks are asked for with each scrape; one that fails or panics harms no other metric.
func TestQueues(t *testing.T) {
	m := must[*belayprom.Metrics](t)(belayprom.New(belayprom.Config{}))
	if m.SetQueues(nil) == nil {
		t.Error("no error")
	}
	how := "well"
	err := m.SetQueues(func(context.Context) ([]belayprom.Queue, int, error) {
		switch how {
		case "error":
			return nil, 0, errors.New("away")
		case "panic":
			panic("no")
		}
		return []belayprom.Queue{
			{Queue: "crm", Waiting: 7, Due: 5, Running: 2, Dead: 1, Capacity: 10, Oldest: time.Minute},
			{Queue: "pay", Paused: []string{"drain"}},
			{Queue: "crm"}, // told twice
		}, 3, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"integration_queue_tasks{queue=crm,state=due} 5", "integration_queue_tasks{queue=crm,state=later} 2",
		"integration_queue_tasks{queue=crm,state=running} 2", "integration_queue_tasks{queue=crm,state=dead} 1",
		"integration_queue_oldest_seconds{queue=crm} 60", "integration_queue_capacity{queue=crm} 10", "integration_queue_held{queue=crm} 0",
		"integration_queue_held{queue=pay} 1", "integration_queue_processes{} 3",
	} {
		contains(t, text(t, m), want)
	}
	for _, how = range []string{"error", "panic"} {
		if got := text(t, m); strings.Contains(got, "integration_queue") {
			t.Error(got)
		}
	}
}
