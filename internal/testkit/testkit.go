// Package testkit has the parts that the tests of several packages share: a scripted transport, answers, and
// virtual time.
package testkit

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Scripted is a transport whose answers come from a function of the request and its number, counted from 1.
// It records each request and its time.
type Scripted struct {
	mu     sync.Mutex
	Log    []string        // "method path" of each request
	At     []time.Duration // time of each request since Script
	start  time.Time
	answer func(n int, req *http.Request) (*http.Response, error)
}

// RoundTrip records the request and answers it.
func (s *Scripted) RoundTrip(req *http.Request) (*http.Response, error) {
	s.mu.Lock()
	s.Log = append(s.Log, req.Method+" "+req.URL.Path)
	s.At = append(s.At, time.Since(s.start))
	n := len(s.Log)
	s.mu.Unlock()
	if req.Body != nil {
		_, _ = io.Copy(io.Discard, req.Body)
		_ = req.Body.Close()
	}
	resp, err := s.answer(n, req)
	if resp != nil {
		resp.Request = req
		if resp.Header == nil {
			resp.Header = make(http.Header)
		}
	}
	return resp, err
}

// Script returns a transport that answers with f.
func Script(f func(n int, req *http.Request) (*http.Response, error)) *Scripted {
	return &Scripted{start: time.Now(), answer: f}
}

// Reply returns an answer with the body {} and the headers kv: names and values in turn.
func Reply(status int, kv ...string) *http.Response {
	h := make(http.Header)
	for i := 0; i+1 < len(kv); i += 2 {
		h.Set(kv[i], kv[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader("{}")), ContentLength: 2}
}

// Bubble runs f as a subtest in virtual time.
func Bubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

// After runs f on another goroutine once d has passed. The returned function waits for the end of f; it
// returns the time that f took and its error.
func After(d time.Duration, f func() error) func() (time.Duration, error) {
	type result struct {
		err  error
		took time.Duration
	}
	done := make(chan result, 1)
	go func() {
		time.Sleep(d)
		start := time.Now()
		err := f()
		done <- result{err, time.Since(start)}
	}()
	return func() (time.Duration, error) { r := <-done; return r.took, r.err }
}

// Work makes n calls on workers goroutines, and returns the errors of the calls that failed.
func Work(workers, n int, call func(i int) error) (failed []error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	next := 0
	for range workers {
		wg.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				mu.Unlock()
				if i >= n {
					return
				}
				if err := call(i); err != nil {
					mu.Lock()
					failed = append(failed, fmt.Errorf("call %d: %w", i, err))
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return failed
}

// RoundTrip is a function used as a transport.
type RoundTrip func(*http.Request) (*http.Response, error)

// RoundTrip calls f.
func (f RoundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// The local zone is read before the first test: fmt reads it by reflection, beside tests that would set it by its first
// use.
var _ = time.Now().Format(time.RFC3339)

// Verbs returns v formatted with each of the common verbs of fmt.
func Verbs(v any) (out string) {
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%t"} {
		out += fmt.Sprintf(verb, v)
	}
	return out
}

// Raw returns an answer with the given status, content type and body.
func Raw(status int, contentType, body string) *http.Response {
	resp := Reply(status, "Content-Type", contentType)
	resp.Body = io.NopCloser(strings.NewReader(body))
	return resp
}

// Endless is a body of spaces without end.
type Endless struct{}

// Read fills p with spaces.
func (Endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}
