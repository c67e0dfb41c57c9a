package belayprom

import (
	"sync"
	"time"

	"github.com/belay-go/belay"
)

// runs holds how far imports were when they last told, because events count from the beginning of a run.
type runs struct {
	mu   sync.Mutex
	last map[runKey]progress
}

type runKey struct {
	partner, integration, name string
	run                        uint64
}

type progress struct {
	belay.ImportProgress
	at time.Time
}

// makeRoom forgets runs that have told nothing for a day.
func (r *runs) makeRoom() bool {
	for key, p := range r.last {
		if time.Since(p.at) > 24*time.Hour {
			delete(r.last, key)
		}
	}
	return len(r.last) < mostRuns
}

// mostRuns is the number of imports that run at a time and are counted.
const mostRuns = 10_000

// since returns what has come since the run last told.
func (r *runs) since(e *belay.ImportProgress) belay.ImportProgress {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := runKey{e.Partner, e.Integration, e.Import, e.Run}
	was, known := r.last[key]
	switch {
	case e.Ended:
		delete(r.last, key)
	case !known && len(r.last) >= mostRuns && !r.makeRoom():
		return belay.ImportProgress{} // it is counted at its end
	default:
		if r.last == nil {
			r.last = make(map[runKey]progress)
		}
		r.last[key] = progress{*e, time.Now()}
	}
	return belay.ImportProgress{
		Saved: e.Saved - was.Saved, Skipped: e.Skipped - was.Skipped, Rejected: e.Rejected - was.Rejected,
		Added: e.Added - was.Added, Updated: e.Updated - was.Updated, Deleted: e.Deleted - was.Deleted,
	}
}

func (m *Metrics) imported(e *belay.ImportProgress) {
	partner := m.labels.get(partners, "", e.Partner)
	name := m.labels.get(types, "import "+partner, e.Import)
	d := m.runs.since(e)
	for change, n := range map[string]int{
		"saved": d.Saved - d.Added - d.Updated, "added": d.Added, "updated": d.Updated, "deleted": d.Deleted,
		"rejected": d.Rejected, "unchanged": d.Skipped,
	} {
		if n > 0 {
			m.records.WithLabelValues(m.with(e.Integration, partner, name, change)...).Add(float64(n))
		}
	}
	if !e.Ended {
		return
	}
	result := "ok"
	if e.Err != nil {
		result = "failed"
	}
	m.importRuns.WithLabelValues(m.with(e.Integration, partner, name, result)...).Inc()
}
