package belay

import (
	"net/http"
	"time"

	"github.com/belay-go/belay/internal/fault"
	"github.com/belay-go/belay/internal/headers"
	"github.com/belay-go/belay/internal/redact"
)

// observe is the outermost layer.
func (c *call) observe(in *within) (*http.Response, error) {
	resp, err := in.send(c)
	if c.decode != nil {
		c.decoded(resp)
	}
	e := CallDone{
		Call: c.info(), Verdict: c.verdict, Attempts: c.sends, Waits: c.waits, Duration: time.Since(c.start),
		Err: fault.Join(c.clean(err), c.clean(c.extra)),
	}
	if resp != nil {
		e.StatusCode = resp.StatusCode
	}
	c.emit(e)
	return resp, err
}

func (c *call) observed() bool { return len(c.set.observers) > 0 }

// clock returns the time, when somebody wants to know it.
func (c *call) clock() (t time.Time) {
	if c.observed() {
		t = time.Now()
	}
	return t
}

func (c *call) emit(e Event) {
	for _, o := range c.set.observers {
		tell(c.ctx, o, e)
	}
}

func (c *call) emitAttempt(resp *http.Response, err error, began time.Time) {
	e := AttemptDone{
		Call: c.info(), Number: c.number(), Verdict: c.verdict, Duration: time.Since(began), LimitLeft: -1,
		Probe: c.probe, Ignored: c.verdict.ignored, Err: c.clean(err),
	}
	if c.limiter != nil {
		e.LimitLeft = c.place.Left
	}
	if resp != nil {
		e.StatusCode, e.RequestID = resp.StatusCode, headers.RequestID(resp.Header, c.secrets())
		if e.StatusCode == http.StatusBadRequest || e.StatusCode == http.StatusUnprocessableEntity {
			e.RequestBody = redact.Values(c.shownBody(), c.secrets())
		}
	}
	c.emit(e)
}

func (c *call) info() CallInfo {
	if !c.observed() {
		return CallInfo{}
	}
	return CallInfo{c.set.name, c.integration, c.method(), c.opts.route, c.url()}
}
