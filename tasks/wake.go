package tasks

import (
	"context"
	"sync"
	"time"

	"github.com/riverqueue/river/riverdriver"
)

// wake lets tasks begin as soon as they are inserted by this process. River looks into SQLite for what was inserted
// each 50 ms; here an insert makes it look at once, however often it looks otherwise.
type wake struct {
	mu     sync.Mutex
	cancel context.CancelFunc // of a look and the wait behind it; nil in between
	again  bool               // a task was inserted since the last look has begun
}

// now has the database looked into. It may be called within the transaction of the insert: the look waits for its end,
// because there is one connection.
func (w *wake) now() {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.again = true; w.cancel != nil {
		w.cancel()
	}
}

// lookInterval is the least time between two looks.
const lookInterval = 3 * time.Millisecond

// wakingDriver is a driver whose listener looks when it is woken.
type wakingDriver[TTx any] struct {
	riverdriver.Driver[TTx]
	wake *wake
}

// GetListener implements [riverdriver.Driver].
func (d *wakingDriver[TTx]) GetListener(params *riverdriver.GetListenenerParams) riverdriver.Listener {
	return &wakingListener{d.Driver.GetListener(params), d.wake, time.Time{}}
}

type wakingListener struct {
	riverdriver.Listener
	wake *wake
	last time.Time // of the last look
}

// WaitForNotification implements [riverdriver.Listener]. The listener beneath looks first, and waits then: to end its
// wait is to have it look.
func (l *wakingListener) WaitForNotification(ctx context.Context) (*riverdriver.Notification, error) {
	for {
		inner, cancel := context.WithCancel(ctx)
		l.wake.mu.Lock()
		if l.wake.again && time.Since(l.last) < lookInterval { // many inserts make one look
			l.wake.mu.Unlock()
			time.Sleep(lookInterval)
			l.wake.mu.Lock()
		}
		l.wake.again, l.wake.cancel = false, cancel
		l.wake.mu.Unlock()
		l.last = time.Now()
		n, err := l.Listener.WaitForNotification(inner)
		woken := inner.Err() != nil && ctx.Err() == nil
		l.wake.mu.Lock()
		l.wake.cancel = nil
		l.wake.mu.Unlock()
		cancel()
		if n != nil || err == nil || !woken {
			return n, err
		}
	}
}
