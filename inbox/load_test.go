package inbox_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/inbox"
	"github.com/belay-go/belay/webhook"
)

// attack uses one connection until ctx is done, which closes it, or the server has had enough.
type attack func(ctx context.Context, c net.Conn) error

const loadHead = "POST /webhooks/standard/one HTTP/1.1\r\nHost: us.example\r\nwebhook-id: evt\r\nwebhook-signature: v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=\r\n"

// trickle sends a byte a second.
func trickle(ctx context.Context, c net.Conn, head string) error {
	if _, err := io.WriteString(c, head); err != nil {
		return err
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			if _, err := io.WriteString(c, "1"); err != nil {
				return err
			}
		}
	}
}

var tenMegabytes = bytes.Repeat([]byte(" "), 64<<10)

// flood sends 10 MB.
func flood(c net.Conn, head, before, after string) error {
	if _, err := io.WriteString(c, head); err != nil {
		return err
	}
	for range 160 {
		if _, err := io.WriteString(c, before); err != nil {
			return err
		}
		if _, err := c.Write(tenMegabytes); err != nil {
			return err
		}
		if _, err := io.WriteString(c, after); err != nil {
			return err
		}
	}
	return io.EOF
}

// forge sends requests that are signed badly, one after the other, as fast as they are answered.
func forge(c net.Conn) error {
	body := `{"type":"contact.updated","note":"` + strings.Repeat("x", 1000) + `"}`
	req := fmt.Sprintf(
		"%swebhook-timestamp: %d\r\nContent-Length: %d\r\n\r\n%s",
		loadHead,
		time.Now().Unix(),
		len(body),
		body,
	)
	answers := bufio.NewReader(c)
	for {
		if _, err := io.WriteString(c, req); err != nil {
			return err
		}
		resp, err := http.ReadResponse(answers, nil)
		if err != nil {
			return err
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		if resp.StatusCode != http.StatusUnauthorized {
			return fmt.Errorf("forged, and answered %s", resp.Status)
		}
	}
}

// Five hundred connections that do harm, and fifty good events a second: all of these are taken, and memory
// stays bounded. How long they take is logged and not asserted: what else the machine does would decide.
func TestLoad(t *testing.T) {
	if os.Getenv("BELAY_LOAD") == "" {
		t.Skip("BELAY_LOAD is not set: five seconds for each kind of load")
	}
	var turn atomic.Int64
	kinds := map[string]attack{
		"half a header": func(ctx context.Context, c net.Conn) error {
			return trickle(ctx, c, "POST /webhooks/standard/one HTTP/1.1\r\nHost: us.exa")
		},
		"a byte a second": func(ctx context.Context, c net.Conn) error {
			return trickle(ctx, c, loadHead+"Content-Length: 1000000\r\n\r\n")
		},
		"10 MB": func(_ context.Context, c net.Conn) error {
			return flood(c, loadHead+"Content-Length: 10485760\r\n\r\n", "", "")
		},
		"10 MB in chunks": func(_ context.Context, c net.Conn) error {
			return flood(c, loadHead+"Transfer-Encoding: chunked\r\n\r\n", "10000\r\n", "\r\n")
		},
		"forged": func(_ context.Context, c net.Conn) error { return forge(c) },
	}
	kinds["all of it"] = func(ctx context.Context, c net.Conn) error {
		of := []string{
			"half a header",
			"a byte a second",
			"10 MB",
			"half a header",
			"a byte a second",
			"10 MB in chunks",
			"half a header",
			"a byte a second",
			"forged",
			"a byte a second",
		}
		return kinds[of[turn.Add(1)%int64(len(of))]](ctx, c)
	}
	for name, one := range kinds {
		t.Run(name, func(t *testing.T) {
			connections := 500
			if name == "10 MB in chunks" {
				connections = 50 // the first megabyte of each is read
			}
			underLoad(t, connections, 5*time.Second, one)
		})
	}
}

func pause(ctx context.Context, again *time.Ticker) {
	select {
	case <-ctx.Done():
	case <-again.C:
	}
}

func underLoad(t *testing.T, connections int, during time.Duration, one attack) {
	var handled atomic.Int64
	worker, err := inbox.Start(
		inbox.NewMemory(),
		func(context.Context, inbox.Item) error { handled.Add(1); return nil },
		inbox.Config{},
	)
	require.NoError(t, err)
	rc := &inbox.Receiver{Verifier: verifiers(t).Lookup, Inbox: worker, ReadTimeout: 2 * time.Second}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := &http.Server{Handler: route(rc), ReadHeaderTimeout: 2 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	var serving, attackers, senders sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })

	ctx, cancel := context.WithCancel(t.Context())
	var opened atomic.Int64
	for i := range connections {
		attackers.Go(func() {
			first := time.NewTicker(time.Duration(i+1) * 2 * time.Second / time.Duration(connections))
			pause(ctx, first)
			first.Stop()
			again := time.NewTicker(5 * time.Second) // the load is the server's, not the machine's
			defer again.Stop()
			for ; ctx.Err() == nil; pause(ctx, again) {
				c, err := net.Dial("tcp", listener.Addr().String())
				if err != nil {
					continue
				}
				opened.Add(1)
				stop := context.AfterFunc(ctx, func() { _ = c.Close() })
				_ = one(ctx, c)
				stop()
				_ = c.Close()
			}
		})
	}

	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 50}, Timeout: 30 * time.Second}
	var mu sync.Mutex
	var took []time.Duration
	var wrong []string
	var most uint64
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	n := int(during / (20 * time.Millisecond))
	for i := range n {
		<-tick.C
		senders.Go(func() {
			req, err := webhook.SignTest(
				webhook.StandardWebhooks(),
				belay.NewSecret(standardSecret),
				belay.WebhookEvent{ID: fmt.Sprint("good_", i), Data: []byte(good)},
			)
			if err != nil {
				t.Error(err)
				return
			}
			req.URL.Scheme, req.URL.Host, req.URL.Path, req.Host = "http", listener.Addr().
				String(),
				"/webhooks/standard/one", ""
			began := time.Now()
			resp, err := client.Do(req)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				wrong = append(wrong, err.Error())
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			if took = append(took, time.Since(began)); resp.StatusCode != http.StatusAccepted {
				wrong = append(wrong, resp.Status)
			}
		})
		if i%50 == 49 {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapInuse)
		}
	}
	senders.Wait()
	cancel()
	attackers.Wait()
	client.CloseIdleConnections()
	_ = server.Close()
	serving.Wait()
	require.NoError(t, worker.Shutdown(t.Context()))

	require.Empty(t, wrong)
	require.EqualValues(t, n, handled.Load())
	slices.Sort(took)
	p99 := took[len(took)*99/100]
	t.Logf(
		"%d good: p50 %v, p99 %v, max %v; heap at most %d MiB; %d connections, rejected %v",
		n,
		took[len(took)/2].Round(10*time.Microsecond),
		p99.Round(
			10*time.Microsecond,
		),
		took[len(took)-1].Round(10*time.Microsecond),
		most>>20,
		opened.Load(),
		rc.Numbers().Rejected,
	)
	require.Less(t, most, uint64(128<<20))
}
