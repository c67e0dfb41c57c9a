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

	outages int           // that have begun and not ended
	before  float64       // the pace before the outage in calls per second, 0 if it is not known
	due     time.Duration // when a pause ends that counts as an outage, 0 for none
	lasted  time.Duration // the length of that pause
	pace    pace
}

const (
	rampQuiet   = 10 * time.Second
	rampFactor  = 1.9             // twice, less a margin for the jitter of the network
	rampLeast   = 1.0             // calls per second
	rampUnknown = 20.0            // calls per second, if neither the pace before nor a limit is known
	rampPause   = 2 * time.Second // a pause of a failing partner that is shorter is no outage
)

// outage records the pace of calls when an outage begins.
func (r *ramp) outage(now time.Duration) {
	switch pace := r.pace.peak(now); {
	case r.rate > 0 && r.before > 0: // the ramp was not over: keep the pace from before the first outage
	case r.outages > 0: // of another part of the partner
		r.before = max(pace, r.before)
	default:
		r.before = pace
	}
	if r.outages == 0 {
		r.rate, r.due = 0, 0
	}
	r.outages++
}

// start begins the ramp when an outage of length lasted has ended. known is the pace to begin with if the pace before
// is not known, 0 if it is not known either.
func (r *ramp) start(now, lasted time.Duration, known float64) {
	r.outages = max(0, r.outages-1)
	r.begin(now, lasted, known)
}

func (r *ramp) begin(now, lasted time.Duration, known float64) {
	switch {
	case r.before > 0:
		// At 1.9 times the pace, the backlog of steady traffic is gone after lasted/0.9.
		r.rate, r.grow = max(rampLeast, r.before*rampFactor), now+max(lasted*5/4, rampQuiet)
	case known > 0:
		r.rate, r.grow = max(rampLeast, known), now+rampQuiet
	default:
		r.rate, r.grow = rampUnknown, now+rampQuiet
	}
	r.next, r.blocked, r.due = now, now, 0
}

// paused says that the partner fails and asks for a pause until the given time: the ramp begins then.
func (r *ramp) paused(now, until time.Duration) {
	if until-now < rampPause || r.outages > 0 {
		return
	}
	if pace := r.pace.peak(now); r.rate == 0 && r.due <= now {
		r.before = pace
	}
	r.due, r.lasted = until, until-now
}

// open reports whether the ramp lets a call go now. It also raises the rate, and ends the ramp.
func (r *ramp) open(now time.Duration) bool {
	if r.due > 0 && now >= r.due && r.outages == 0 {
		r.begin(now, r.lasted, 0)
	}
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

// over reports whether there is neither a ramp nor an outage.
func (r *ramp) over(now time.Duration) bool {
	return r.outages == 0 && r.due == 0 && (r.rate == 0 || now-r.blocked > rampQuiet)
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

// pace counts calls by the second, over the last minute. The busiest few seconds count, because the calls may have
// been held or slowed in the others: by an outage that shows only as timeouts, or by one before.
type pace struct {
	began  bool
	first  time.Duration // when the first call was counted
	end    time.Duration // end of the present second
	at     int           // index of the present second in counts
	counts [60]int       // calls
}

const (
	paceSlice  = time.Second
	paceSlices = 5 // over which the pace is taken
)

func (p *pace) note(now time.Duration) {
	if now >= p.end {
		p.roll(now)
	}
	p.counts[p.at]++
}

// forget takes back one call that was counted just now and not sent.
func (p *pace) forget(now time.Duration) {
	if now < p.end && p.counts[p.at] > 0 {
		p.counts[p.at]--
	}
}

// roll ends the seconds that are over, and begins the present one.
func (p *pace) roll(now time.Duration) {
	if !p.began {
		p.began, p.first, p.end = true, now, now+paceSlice
		return
	}
	for i := 0; now >= p.end; i++ {
		if i == len(p.counts) { // all of them are empty
			p.end += (now - p.end).Truncate(paceSlice) + paceSlice
			return
		}
		p.end += paceSlice
		if p.at++; p.at == len(p.counts) {
			p.at = 0
		}
		p.counts[p.at] = 0
	}
}

// peak returns the calls per second of the busiest seconds, 0 if calls have been counted for less than a second.
func (p *pace) peak(now time.Duration) (best float64) {
	if !p.began || now-p.first < paceSlice {
		return 0
	}
	p.roll(now)
	// The present second is not over: it counts as much as has passed of it.
	passed := paceSlice - (p.end - now)
	for from := range len(p.counts) {
		n, over := 0, time.Duration(0)
		for i := range paceSlices {
			back := from + i
			if back >= len(p.counts) {
				break
			}
			if n += p.counts[(p.at-back+len(p.counts))%len(p.counts)]; back == 0 {
				over += passed
			} else {
				over += paceSlice
			}
		}
		over = min(over, now-p.first) // a younger client has no more
		if over >= paceSlice {
			best = max(best, float64(n-1)/over.Seconds()) // n calls are n-1 intervals
		}
	}
	return best
}
