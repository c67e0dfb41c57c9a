// Bench compares the cost of a call through Belay with bare net/http and with a hand-made stack, over a
// transport that answers at once. The variants alternate in short rounds, so that other work of the machine
// affects all of them. Bench prints the medians, and the difference to bare net/http in the quietest round of
// each variant. Allocations are exact.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/belay-go/belay"
)

var (
	only   = flag.String("only", "", "webhooks measures those alone")
	rounds = flag.Int("rounds", 101, "rounds in which every variant takes its turn")
	ops    = flag.Int("ops", 3000, "calls in a turn")
)

// stub answers every request at once with 200 and two bytes.
type stub struct{}

func (stub) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		var buf [2048]byte
		for {
			if _, err := req.Body.Read(buf[:]); err != nil {
				break
			}
		}
		_ = req.Body.Close()
	}
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{}, ContentLength: 2,
		Body: io.NopCloser(bytes.NewReader([]byte("{}"))), Request: req,
	}, nil
}

type doer func(*http.Request) (*http.Response, error)

func call(do doer, method string, payload []byte, buf []byte) {
	var body io.Reader
	if payload != nil {
		body = bytes.NewReader(payload)
	}
	req, err := http.NewRequest(method, "https://partner.test/things", body)
	if err != nil {
		panic(err)
	}
	resp, err := do(req)
	if err != nil {
		panic(err)
	}
	for {
		if _, err := resp.Body.Read(buf); err != nil {
			break
		}
	}
	_ = resp.Body.Close()
}

func client(opts ...belay.Option) *belay.Client {
	// The default layers, with two sliding limits that are never reached.
	c, err := belay.New("https://partner.test", append([]belay.Option{
		belay.WithTransport(stub{}),
		belay.WithRateLimit(belay.PerSecond(100_000_000), belay.PerMinute(2_000_000_000)),
	}, opts...)...)
	if err != nil {
		panic(err)
	}
	return c
}

type variant struct {
	name   string
	do     doer
	ns     []float64
	allocs float64
}

func compare(title, method string, payload []byte, variants ...*variant) {
	buf := make([]byte, 512)
	for _, v := range variants {
		v.allocs = testing.AllocsPerRun(2000, func() { call(v.do, method, payload, buf) })
	}
	for range *rounds {
		for _, v := range variants {
			start := time.Now()
			for range *ops {
				call(v.do, method, payload, buf)
			}
			v.ns = append(v.ns, float64(time.Since(start).Nanoseconds())/float64(*ops))
		}
	}
	fmt.Printf("\n%s\n  %-34s %9s %9s %9s %8s %8s\n", title, "", "ns", "above", "quietest", "allocs", "above")
	base, least := median(variants[0].ns), slices.Min(variants[0].ns)
	for _, v := range variants {
		m := median(v.ns)
		fmt.Printf("  %-34s %9.0f %+9.0f %+9.0f %8.0f %+8.0f\n",
			v.name, m, m-base, slices.Min(v.ns)-least, v.allocs, v.allocs-variants[0].allocs)
	}
}

func median(xs []float64) float64 {
	s := slices.Sorted(slices.Values(xs))
	return s[len(s)/2]
}

func main() {
	flag.Parse()
	if *rounds < 1 || *ops < 1 {
		fmt.Fprintln(os.Stderr, "bench: -rounds and -ops must be positive")
		os.Exit(2)
	}
	if *only == "webhooks" {
		webhooks()
		return
	}
	bare := &http.Client{Transport: stub{}}
	hand := &http.Client{Transport: newHandMade(stub{})}
	plain := client(belay.Without(belay.LayerTimeout))
	full := client(belay.WithAuth(belay.Bearer(belay.NewSecret("a token of some length"))))
	variants := func(c *belay.Client) []*variant {
		return []*variant{
			{name: "http.Client.Do", do: bare.Do},
			{name: "hand-made stack", do: hand.Do},
			{name: "belay c.Do", do: c.Do},
			{name: "belay c.HTTPClient().Do", do: c.HTTPClient().Do},
		}
	}
	clock := testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			_ = time.Now()
		}
	})
	fmt.Printf("one read of the clock: %d ns\n", clock.NsPerOp())
	compare("GET", http.MethodGet, nil, variants(plain)...)
	compare("POST 1 KiB", http.MethodPost, bytes.Repeat([]byte("x"), 1024), variants(plain)...)
	compare("GET, with auth and an attempt timeout", http.MethodGet, nil, variants(full)...)
	acquire()
	pages()
	webhooks()
}
