package integration

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/Shopify/toxiproxy/v2/stream"
	"github.com/Shopify/toxiproxy/v2/toxics"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
)

// stripeMock builds and starts Stripe's mock server and returns its address.
func stripeMock(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "stripe-mock")
	out, err := exec.Command("go", "build", "-o", bin, "github.com/stripe/stripe-mock").CombinedOutput()
	require.NoError(t, err, "%s", out)
	cmd := exec.Command(bin, "-http-addr", "127.0.0.1:0", "-https-addr", "127.0.0.1:0")
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	addr, ended := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			if a, ok := strings.CutPrefix(lines.Text(), "Listening for HTTP at address: "); ok {
				addr <- a
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-ended
		_ = cmd.Wait()
	})
	select {
	case a := <-addr:
		return a
	case <-time.After(30 * time.Second):
		t.Fatal("stripe-mock did not say where it listens")
		return ""
	}
}

// recorder stands before the mock and remembers every write that reached it.
type recorder struct {
	mu     sync.Mutex
	total  int
	writes map[string][]string // by form body: the idempotency key of each arrival
}

func (r *recorder) serve(t *testing.T, upstream string) *httptest.Server {
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: upstream})
	transport := &http.Transport{MaxIdleConnsPerHost: 32}
	proxy.Transport = transport
	proxy.ErrorLog = nil
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return // cut on its way: it never arrived whole
		}
		req.Body = io.NopCloser(strings.NewReader(string(body)))
		r.mu.Lock()
		r.total++
		if req.Method == http.MethodPost {
			r.writes[string(body)] = append(r.writes[string(body)], req.Header.Get("Idempotency-Key"))
		}
		r.mu.Unlock()
		proxy.ServeHTTP(w, req)
	}))
	t.Cleanup(func() { server.Close(); transport.CloseIdleConnections() })
	return server
}

// unkeyed returns how many writes arrived more than once without one key for all arrivals.
func (r *recorder) unkeyed() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, keys := range r.writes {
		for _, k := range keys[1:] {
			if k == "" || k != keys[0] {
				n++
				break
			}
		}
	}
	return n
}

// repeated returns how many writes arrived more than once.
func (r *recorder) repeated() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, keys := range r.writes {
		if len(keys) > 1 {
			n++
		}
	}
	return n
}

// flaky is a toxic that rolls for each piece of an answer, so that it hits connections that are kept
// alive: it resets the connection, or lets half of the piece through and then does.
type flaky struct {
	Reset float64 `json:"reset"`
	Cut   float64 `json:"cut"`
}

func (f *flaky) Pipe(s *toxics.ToxicStub) {
	for {
		select {
		case <-s.Interrupt:
			return
		case c := <-s.Input:
			if c == nil {
				s.Close()
				return
			}
			switch r := rand.Float64(); {
			case r < f.Reset:
				s.Close()
				return
			case r < f.Reset+f.Cut:
				s.Output <- &stream.StreamChunk{Data: c.Data[:len(c.Data)/2], Timestamp: c.Timestamp}
				s.Close()
				return
			}
			s.Output <- c
		}
	}
}

func init() { toxics.Register("flaky", new(flaky)) }

// faults is the proxy with its toxics on.
type faults struct {
	*toxiproxy.Proxy
	addr string
}

func faultProxy(t *testing.T, upstream string) *faults {
	t.Helper()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	p := toxiproxy.NewProxy(server, "stripe", "127.0.0.1:0", upstream)
	require.NoError(t, p.Start())
	f := &faults{Proxy: p, addr: p.Listen}
	for _, toxic := range []string{
		// Its presence alone makes the proxy end connections with a reset.
		`{"name":"arm","type":"reset_peer","stream":"downstream","toxicity":0,"attributes":{"timeout":0}}`,
		`{"name":"latency","type":"latency","stream":"downstream","attributes":{"latency":20,"jitter":10}}`,
		`{"name":"flaky","type":"flaky","stream":"downstream","attributes":{"reset":0.05,"cut":0.03}}`,
	} {
		_, err := p.Toxics.AddToxicJson(strings.NewReader(toxic))
		require.NoError(t, err)
	}
	t.Cleanup(func() {
		for _, name := range []string{"flaky", "latency", "arm"} {
			_ = p.Toxics.RemoveToxic(context.Background(), name)
		}
		p.Stop()
	})
	return f
}

// cut takes the line down for d.
func (f *faults) cut(d time.Duration) error {
	f.Stop()
	time.Sleep(d)
	for range 50 { // the port may take a moment to be free again
		err := f.Start()
		if err == nil {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("the proxy did not start again at %s", f.addr)
}

// dialer counts connections that are open.
type dialer struct {
	mu   sync.Mutex
	open int
}

func (d *dialer) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.open++
	d.mu.Unlock()
	return &counted{Conn: conn, d: d}, nil
}

type counted struct {
	net.Conn
	d    *dialer
	once sync.Once
}

func (c *counted) Close() error {
	c.once.Do(func() {
		c.d.mu.Lock()
		c.d.open--
		c.d.mu.Unlock()
	})
	return c.Conn.Close()
}

func (d *dialer) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.open
}
