package inbox

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/belay-go/belay"
)

// Config says how a [Worker] works. The zero value works.
type Config struct {
	// Workers is how many events are handled at once. Zero means 4; negative is an error.
	Workers int
	// MaxPending is how many events may wait; beyond it [Worker.Put] returns ErrFull. Zero means 100,000; negative is an error.
	MaxPending int
	// MaxAttempts is how often an event may fail before it is set aside. Zero means 12, which with the delays below is about
	// half an hour; negative is an error.
	MaxAttempts int
	// BaseDelay is the bound of the wait after the first failure, which doubles with each, up to MaxDelay; the wait is between
	// half the bound and the bound. Zero means 1 s and 5 min. Negative is an error, and a MaxDelay below BaseDelay.
	BaseDelay, MaxDelay time.Duration
	// Timeout is how long one attempt may take. Zero means one minute; negative means no bound.
	Timeout time.Duration
	// Key returns what an event belongs to, such as its record: those of one key are handled one after the other, as they
	// arrived, and one that fails holds up those behind it until it is handled or set aside. Deliveries that arrive at the same moment
	// have no order, and one that is replayed comes when it is replayed. Put the partner and the integration into the key, where
	// their records may have the same names. It is asked once, when the event arrives. Nil, and an empty key, mean any order.
	Key func(Item) string
	// Observers are told [belay.EventHandled]; [belay.NewLogObserver] writes to a log. They are told one after the other: a slow one slows all.
	Observers []belay.Observer
}

func (c *Config) check() error {
	var errs []error
	for _, x := range []struct {
		name string
		n    int
		to   *int
		zero int
	}{{"Workers", c.Workers, &c.Workers, 4}, {"MaxPending", c.MaxPending, &c.MaxPending, 100_000}, {"MaxAttempts", c.MaxAttempts, &c.MaxAttempts, 12}} {
		if x.n < 0 {
			errs = append(errs, fmt.Errorf("%s %d: must not be negative", x.name, x.n))
		}
		*x.to = cmp.Or(x.n, x.zero)
	}
	if c.BaseDelay < 0 || c.MaxDelay < 0 {
		errs = append(errs, fmt.Errorf("BaseDelay %v, MaxDelay %v: must not be negative", c.BaseDelay, c.MaxDelay))
	}
	if c.BaseDelay > 0 && c.MaxDelay > 0 && c.MaxDelay < c.BaseDelay {
		errs = append(errs, fmt.Errorf("MaxDelay %v: must not be below BaseDelay %v", c.MaxDelay, c.BaseDelay))
	}
	c.BaseDelay = cmp.Or(c.BaseDelay, min(time.Second, cmp.Or(c.MaxDelay, time.Second)))
	c.MaxDelay = cmp.Or(c.MaxDelay, max(5*time.Minute, c.BaseDelay))
	c.Timeout = cmp.Or(c.Timeout, time.Minute)
	return errors.Join(errs...)
}

// delay is the wait after so many failures.
func (c *Config) delay(attempts int) time.Duration {
	bound := c.MaxDelay
	if shift := attempts - 1; shift < 40 && c.BaseDelay<<shift>>shift == c.BaseDelay {
		bound = min(bound, c.BaseDelay<<shift)
	}
	return bound/2 + rand.N(bound/2+1)
}
