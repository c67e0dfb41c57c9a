package inbox

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/belay-go/belay"
)

// Config configures a [Worker]. The zero value works.
type Config struct {
	// Workers is the number of events handled at the same time. Zero means 12; negative is an error.
	Workers int
	// MaxPerPartner and MaxPerIntegration bound the events of one partner, and those of one integration, that are
	// handled at the same time, so that slow events of one leave workers to the others. An integration of which two
	// events in a row have failed gets one worker until one succeeds. Partners take turns, and so do the
	// integrations of a partner. Zero means three quarters of Workers for a partner, but at least 6, and a third
	// for an integration, but at least 4; negative is an error.
	MaxPerPartner, MaxPerIntegration int
	// MaxPending bounds the pending events; above it [Worker.Put] returns ErrFull. Zero means 100,000;
	// negative is an error.
	MaxPending int
	// MaxAttempts is the number of failed attempts after which an event becomes a dead letter. Zero means 12,
	// which takes about half an hour with the default delays; negative is an error.
	MaxAttempts int
	// MaxAge is the time after its arrival at which an event that still fails or is still refused becomes a dead
	// letter. Zero means 3 days; negative means no bound.
	MaxAge time.Duration
	// Ready reports whether events of an integration can be handled now: false while its circuit is open, for
	// example. Those events rest then, until the given time, without spending attempts; a zero time means
	// BaseDelay, and a time beyond MaxDelay from now means MaxDelay. It is called before each attempt, must be
	// quick and must be safe for concurrent use. Nil means always.
	Ready func(partner, integration string) (ok bool, until time.Time)
	// BaseDelay bounds the wait after the first failure. The bound doubles with each further failure, up to
	// MaxDelay, and the wait is a random time between half the bound and the bound. Zero means 1 s for
	// BaseDelay, or MaxDelay if that is shorter, and 5 min for MaxDelay, or BaseDelay if that is longer. A
	// negative value is an error, and so is a MaxDelay below BaseDelay.
	BaseDelay, MaxDelay time.Duration
	// Timeout bounds the duration of one attempt. Zero means one minute; negative means no bound.
	Timeout time.Duration
	// Key returns the key of an event, such as the ID of its record. Events of one key are handled one after
	// the other in the order of arrival, and a failing event holds up the events behind it until it is
	// handled or becomes a dead letter. Deliveries that arrive at the same moment have no order, and a
	// replayed event is handled at the time of the replay, after later events that were handled meanwhile.
	// Put the partner and the integration into the key if their records may have the same names. Key is
	// called once for each event, on arrival. A nil Key, and an empty key, mean any order.
	Key func(Item) string
	// Observers receive [belay.EventHandled]; [belay.NewLogObserver] writes it to a log. They are called one
	// after the other, so one slow observer slows everything down.
	Observers []belay.Observer
}

func (c *Config) check() error {
	var errs []error
	for _, x := range []struct {
		name string
		n    int
		to   *int
		zero int
	}{
		{"Workers", c.Workers, &c.Workers, 12},
		{"MaxPerPartner", c.MaxPerPartner, &c.MaxPerPartner, 0},
		{"MaxPerIntegration", c.MaxPerIntegration, &c.MaxPerIntegration, 0},
		{"MaxPending", c.MaxPending, &c.MaxPending, 100_000},
		{"MaxAttempts", c.MaxAttempts, &c.MaxAttempts, 12},
	} {
		if x.n < 0 {
			errs = append(errs, fmt.Errorf("%s %d: must not be negative", x.name, x.n))
		}
		*x.to = cmp.Or(x.n, x.zero)
	}
	c.MaxPerPartner = cmp.Or(c.MaxPerPartner, max(min(c.Workers, 6), c.Workers*3/4))
	c.MaxPerIntegration = cmp.Or(c.MaxPerIntegration, max(min(c.Workers, 4), c.Workers/3))
	c.MaxAge = cmp.Or(c.MaxAge, 72*time.Hour)
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

// delay returns the wait after that many failed attempts.
func (c *Config) delay(attempts int) time.Duration {
	bound := c.MaxDelay
	if shift := attempts - 1; shift < 40 && c.BaseDelay<<shift>>shift == c.BaseDelay {
		bound = min(bound, c.BaseDelay<<shift)
	}
	return bound/2 + rand.N(bound/2+1)
}
