package limiter

import (
	"time"

	"github.com/belay-go/belay/internal/window"
)

// pressure finds out whether the failures of an origin follow the pace of calls, and paces calls below it. Some
// partners refuse calls that come too fast with a plain 503, as nginx does by limit_req. Such failures come between
// successes. The pace begins below that of the calls that were accepted, falls with each further failure and rises
// while there is none. If the failures do not become fewer, they do not follow the pace, and do not count for a while.
type pressure struct {
	since   time.Duration // when the present period began
	failed  int           // failures in it
	between int           // of them, those that came after a success
	lately  bool          // the last outcome was such a failure

	tier    *tier   // the pace, nil for none
	rate    float64 // calls per second
	changed time.Duration
	fell    time.Duration // when the rate last fell
	rise    float64       // of the rate, in the next second
	share   float64       // of failures among the calls, when the pace began
	immune  time.Duration // until then failures do not count
}

const (
	pressureTime   = 10 * time.Second // a period
	pressureSigns  = 3                // failures between successes in a period
	pressureImmune = 10 * time.Minute
	pressureFall   = 0.85  // with a failure, once a second
	pressureRise   = 0.005 // in a second without, more in each further one
	pressureMost   = 0.1   // rise in a second
	pressureFirst  = 0.3   // the same, before the first failure
	pressureOver   = time.Minute
)

// failedBusy takes note of the failure of r at a partner that may be busy.
func (s *scheduler) failedBusy(r *Reservation, now time.Duration) {
	if s.policy.Off {
		return
	}
	sc := s.originScope(r.Origin, now)
	p := &sc.pressure
	if sc.throttledInARow == 0 {
		s.throttles(sc, 1) // so that successes are told
	}
	sent := func(d time.Duration) int {
		at, _ := s.log.Since(sc.learner.key, now-d, nil)
		return len(at)
	}
	if now-p.since >= pressureTime {
		share := float64(p.failed) / float64(max(1, sent(now-p.since)))
		if p.tier != nil && now-p.since < 2*pressureTime && p.failed > 2*pressureSigns && share > 0.7*p.share {
			s.drop(sc, p.tier)
			*p = pressure{since: now, immune: now + pressureImmune}
			return
		}
		p.since, p.failed, p.between = now, 0, 0
	}
	p.failed++
	if !p.lately {
		p.between++
	}
	p.lately = true
	switch {
	case now < p.immune:
	case p.tier != nil:
		if p.rise = pressureRise; now-p.fell >= time.Second {
			p.fell = now
			s.setPace(sc, p.rate*pressureFall, now)
		}
	case p.between >= pressureSigns:
		took := min(now-p.since, pressureTime)
		all := sent(took)
		p.share = float64(p.failed) / float64(max(1, all))
		p.tier = &tier{source: Inferred}
		sc.add(p.tier)
		p.rise = pressureFirst
		s.setPace(sc, max(1, float64(all-p.failed)/max(took, time.Second).Seconds()), now)
	}
}

// setPace sets the pace of sc's calls.
func (s *scheduler) setPace(sc *scopeState, rate float64, now time.Duration) {
	p := &sc.pressure
	p.rate, p.changed = max(rate, 0.1), now
	n, per := int(p.rate*100), 100*time.Second
	b := window.NewBucket(max(1, n), per, 1, s.base)
	b.Take(now, now, 1)
	p.tier.limit, p.tier.Window = Limit{N: max(1, n), Per: per, Kind: Bucket, Burst: 1}, b
	s.wake(&p.tier.blocker)
}

// easePressure raises the pace of sc's calls if it is due, and ends it if no call has had to wait for it.
func (s *scheduler) easePressure(sc *scopeState, now time.Duration) {
	p := &sc.pressure
	if p.tier == nil || now-p.changed < time.Second {
		return
	}
	if !p.tier.waitedFor {
		if now-p.changed > pressureOver {
			s.drop(sc, p.tier)
			p.tier = nil
		}
		return
	}
	p.tier.waitedFor = false
	s.setPace(sc, p.rate*(1+p.rise), now)
	if p.rise < pressureMost {
		p.rise = min(p.rise*1.2, pressureMost)
	}
}

// watched reports whether successes have to be told.
func (p *pressure) watched(now time.Duration) bool {
	return p.failed > 0 && now-p.since < 2*pressureTime
}
