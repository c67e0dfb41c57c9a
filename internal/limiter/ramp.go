package limiter

import "time"

// ramp admits calls slowly after an outage, so that the calls that waited do not reach the partner all at
// once. At first it admits at most twice the pace from before the outage. This holds until the backlog of
// steady traffic is gone, which takes about as long as the outage lasted. Then the rate grows by half for
// each ten seconds without a failure. The ramp ends when no call has had to wait for it for ten seconds.
type ramp struct {
	rate    float64       // calls per second, 0 if there is no ramp
	next    time.Duration // when the next call may be admitted
	grow    time.Duration // when the rate may grow
	blocked time.Duration // when a call last had to wait

	before float64 // the pace before the outage in calls per second, 0 if too few calls were seen
	pace   pace
}

const (
	rampQuiet   = 10 * time.Second
	rampFactor  = 1.9  // twice, less a margin for the jitter of the network
	rampLeast   = 1.0  // calls per second
	rampUnknown = 20.0 // calls per second, if the pace before is not known
)

// outage records the pace of calls when the circuit opens.
func (r *ramp) outage(now time.Duration) {
	if r.rate > 0 && r.before > 0 {
		r.rate = 0 // the ramp was not over: keep the pace from before the first outage
		return
	}
	if r.before, r.rate = 0, 0; now-r.pace.first >= paceSlice {
		r.before = r.pace.peak(now)
	}
}

// start begins the ramp when the circuit closes after an outage of length lasted.
func (r *ramp) start(now, lasted time.Duration) {
	// At 1.9 times the pace, the backlog of steady traffic is gone after lasted/0.9.
	r.rate, r.grow = max(rampLeast, r.before*rampFactor), now+max(lasted*5/4, rampQuiet)
	if r.before == 0 {
		r.rate, r.grow = rampUnknown, now+rampQuiet
	}
	r.next, r.blocked = now, now
}

// open reports whether the ramp lets a call go now. It also raises the rate, and ends the ramp.
func (r *ramp) open(now time.Duration) bool {
	if r.rate == 0 {
		return true
	}
	if now >= r.grow {
		r.rate *= 1.5
		r.grow = now + rampQuiet
	}
	if now-r.blocked > rampQuiet {
		r.rate = 0
		return true
	}
	if now < r.next {
		r.blocked = now
		return false
	}
	return true
}

// wait returns how long a call has to wait at the present rate if ahead calls go before it.
func (r *ramp) wait(now time.Duration, ahead int) time.Duration {
	if r.rate == 0 {
		return 0
	}
	return max(0, r.next-now) + time.Duration(float64(ahead)/r.rate*float64(time.Second))
}

// disturbed postpones the growth of the rate by the quiet time, because an attempt failed.
func (r *ramp) disturbed(now time.Duration) { r.grow = max(r.grow, now+rampQuiet) }

// note counts a call that is admitted now.
func (r *ramp) note(now time.Duration) {
	r.pace.note(now)
	if r.rate > 0 {
		r.next = max(r.next, now) + time.Duration(float64(time.Second)/r.rate)
	}
}

// pace counts calls in slices of ten seconds, over the last minute. The busiest slice counts, because an
// outage that shows only as timeouts has slowed the latest slices already.
type pace struct {
	began  bool
	first  time.Duration // when the first call was counted
	end    time.Duration // end of the present slice
	n      int           // calls in the present slice
	slice  int           // index of the present slice in counts
	counts [6]int        // calls in the previous slices
}

const paceSlice = 10 * time.Second

func (p *pace) note(now time.Duration) {
	if now >= p.end {
		p.roll(now)
	}
	p.n++
}

// roll ends the slices that are over, and begins the present one.
func (p *pace) roll(now time.Duration) {
	if !p.began {
		p.began, p.first, p.end = true, now, now.Truncate(paceSlice)+paceSlice
		return
	}
	for i := 0; now >= p.end; i++ {
		if i == len(p.counts) { // all slices are empty: skip to the present one
			p.end = now.Truncate(paceSlice)
		}
		p.counts[p.slice] = p.n
		p.n = 0
		p.end += paceSlice
		if p.slice++; p.slice == len(p.counts) {
			p.slice = 0
		}
		p.counts[p.slice] = 0
	}
}

// peak returns the calls per second of the busiest slice.
func (p *pace) peak(now time.Duration) float64 {
	p.roll(now)
	best := float64(p.n) / max(now-(p.end-paceSlice), paceSlice/2).Seconds()
	for i, n := range p.counts {
		if i != p.slice {
			best = max(best, float64(n)/paceSlice.Seconds())
		}
	}
	return best
}
