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

// uneventful reports whether a call that succeeded has done no more than most do: clearing the whole of it takes
// longer than any layer.
func (c *call) uneventful() bool {
	return c.attempt <= 1 && c.sends == 1 && c.att.Number == 0 && c.decode == nil && c.buffer == nil && c.data == nil &&
		c.extra == nil && c.lost == nil && c.cancel == nil && c.start.IsZero() && c.waits == Waits{} && c.waited == 0 && !c.turn && !c.probe && !c.caller.returning
}
