package tasks

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/riverqueue/river/riverdriver"
)

// lister is a listener that looks every hour.
type lister struct {
	riverdriver.Listener
	looks atomic.Int64
	found atomic.Bool // by the next look
}

func (l *lister) WaitForNotification(ctx context.Context) (*riverdriver.Notification, error) {
	for {
		if l.looks.Add(1); l.found.CompareAndSwap(true, false) {
			return &riverdriver.Notification{Topic: "river_insert"}, nil
		}
		select {
		case <-time.After(time.Hour):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// An insert ends the wait between two looks; many inserts make few looks; the end of the context is the end.
func TestWake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		beneath := &lister{}
		w := new(wake)
		l := &wakingListener{Listener: beneath, wake: w}
		ctx, cancel := context.WithCancel(t.Context())
		got := make(chan error)
		listen := func() {
			go func() {
				_, err := l.WaitForNotification(ctx)
				got <- err
			}()
			synctest.Wait()
		}
		listen()
		began := time.Now()
		beneath.found.Store(true)
		w.now()
		if err := <-got; err != nil || time.Since(began) > 10*time.Millisecond {
			t.Error(err, time.Since(began))
		}
		listen()
		before := beneath.looks.Load()
		for range 1000 {
			w.now()
			time.Sleep(10 * time.Microsecond) // ten milliseconds altogether
		}
		synctest.Wait()
		if n := beneath.looks.Load() - before; n > 10 {
			t.Errorf("%d looks for a thousand inserts", n)
		}
		cancel()
		if err := <-got; err == nil {
			t.Error("no error after the end")
		}
		new(wake).now() // nobody listens
		(*wake)(nil).now()
	})
}
