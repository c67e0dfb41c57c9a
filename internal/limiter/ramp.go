package limiter

import "time"

// ramp eases calls in after an outage, so that those that waited do not fall upon the partner at once:
// at most twice the pace from before the outage until steady traffic has caught up, which takes about
// as long as the outage lasted, and then half as much again for each ten seconds without a failure. It is
// over when nobody has had to wait for it for ten seconds.
type ramp struct {
	rate    float64       // calls a second, 0 when there is no ramp
	next    time.Duration // when the next call may go
	grow    time.Duration // when the rate may grow
	blocked time.Duration // when somebody last had to wait

	before float64 // the pace from before the outage, 0 when there was too little to know it by
	pace   pace
}

const (
	rampQuiet   = 10 * time.Second
	rampFactor  = 1.9  // at most twice, and the jitter of the network must not make it more
	rampLeast   = 1.0  // calls a second
	rampUnknown = 20.0 // where the pace from before is not known
)

// outage notes the pace when the circuit opens.
func (r *ramp) outage(now time.Duration) {
	if r.rate > 0 && r.before > 0 {
		r.rate = 0 // it was still easing in: the pace from before the first outage holds
		return
	}
	if r.before, r.rate = 0, 0; now-r.pace.first >= paceSlice {
		r.before = r.pace.peak(now)
	}
}

// start begins the ramp when the circuit closes after lasted.
func (r *ramp) start(now, lasted time.Duration) {
	// At 1.9 times the pace, what steady traffic has piled up is gone after lasted/0.9.
	r.rate, r.grow = max(rampLeast, r.before*rampFactor), now+max(lasted*5/4, rampQuiet)
	if r.before == 0 {
		r.rate, r.grow = rampUnknown, now+rampQuiet
	}
	r.next, r.blocked = now, now
}

// open reports whether a call may go now. It is where the ramp grows and ends.
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

// wait returns how long a call behind ahead others has to wait at the present rate.
func (r *ramp) wait(now time.Duration, ahead int) time.Duration {
	if r.rate == 0 {
		return 0
	}
	return max(0, r.next-now) + time.Duration(float64(ahead)/r.rate*float64(time.Second))
}

// disturbed makes the ramp wait again for its quiet time.
func (r *ramp) disturbed(now time.Duration) { r.grow = max(r.grow, now+rampQuiet) }

// note counts a call that goes now.
func (r *ramp) note(now time.Duration) {
	r.pace.note(now)
	if r.rate > 0 {
		r.next = max(r.next, now) + time.Duration(float64(time.Second)/r.rate)
	}
}

// pace counts calls by slices of ten seconds, for a minute back: an outage that shows itself only by
// timeouts has slowed the last slices already.
type pace struct {
	began  bool
	first  time.Duration // when the first call was counted
	end    time.Duration // of the present slice
	n      int           // calls in it
	slice  int           // its place in counts
	counts [6]int        // of the slices before
}

const paceSlice = 10 * time.Second

func (p *pace) note(now time.Duration) {
	if now >= p.end {
		p.roll(now)
	}
	p.n++
}

func (p *pace) roll(now time.Duration) {
	if !p.began {
		p.began, p.first, p.end = true, now, now.Truncate(paceSlice)+paceSlice
		return
	}
	for i := 0; now >= p.end; i++ {
		if i == len(p.counts) { // all of them are empty
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

// peak returns the calls a second of the busiest slice.
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
