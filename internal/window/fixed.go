package window

import "time"

// Fixed allows max permits in each window of a partner that opens a window with the first call after the
// previous window has ended. The exact start is not known: the partner's window began between lo and hi. No
// permit is free while the partner may still be in the old window, and permits that it may count in the next
// window are counted there too.
type Fixed struct {
	max    int
	per    time.Duration
	lo, hi time.Duration
	seq    int64         // number of the window, 0 before the first
	used   int           // permits taken in the window
	late   int           // of used, the permits that the partner may count in the next window
	last   time.Duration // latest time at which the partner counts the last permit
	// lost means that the partner may never have counted the permits that may have opened the window.
	lost bool
	// unsure means that the permit that opened the window was given back: another one opened it, but it is not
	// known which.
	unsure bool
}

// NewFixed returns a window of n permits per per, both positive.
func NewFixed(n int, per time.Duration) *Fixed { return &Fixed{max: n, per: per} }

func (f *Fixed) ended(now time.Duration) bool { return f.seq == 0 || now >= f.hi+f.per }

// carried returns how many permits of the window that has ended the partner may count in the next window. It
// returns zero if that one has passed too.
func (f *Fixed) carried(now time.Duration) int {
	if now >= f.last+f.per {
		return 0
	}
	return f.late
}

// room returns the number of permits that are free.
func (f *Fixed) room(now time.Duration) int {
	switch {
	case f.ended(now):
		return f.max - f.carried(now)
	case now >= f.lo+f.per:
		return 0
	}
	return f.max - f.used
}

// Wait implements Window.
func (f *Fixed) Wait(now time.Duration, n int) time.Duration {
	over := n - f.room(now)
	if over <= 0 {
		return 0
	}
	end := f.hi + f.per
	if f.ended(now) {
		end = f.last + f.per
	} else if room := f.max - f.late; over <= room {
		return max(end-now, 1)
	}
	return max(end-now+f.per*time.Duration((over-1)/f.max), 1)
}

// A mark is the window's number and two flags: markLate for permits that the partner may count in the next
// window, and markFirst for permits that opened the window.
const (
	markLate = 1 << iota
	markFirst
	markBits = 2
)

// Take implements Window.
func (f *Fixed) Take(now, latest time.Duration, n int) int64 {
	var mark int64
	if f.ended(now) {
		f.late = f.carried(now)
		if f.lo += f.per; f.late == 0 || f.seq == 0 {
			f.lo = now
		}
		f.hi = latest
		f.used, f.late, f.unsure, f.lost = f.late, 0, false, false
		f.seq++
		mark = markFirst
	}
	if f.lost { // then these permits may open the window
		f.hi = latest
		mark = markFirst
	}
	f.used += n
	f.last = latest
	if latest >= f.lo+f.per {
		f.late += n
		mark |= markLate
	}
	if mark |= f.seq << markBits; mark&(markLate|markFirst) == 0 {
		return ^mark
	}
	return mark
}

// Settle implements Window.
func (f *Fixed) Settle(mark int64, at time.Duration, n int) {
	if mark>>markBits != f.seq {
		return
	}
	if mark&markFirst != 0 {
		f.hi = min(f.hi, at)
		f.lost = false
	}
	if mark&markLate != 0 && at < f.lo+f.per {
		f.late -= n
	}
}

// Lost records that the partner counted the permits by the latest of Take, or never.
func (f *Fixed) Lost(mark int64) {
	if mark < 0 {
		mark = ^mark
	}
	if mark>>markBits == f.seq && (mark&markFirst != 0 || f.unsure) {
		f.lost = true
		f.hi = max(f.hi, f.last) // a later permit may have opened the window
	}
}

// Refund implements Window.
func (f *Fixed) Refund(mark int64, now time.Duration, n int) {
	if mark < 0 {
		mark = ^mark
	}
	if mark>>markBits != f.seq {
		return
	}
	f.used -= n
	if mark&markLate != 0 {
		f.late -= n
	}
	switch {
	case f.used == 0: // no permit has opened the window
		f.hi = now - f.per
	case mark&markFirst != 0 || f.unsure: // a later permit has opened the window
		f.unsure = true
		f.hi = max(f.hi, f.last)
	}
}

// Left implements Window.
func (f *Fixed) Left(now time.Duration) int { return max(0, f.room(now)) }

// Limit implements Window.
func (f *Fixed) Limit() int { return f.max }
