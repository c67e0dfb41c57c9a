package belaytest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/belay-go/belay/belaytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func send(
	t *testing.T,
	rt http.RoundTripper,
	method, path, body string,
	kv ...string,
) (*http.Response, string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "https://partner.test"+path, strings.NewReader(body))
	require.NoError(t, err)
	for i := 0; i+1 < len(kv); i += 2 {
		req.Header.Set(kv[i], kv[i+1])
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return nil, "", err
	}
	data, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	return resp, string(data), err
}

func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := belaytest.New(belaytest.Config{Limits: []belaytest.Limit{belaytest.Sliding(2, 10*time.Second)}, Headers: true})
		for _, want := range []struct {
			at     time.Duration
			status int
			after  string
		}{
			{0, 200, ""},
			{4 * time.Second, 200, ""},
			{0, 429, "6"},
			{5500 * time.Millisecond, 429, "1"},
			{500 * time.Millisecond, 200, ""},
			{0, 429, "4"},
		} {
			time.Sleep(want.at)
			resp, _, err := send(t, p, "GET", "/", "")
			require.NoError(t, err)
			require.Equal(t, want.status, resp.StatusCode)
			require.Equal(t, want.after, resp.Header.Get("Retry-After"))
			require.Equal(t, "2", resp.Header.Get("X-RateLimit-Limit"))
		}
		require.Equal(t, 3, p.Count(429))
		require.Len(t, p.TooEarly(), 3, "the seconds are rounded up, so even the call that was let through came early")
		require.Equal(t, 2, p.Peak(time.Nanosecond, 10*time.Second))
	})
	synctest.Test(t, func(t *testing.T) {
		p := belaytest.New(belaytest.Config{
			Limits: []belaytest.Limit{
				belaytest.Fixed(1, 10*time.Second),
			}, Headers: true, Tell: belaytest.TellDate, Skew: time.Hour,
		})
		time.Sleep(3 * time.Second)
		resp, _, err := send(t, p, "GET", "/", "")
		require.NoError(t, err)
		require.Equal(t, "0", resp.Header.Get("X-RateLimit-Remaining"))
		time.Sleep(9 * time.Second)
		resp, _, err = send(t, p, "GET", "/", "")
		require.NoError(t, err)
		at, err := http.ParseTime(resp.Header.Get("Retry-After"))
		require.NoError(t, err)
		date, err := http.ParseTime(resp.Header.Get("Date"))
		require.NoError(t, err)
		require.Equal(t, time.Second, at.Sub(date))
		require.Equal(t, time.Now().Add(time.Hour).Unix(), date.Unix())
		time.Sleep(time.Second)
		resp, _, err = send(t, p, "GET", "/", "")
		require.NoError(t, err)
		require.Equal(t, 200, resp.StatusCode)
		require.Empty(t, p.TooEarly())
	})
}

func TestTroubles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := belaytest.New(belaytest.Config{Work: time.Second, Outages: []belaytest.Outage{
			{From: 0, For: time.Second, Kind: belaytest.Refuse},
			{From: time.Second, For: 2 * time.Second, Kind: belaytest.Reset},
			{From: 5 * time.Second, For: time.Second, Kind: belaytest.Unavailable},
			{From: 10 * time.Second, For: time.Second, Kind: belaytest.Hang},
		}})
		_, _, err := send(t, p, "GET", "/", "")
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		time.Sleep(time.Second)
		_, _, err = send(t, p, "GET", "/", "")
		require.ErrorIs(t, err, syscall.ECONNRESET)
		time.Sleep(3 * time.Second)
		resp, _, err := send(t, p, "GET", "/", "")
		require.NoError(t, err)
		require.Equal(t, 503, resp.StatusCode)
		time.Sleep(4 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, "GET", "https://partner.test/", nil)
		require.NoError(t, err)
		_, err = p.RoundTrip(req)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 3, p.Count(0))
	})
}

func TestWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := belaytest.New(belaytest.Config{HonourKeys: true})
		for range 2 {
			_, _, err := send(t, p, "POST", "/a", "keyed", "Idempotency-Key", "k")
			require.NoError(t, err)
			_, _, err = send(t, p, "POST", "/a", "unkeyed")
			require.NoError(t, err)
			_, _, err = send(t, p, "GET", "/a", "")
			require.NoError(t, err)
		}
		require.Equal(t, []string{"POST /a unkeyed"}, p.WrittenTwice())
		require.Equal(t, 2, p.Writes())
		require.True(t, p.Log()[3].Replayed)
	})
}

// The same over a real port.
func TestServer(t *testing.T) {
	p := belaytest.New(belaytest.Config{
		Limits: []belaytest.Limit{belaytest.Concurrent(1)}, CutRate: 0.3, ResetRate: 0.3, ErrorRate: 0.2, Seed: 7,
		Answer: func(req *http.Request) (int, any) { return 201, map[string]string{"path": req.URL.Path} },
	})
	s := p.Server()
	defer s.Close()
	seen := map[string]int{}
	for i := range 50 {
		req, err := http.NewRequestWithContext(t.Context(), "POST", s.URL+fmt.Sprint("/", i), strings.NewReader("x"))
		require.NoError(t, err)
		resp, err := s.Client().Do(req)
		if err != nil {
			seen["reset"]++
			continue
		}
		data, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		switch {
		case err != nil:
			require.True(t, errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET), err)
			seen["cut"]++
		case resp.StatusCode == 201:
			require.JSONEq(t, fmt.Sprintf(`{"path":"/%d"}`, i), string(data))
			seen["ok"]++
		default:
			seen[resp.Status]++
		}
	}
	require.Len(t, seen, 4, "%v", seen)
	require.Len(t, p.Log(), 50)
}
