package belaytest

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/belay-go/belay/internal/errkit"
)

// Chaos makes trouble in front of a real partner, or of a [Partner]: each request has, by chance, one of the faults
// below or none. The rates are shares of requests, from 0 to 1, and together at most 1. It is for tests against a
// sandbox.
//
//	rt := belaytest.Chaos{Seed: 1, Errors: 0.1, Limited: 0.05, Truncated: 0.05, Hosts: []string{"sandbox.partner.example"}}.Open(t)
type Chaos struct {
	// Real sends the requests. Nil means http.DefaultTransport.
	Real http.RoundTripper
	// Hosts are the hosts that may be called, without ports: a request to another one is an error, so that production is
	// not called by accident. Hosts on loopback, and those beneath .test and .example, are always allowed.
	Hosts []string
	// Seed makes the choices repeatable, in the order of the requests.
	Seed uint64

	// Timeouts are requests that are sent, and whose answer never comes: they end with their context.
	Timeouts float64
	// Errors are answered 500, and Limited 429 with a Retry-After of Wait, in whole seconds, without being sent.
	Errors, Limited float64
	// Refused have their connection refused, without being sent, and Resets have it broken after they were sent.
	Refused, Resets float64
	// Slow have their answer late, by Delay. Truncated have the second half of its body cut off, and Garbage have
	// something else in its place, with the same status. All three are sent.
	Slow, Truncated, Garbage float64
	// Wait is the Retry-After of Limited. Zero means a second.
	Wait time.Duration
	// Delay is how late slow answers are. Zero means two seconds.
	Delay time.Duration
}

// Faults counts what a transport of [Chaos] has done.
type Faults struct {
	Requests int
	// Count has the number of each fault, by the name of its rate, such as "Resets".
	Count map[string]int
}

// ChaosTransport is the transport of a [Chaos]. It is safe for concurrent use.
type ChaosTransport struct {
	cfg    Chaos
	faults []fault

	mu   sync.Mutex
	rand *rand.Rand
	done Faults
}

type fault struct {
	name string
	rate float64
	do   func(c *ChaosTransport, req *http.Request) (*http.Response, error)
}

// Open returns the transport. A rate that is no share, and rates of more than 1 together, fail the test.
func (c Chaos) Open(t testing.TB) *ChaosTransport {
	t.Helper()
	if c.Real == nil {
		c.Real = http.DefaultTransport
	}
	if c.Wait == 0 {
		c.Wait = time.Second
	}
	if c.Delay == 0 {
		c.Delay = 2 * time.Second
	}
	x := &ChaosTransport{cfg: c, rand: rand.New(rand.NewPCG(c.Seed, 0)), done: Faults{Count: make(map[string]int)}}
	x.faults = []fault{
		{"Timeouts", c.Timeouts, (*ChaosTransport).hang},
		{"Errors", c.Errors, (*ChaosTransport).fail},
		{"Limited", c.Limited, (*ChaosTransport).limit},
		{"Refused", c.Refused, (*ChaosTransport).refuse},
		{"Resets", c.Resets, (*ChaosTransport).reset},
		{"Slow", c.Slow, (*ChaosTransport).slow},
		{"Truncated", c.Truncated, (*ChaosTransport).truncate},
		{"Garbage", c.Garbage, (*ChaosTransport).garbage},
	}
	sum := 0.0
	for _, f := range x.faults {
		if !(f.rate >= 0 && f.rate <= 1) {
			t.Fatalf("belaytest: Chaos.%s is %v, must be from 0 to 1", f.name, f.rate)
		}
		sum += f.rate
	}
	if sum > 1+1e-9 {
		t.Fatalf("belaytest: the rates of Chaos are %v together, must be at most 1", sum)
	}
	if c.Wait < 0 || c.Delay < 0 {
		t.Fatalf("belaytest: Chaos.Wait is %s and Delay %s, must not be negative", c.Wait, c.Delay)
	}
	return x
}

// Faults returns what was done so far.
func (c *ChaosTransport) Faults() Faults {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Faults{Requests: c.done.Requests, Count: maps.Clone(c.done.Count)}
}

// RoundTrip implements [http.RoundTripper].
func (c *ChaosTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if !c.allowed(req.URL) {
		if req.Body != nil {
			_ = req.Body.Close()
		}
		return nil, fmt.Errorf("belaytest: Chaos may not call %s: name it in Hosts if it is no production", req.URL.Host)
	}
	chosen := c.choose()
	if chosen == nil {
		return c.cfg.Real.RoundTrip(req)
	}
	return chosen.do(c, req)
}

func (c *ChaosTransport) allowed(u *url.URL) bool {
	host := strings.ToLower(u.Hostname())
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
		return true
	}
	return strings.HasSuffix(host, ".test") || strings.HasSuffix(host, ".example") || slices.ContainsFunc(c.cfg.Hosts, func(h string) bool { return strings.EqualFold(h, host) })
}

// choose returns the fault of the next request, nil for none.
func (c *ChaosTransport) choose() *fault {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done.Requests++
	at := c.rand.Float64()
	for i := range c.faults {
		if at -= c.faults[i].rate; at < 0 {
			c.done.Count[c.faults[i].name]++
			return &c.faults[i]
		}
	}
	return nil
}

// sent sends a request whose answer is lost.
func (c *ChaosTransport) sent(req *http.Request) error {
	resp, err := c.cfg.Real.RoundTrip(req)
	if err == nil {
		_ = resp.Body.Close()
	}
	return err
}

func (c *ChaosTransport) hang(req *http.Request) (*http.Response, error) {
	if err := c.sent(req); err != nil {
		return nil, err
	}
	<-req.Context().Done()
	return nil, req.Context().Err()
}

func (c *ChaosTransport) fail(req *http.Request) (*http.Response, error) {
	return instead(req, http.StatusInternalServerError, nil), nil
}

func (c *ChaosTransport) limit(req *http.Request) (*http.Response, error) {
	seconds := int((c.cfg.Wait + time.Second - 1) / time.Second)
	return instead(req, http.StatusTooManyRequests, http.Header{"Retry-After": {fmt.Sprint(seconds)}}), nil
}

// instead is an answer without the partner.
func instead(req *http.Request, status int, header http.Header) *http.Response {
	if req.Body != nil {
		_, _ = io.Copy(io.Discard, req.Body)
		_ = req.Body.Close()
	}
	if header == nil {
		header = make(http.Header)
	}
	header.Set("Content-Type", "application/json")
	body := `{"message":"chaos"}`
	return &http.Response{
		StatusCode: status, Status: fmt.Sprint(status, " ", http.StatusText(status)), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Request: req,
	}
}

func (c *ChaosTransport) refuse(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
	return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
}

func (c *ChaosTransport) reset(req *http.Request) (*http.Response, error) {
	if err := c.sent(req); err != nil {
		return nil, err
	}
	return nil, &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
}

func (c *ChaosTransport) slow(req *http.Request) (*http.Response, error) {
	resp, err := c.cfg.Real.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if err := errkit.Sleep(req.Context(), c.cfg.Delay); err != nil {
		_ = resp.Body.Close()
		return nil, err
	}
	return resp, nil
}

func (c *ChaosTransport) truncate(req *http.Request) (*http.Response, error) {
	return c.rewrite(req, func(body []byte) ([]byte, error) { return body[:len(body)/2], io.ErrUnexpectedEOF })
}

func (c *ChaosTransport) garbage(req *http.Request) (*http.Response, error) {
	return c.rewrite(req, func([]byte) ([]byte, error) { return []byte("<html>\x00\xff{\"items\": [}"), io.EOF })
}

// rewrite sends a request, and changes the body of its answer, which ends with an error.
func (c *ChaosTransport) rewrite(req *http.Request, change func([]byte) ([]byte, error)) (*http.Response, error) {
	resp, err := c.cfg.Real.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		return nil, err
	}
	changed, end := change(body)
	resp.Body = &cutBody{changed, end}
	if end == io.EOF {
		resp.ContentLength = int64(len(changed))
		resp.Header.Del("Content-Length")
	}
	return resp, nil
}

// cutBody is a body that ends with an error.
type cutBody struct {
	left []byte
	end  error
}

func (b *cutBody) Read(p []byte) (int, error) {
	if len(b.left) == 0 {
		return 0, b.end
	}
	n := copy(p, b.left)
	b.left = b.left[n:]
	return n, nil
}

func (b *cutBody) Close() error { return nil }
