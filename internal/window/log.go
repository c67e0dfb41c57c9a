package window

import "time"

// Log remembers when permits were last taken, and for whom, so that limits can be found out. It holds the
// last few thousand.
type Log struct {
	ring []entry
	next int64 // the number of the next entry; ring[i%len] is entry i
}

type entry struct {
	at  int64
	who uint64
}

const logged = 4096

// Note writes down n permits for who, and returns a mark above zero to name them by.
func (l *Log) Note(now time.Duration, who uint64, n int) (mark int64) {
	mark = l.next + 1
	for range min(n, logged) {
		if l.next < logged && int(l.next) == len(l.ring) {
			l.ring = append(l.ring, entry{})
		}
		l.ring[l.next%logged] = entry{int64(now), who}
		l.next++
	}
	return mark
}

// Gone takes back n permits that the partner did not count.
func (l *Log) Gone(mark int64, n int) {
	for i := max(mark-1, l.next-logged); i < min(mark-1+int64(n), l.next); i++ {
		l.ring[i%logged].at = gone
	}
}

// Since appends when permits were taken by who after since, in order; a who of 0 is everybody. Whole is
// false when there may have been more than the log remembers.
func (l *Log) Since(who uint64, since time.Duration, to []time.Duration) (at []time.Duration, whole bool) {
	first := max(0, l.next-logged)
	i := l.next
	for ; i > first; i-- {
		if e := l.ring[(i-1)%logged]; e.at != gone && time.Duration(e.at) <= since {
			break
		}
	}
	whole = i > 0 && i > first || first == 0
	for ; i < l.next; i++ {
		if e := l.ring[i%logged]; e.at != gone && (who == 0 || e.who == who) {
			to = append(to, time.Duration(e.at))
		}
	}
	return to, whole
}
