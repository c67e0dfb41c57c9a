package belay

import (
	"context"
	"net/http/httptrace"
	"sync/atomic"
)

// wireTrace watches what net/http's transport does with an attempt. It tells whether the request can have reached the
// partner, and how often: the transport sends a request again by itself when an idle connection turns out to be dead.
type wireTrace struct {
	httptrace.ClientTrace
	asked atomic.Bool  // a connection was asked for, so the transport reports to the trace
	wrote atomic.Int32 // how often the headers were written
}

// withTrace returns ctx with a new trace.
func withTrace(ctx context.Context) (context.Context, *wireTrace) {
	t := new(wireTrace)
	t.GetConn = func(string) { t.asked.Store(true) }
	t.WroteHeaders = func() { t.wrote.Add(1) }
	return httptrace.WithClientTrace(ctx, &t.ClientTrace), t
}

// unsent reports whether the request was certainly never written.
func (t *wireTrace) unsent() bool { return t != nil && t.asked.Load() && t.wrote.Load() == 0 }

// repeats returns how often the request was written again.
func (t *wireTrace) repeats() int {
	if t == nil {
		return 0
	}
	return max(0, int(t.wrote.Load())-1)
}
