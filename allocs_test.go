package belay_test

import (
	"bytes"
	"io"
	"net/http"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

// stub answers at once.
type stub struct{}

func (stub) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		_, _ = io.Copy(io.Discard, req.Body)
		_ = req.Body.Close()
	}
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{}, ContentLength: 2,
		Body: io.NopCloser(bytes.NewReader([]byte("{}"))), Request: req,
	}, nil
}

// With every layer on, the successful path allocates no more than this above bare net/http.
func TestAllocations(t *testing.T) {
	if testkit.RaceEnabled {
		t.Skip("the race detector allocates")
	}
	c, err := belay.New("https://partner.test", belay.WithTransport(stub{}), belay.Without(belay.LayerTimeout),
		belay.WithRateLimit(belay.PerSecond(100_000_000), belay.PerMinute(2_000_000_000)))
	require.NoError(t, err)
	full, err := belay.New(
		"https://partner.test",
		belay.WithTransport(stub{}),
		belay.WithAuth(belay.Bearer(belay.NewSecret("token"))),
		belay.WithRateLimit(belay.PerSecond(100_000_000), belay.PerMinute(2_000_000_000)),
	)
	require.NoError(t, err)
	payload := bytes.Repeat([]byte("x"), 1024)
	measure := func(method string, payload []byte, do func(*http.Request) (*http.Response, error)) float64 {
		buf := make([]byte, 64)
		return testing.AllocsPerRun(1000, func() {
			var body io.Reader
			if payload != nil {
				body = bytes.NewReader(payload)
			}
			req, err := http.NewRequest(method, "https://partner.test/things", body)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := do(req)
			if err != nil {
				t.Fatal(err)
			}
			for err == nil {
				_, err = resp.Body.Read(buf)
			}
			_ = resp.Body.Close()
		})
	}
	bare := (&http.Client{Transport: stub{}}).Do
	for _, m := range []struct {
		name, method string
		payload      []byte
		do           func(*http.Request) (*http.Response, error)
		above        float64
	}{
		{"GET by Do", http.MethodGet, nil, c.Do, 1},
		{"GET by HTTPClient", http.MethodGet, nil, c.HTTPClient().Do, 2},
		{"POST by Do", http.MethodPost, payload, c.Do, 2},
		{"POST by HTTPClient", http.MethodPost, payload, c.HTTPClient().Do, 2},
		{"GET with auth and timeout by Do", http.MethodGet, nil, full.Do, 4},
		{"GET with auth and timeout by HTTPClient", http.MethodGet, nil, full.HTTPClient().Do, 8},
	} {
		got := measure(m.method, m.payload, m.do) - measure(m.method, m.payload, bare)
		t.Logf("%s: %+.0f", m.name, got)
		require.LessOrEqual(t, got, m.above, m.name)
	}

	l, err := belay.NewLimiter(
		belay.PerSecond(4000),
		belay.PerMinute(1_000_000).Fixed(),
		belay.PerSecond(1_000_000).Bucket(1_000_000),
	)
	require.NoError(t, err)
	var ticket belay.Ticket
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		if err := l.Acquire(t.Context(), &ticket); err != nil {
			t.Fatal(err)
		}
		l.Release(&ticket, belay.Outcome{Sent: true})
	}), "acquire")
}

// A client for each customer's integration takes at most 512 bytes.
func TestDerivedClientIsSmall(t *testing.T) {
	parent, err := belay.New("https://partner.test", belay.WithTransport(stub{}))
	require.NoError(t, err)
	const n = 10_000
	keep := make([]*belay.Client, n)
	auth := belay.Bearer(belay.NewSecret("token"))
	before := heap()
	for i := range keep {
		keep[i], err = parent.With(
			belay.WithIntegration("customer"),
			belay.WithAuth(auth),
			belay.WithBaseURL("https://customer.partner.test"),
		)
		require.NoError(t, err)
	}
	each := (heap() - before) / n
	t.Logf("%d bytes", each)
	require.LessOrEqual(t, each, uint64(512))
	runtime.KeepAlive(keep)
}

// heap returns what lives.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
