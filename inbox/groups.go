package inbox

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/belay-go/belay/internal/errkit"
)

// Group is the dead letters that failed for the same reason.
type Group struct {
	Partner, Type string
	// Fingerprint is the error of the last attempt without what differs from event to event: numbers, ids and
	// quoted texts.
	Fingerprint string
	Count       int
	First, Last time.Time // of the times at which they failed
	Example     Item      // the one that failed last
}

// Groups returns the dead letters that f selects, grouped by partner, type and fingerprint, the largest group
// first. With FailedSince in f it answers what has failed in the last 24 hours, for example.
func (w *Worker) Groups(ctx context.Context, f Filter) ([]Group, error) {
	type key struct{ partner, typ, fingerprint string }
	found := make(map[key]*Group)
	for it, err := range w.DeadLetters(ctx, f) {
		if err != nil {
			return nil, err
		}
		k := key{it.Partner, it.Type, errkit.Fingerprint(it.Error)}
		at := it.FailedAt()
		g := found[k]
		if g == nil {
			g = &Group{Partner: k.partner, Type: k.typ, Fingerprint: k.fingerprint, First: at, Last: at, Example: it}
			found[k] = g
		}
		g.Count++
		if at.Before(g.First) {
			g.First = at
		}
		if !at.Before(g.Last) {
			g.Last, g.Example = at, it
		}
	}
	all := make([]Group, 0, len(found))
	for _, g := range found {
		all = append(all, *g)
	}
	slices.SortFunc(all, func(a, b Group) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), b.Last.Compare(a.Last), strings.Compare(a.Fingerprint, b.Fingerprint))
	})
	return all, nil
}
