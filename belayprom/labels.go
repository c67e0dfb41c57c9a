package belayprom

import (
	"strings"
	"sync"
	"unicode/utf8"
)

// kind is a kind of label whose values are bounded.
type kind uint8

const (
	partners kind = iota
	endpoints
	types
	integrations
	checks
)

// longestLabel is the number of bytes of a label's value.
const longestLabel = 120

// labels bounds the values of labels: the first ones are kept, each later one is "other".
type labels struct {
	most map[kind]int

	mu   sync.RWMutex
	seen map[label]string
	n    map[label]int // values by kind and group
}

type label struct {
	kind         kind
	group, value string
}

// get returns the label for a value of a group, such as an endpoint of a partner.
func (l *labels) get(k kind, group, value string) string {
	at := label{k, group, value}
	l.mu.RLock()
	shown, ok := l.seen[at]
	l.mu.RUnlock()
	if ok {
		return shown
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen == nil {
		l.seen, l.n = make(map[label]string), make(map[label]int)
	}
	of := label{kind: k, group: group}
	if l.n[of] >= l.most[k] {
		return other
	}
	shown = plain(value)
	l.n[of]++
	l.seen[at] = shown
	return shown
}

// plain returns a value that Prometheus accepts, of bounded length.
func plain(value string) string {
	value = strings.ToValidUTF8(value, "�")
	for len(value) > longestLabel {
		_, n := utf8.DecodeLastRuneInString(value)
		value = value[:len(value)-n]
	}
	return value
}
