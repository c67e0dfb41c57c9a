package belayprom_test

import (
	"errors"
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
