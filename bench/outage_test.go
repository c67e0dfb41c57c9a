package main

import (
	"context"
	"crypto/tls"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// outage is a partner that is healthy, then down, then healthy again. It is a transport in virtual time.
type outage struct {
	kind        string // 503, refused, hang or tls
	from, until time.Time

	mu       sync.Mutex
	rng      *rand.Rand
	arrivals []time.Time // of the requests that reached the partner
	wasted   int         // those that reached it and failed
}

// draw returns an even draw from low to high.
func (o *outage) draw(low, high time.Duration) time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	return low + time.Duration(o.rng.Int64N(int64(high-low)+1))
}

func (o *outage) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, now := req.Context(), time.Now()
	latency := o.draw(40*time.Millisecond, 60*time.Millisecond)
	down := !now.Before(o.from) && now.Before(o.until)
	trace := httptrace.ContextClientTrace(ctx)
	if down && (o.kind == "refused" || o.kind == "tls") {
		return nil, o.refuse(ctx, trace)
	}
	if trace != nil && trace.WroteRequest != nil {
		trace.WroteRequest(httptrace.WroteRequestInfo{})
	}
	o.mu.Lock()
	o.arrivals = append(o.arrivals, now)
	o.mu.Unlock()
	// The outage catches those that are in flight when it begins. Only connections that exist already outlive
	// an outage of new handshakes.
	if now.Before(o.from) && now.Add(latency).After(o.from) && o.kind != "tls" {
		if err := pass(ctx, o.from.Sub(now)); err != nil {
			return nil, err
		}
		down = true
	}
	if down {
		o.mu.Lock()
		o.wasted++
		o.mu.Unlock()
		return o.fail(req)
	}
	if err := pass(ctx, latency); err != nil {
		return nil, err
	}
	if c, ok := ctx.Value(tripKey{}).(*trip); ok {
		c.arrived = now
	}
	return reply(req, http.StatusOK, nil), nil
}

// refuse fails as net/http does if there is no connection. A peer that hangs up in the handshake gives io.EOF.
func (o *outage) refuse(ctx context.Context, trace *httptrace.ClientTrace) error {
	after, err := 30*time.Millisecond, io.EOF
	if o.kind == "refused" {
		after = time.Millisecond
		err = &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	if err := pass(ctx, after); err != nil {
		return err
	}
	switch {
	case trace == nil:
	case o.kind == "refused" && trace.ConnectDone != nil:
		trace.ConnectDone("tcp", "partner.test:443", err)
	case o.kind == "tls" && trace.TLSHandshakeDone != nil:
		trace.TLSHandshakeDone(tls.ConnectionState{}, err)
	}
	return err
}

// fail answers a request that the outage caught.
func (o *outage) fail(req *http.Request) (*http.Response, error) {
	switch o.kind {
	case "hang":
		<-req.Context().Done()
		return nil, req.Context().Err()
	case "refused":
		return nil, &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)}
	}
	if err := pass(req.Context(), 20*time.Millisecond); err != nil {
		return nil, err
	}
	return reply(req, http.StatusServiceUnavailable, nil), nil
}

// pass waits for d, or until ctx has ended.
func pass(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func reply(req *http.Request, status int, header http.Header) *http.Response {
	if header == nil {
		header = http.Header{}
	}
	return &http.Response{
		StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: header,
		Body: io.NopCloser(strings.NewReader("{}")), ContentLength: 2, Request: req,
	}
}
