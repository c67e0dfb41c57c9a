package testkit

import (
	"regexp"
	"runtime"
	"strings"
)

// Goroutines returns the number of goroutines in the caller's bubble. The runtime's own, and those of other tests, come
// and go beside it.
func Goroutines() int {
	buf := make([]byte, 64<<10)
	n := runtime.Stack(buf, true)
	for n == len(buf) {
		buf = make([]byte, 2*len(buf))
		n = runtime.Stack(buf, true)
	}
	stacks := string(buf[:n]) // the caller's comes first
	mine := inBubble.FindString(stacks)
	if mine == "" {
		panic("testkit: Goroutines is called outside a bubble")
	}
	return strings.Count(stacks, mine)
}

var inBubble = regexp.MustCompile(`synctest bubble \d+\]`)
