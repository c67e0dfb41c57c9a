package errbody

import (
	"io"
	"time"
)

const (
	// MaxBytes is how much of an error body is read.
	MaxBytes = 64 << 10
	// MaxWait is how long an error body is read at most.
	MaxWait = 5 * time.Second
	// DiscardWait is how long a body is read that nobody wants, so that its connection can be used again.
	DiscardWait = 100 * time.Millisecond
)

// Read reads the beginning of a body: up to MaxBytes, for at most wait; zero means no bound of time. The error is nil
// if MaxBytes were reached, io.EOF if the body ended, and io.ErrUnexpectedEOF if the time was over. interrupt ends a
// Read in progress and closes rc. It is called when the time is over.
func Read(rc io.ReadCloser, wait time.Duration, interrupt func(io.ReadCloser)) ([]byte, error) {
	stop := func() bool { return false }
	if wait > 0 {
		late := make(chan struct{})
		timer := time.AfterFunc(wait, func() {
			interrupt(rc)
			close(late)
		})
		stop = func() bool {
			if timer.Stop() {
				return false
			}
			<-late // interrupt closes rc, and must have done so before Read returns
			return true
		}
	}
	buf := make([]byte, 0, 512)
	for empty := 0; len(buf) < MaxBytes; {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := rc.Read(buf[len(buf):min(cap(buf), MaxBytes)])
		buf = buf[:len(buf)+n]
		if err != nil {
			if stop() {
				err = io.ErrUnexpectedEOF
			}
			return buf, err
		}
		if n > 0 {
			empty = 0
		} else if empty++; empty == 100 {
			stop()
			return buf, io.ErrNoProgress
		}
	}
	if stop() {
		return buf, io.ErrUnexpectedEOF
	}
	return buf, nil
}
