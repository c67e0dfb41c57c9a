package watch

import (
	"sync"
	"time"

	"github.com/belay-go/belay/inbox"
)

// asked asks inboxes for their numbers. One that panics, or does not answer within a second, is left out. It is not
// asked again before it has answered.
type asked struct {
	mu    sync.Mutex
	calls map[string]*asking
}

// asking is a call of an inbox's function. Whoever asks meanwhile waits for the same one.
type asking struct {
	began time.Time
	done  chan struct{}
	n     inbox.Numbers // known if ok, after done
	ok    bool
}

func (a *asked) numbers(name string, f func() inbox.Numbers) (inbox.Numbers, bool) {
	if f == nil {
		return inbox.Numbers{}, false
	}
	a.mu.Lock()
	c := a.calls[name]
	if c == nil {
		c = &asking{began: time.Now(), done: make(chan struct{})}
		if a.calls == nil {
			a.calls = make(map[string]*asking)
		}
		a.calls[name] = c
		go a.call(name, c, f)
	}
	a.mu.Unlock()
	timer := time.NewTimer(max(0, time.Second-time.Since(c.began)))
	defer timer.Stop()
	select {
	case <-c.done:
		return c.n, c.ok
	case <-timer.C:
		return inbox.Numbers{}, false
	}
}

func (a *asked) call(name string, c *asking, f func() inbox.Numbers) {
	defer func() {
		_ = recover()
		a.mu.Lock()
		delete(a.calls, name)
		a.mu.Unlock()
		close(c.done)
	}()
	c.n = f()
	c.ok = true
}
