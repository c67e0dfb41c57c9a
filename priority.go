package belay

// Priority says who goes first where calls have to wait for their turn. It is a [CallOption]:
//
//	rec, err := belay.Get[Record](ctx, c, "/records/{id}", belay.PathValue("id", id), belay.High)
//
// A call passes all that wait with a lower priority, but of those one goes at the latest after fifteen have
// passed it, so that an import still moves behind a crowd of users. Calls of the same priority
// take turns between the integrations (see [WithIntegration]), and within one go by arrival.
type Priority int8

const (
	// Low is for work that nobody waits for.
	Low Priority = iota - 1
	// Normal is what calls have that say nothing.
	Normal
	// High is for what a user waits for.
	High
)

// String returns "low", "normal" or "high".
func (p Priority) String() string { return [...]string{"high", "normal", "low"}[p.level()] }

// level is 0 for the highest.
func (p Priority) level() int { return 1 - int(max(Low, min(High, p))) }

func (p Priority) applyPage(o *pageOptions) { o.calls = append(o.calls, p) }

func (p Priority) applyCall(o *callOptions) {
	if p < Low || p > High {
		o.fail("Priority: %d is none of Low, Normal and High", int8(p))
	}
	o.priority = p
}
