package belay

import (
	"sync"
)

// calls is where calls are taken from and go back to when nothing below can hold on to them any more:
// after a success, without middlewares of the user's.
var calls = sync.Pool{New: func() any { return new(call) }}

func (c *call) recycle() {
	if c.set.callMiddleware != nil {
		return
	}
	if c.uneventful() {
		// What begin and acquire set anew may stay, but for what would keep the caller's memory.
		c.ctx, c.req, c.body, c.ticket.Request, c.cred, c.signed = nil, nil, nil, nil, nil, nil
		c.attempt, c.sends, c.permit, c.bodyUsed, c.whole = 0, 0, permit{}, false, false
	} else {
		*c = call{}
	}
	calls.Put(c)
}

// uneventful reports whether a call has done no more than most do, so that nothing else is set: clearing the whole of it
// takes longer than any layer.
func (c *call) uneventful() bool {
	return c.attempt <= 1 && c.sends == 1 && !c.whole && !c.turn && !c.probe && !c.caller.returning && !c.observed() &&
		c.cancel == nil && c.waits == Waits{} && c.waited == 0 && c.att.Number == 0
}
