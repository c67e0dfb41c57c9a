package belaysql_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/belaysql"
	"github.com/belay-go/belay/internal/errkit"
	"github.com/belay-go/belay/oauth"
)

const tokenKey = "0123456789abcdef0123456789abcdef"

func tokensOf(t testing.TB, d database) *belaysql.Tokens {
	t.Helper()
	return must[*belaysql.Tokens](t)(d.store(t).Tokens(belay.NewSecret(tokenKey)))
}

func token(access string) oauth.Token {
	return oauth.Token{Access: belay.NewSecret(access), Refresh: belay.NewSecret("refresh of " + access), Expiry: time.Unix(1_900_000_000, 0)}
}

func put(t testing.TB, s oauth.Store, key, access string) {
	t.Helper()
	_, err := s.Update(t.Context(), key, func(context.Context, oauth.Token) (oauth.Token, error) {
		if access == "" {
			return oauth.Token{}, nil
		}
		return token(access), nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A token is kept encrypted, for its key only, until it is removed.
func TestTokens(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		s := tokensOf(t, d)
		if got := must[oauth.Token](t)(s.Load(t.Context(), "acme")); got.Access.Reveal() != "" {
			t.Error("a token that nobody stored")
		}
		put(t, s, "acme", "hunter2-access")
		put(t, s, "other", "other-access")
		got := must[oauth.Token](t)(tokensOf(t, d).Load(t.Context(), "acme"))
		if got.Access.Reveal() != "hunter2-access" || got.Refresh.Reveal() != "refresh of hunter2-access" || got.Expiry.Unix() != 1_900_000_000 {
			t.Error("another token")
		}
		db := d.open(t)
		var sealed []byte
		if err := db.QueryRow("select value from belay_tokens where key = 'acme'").Scan(&sealed); err != nil || len(sealed) < 50 ||
			strings.Contains(string(sealed), "hunter2") {
			t.Errorf("%q %v", sealed, err)
		}
		if _, err := db.Exec("update belay_tokens set value = $1 where key = 'other'", sealed); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Load(t.Context(), "other"); !errors.Is(err, oauth.ErrUnreadable) {
			t.Error("one integration's token under another's key:", err)
		}
		wrong := must[*belaysql.Tokens](t)(d.store(t).Tokens(belay.NewSecret("another key of thirty-two bytes.")))
		if _, err := wrong.Update(t.Context(), "acme", func(_ context.Context, t oauth.Token) (oauth.Token, error) { return t, nil }); !errors.Is(err, oauth.ErrUnreadable) {
			t.Error(err)
		}
		put(t, s, "acme", "")
		if got := must[oauth.Token](t)(s.Load(t.Context(), "acme")); got.Access.Reveal() != "" {
			t.Error("a token that was removed")
		}
		if _, err := d.store(t).Tokens(belay.NewSecret("short")); err == nil || strings.Contains(err.Error(), "short") {
			t.Error(err)
		}
	})
}

// While one process updates a token, no other one does, however long it takes; an error and a panic let the next one in
// at once.
func TestUpdatesAreExclusive(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		stores := []*belaysql.Tokens{tokensOf(t, d), tokensOf(t, d)}
		for _, s := range stores {
			s.SetLease(300 * time.Millisecond)
		}
		put(t, stores[0], "acme", "0")
		var within, most, calls atomic.Int32
		var all sync.WaitGroup
		for i := range 12 {
			all.Go(func() {
				_, err := stores[i%2].Update(t.Context(), "acme", func(_ context.Context, have oauth.Token) (oauth.Token, error) {
					if n := within.Add(1); n > most.Load() {
						most.Store(n)
					}
					defer within.Add(-1)
					if calls.Add(1) == 1 {
						time.Sleep(time.Second) // longer than the lease
					}
					n, err := strconv.Atoi(have.Access.Reveal())
					return token(fmt.Sprint(n + 1)), err
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if got := must[oauth.Token](t)(stores[1].Load(t.Context(), "acme")); most.Load() != 1 || got.Access.Reveal() != "12" {
			t.Error(most.Load(), "at once, and", got.Access.Reveal(), "updates of 12")
		}
		stores[0].SetLease(time.Minute) // so that whoever waits for its end is seen
		no := errors.New("no")
		if _, err := stores[0].Update(t.Context(), "acme", func(context.Context, oauth.Token) (oauth.Token, error) { return token("x"), no }); err != no {
			t.Error(err)
		}
		func() {
			defer func() { _ = recover() }()
			_, _ = stores[0].Update(t.Context(), "acme", func(context.Context, oauth.Token) (oauth.Token, error) { panic("no") })
		}()
		began := time.Now()
		put(t, stores[1], "acme", "13")
		if took := time.Since(began); took > 20*time.Second {
			t.Error("waited for", took)
		}
	})
}

// A process whose lease was taken stores nothing, and is told; one whose caller gives up stores what it has got.
func TestLostLeases(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		s, db := tokensOf(t, d), d.open(t)
		s.SetLease(200 * time.Millisecond)
		put(t, s, "acme", "old")
		_, err := s.Update(t.Context(), "acme", func(ctx context.Context, _ oauth.Token) (oauth.Token, error) {
			if _, err := db.Exec("update belay_tokens set fence = fence + 1, owner = 'another'"); err != nil {
				t.Fatal(err)
			}
			<-ctx.Done()
			if !errors.Is(context.Cause(ctx), belaysql.ErrLeaseLost) {
				t.Error(context.Cause(ctx))
			}
			return token("late"), nil
		})
		if !errors.Is(err, belaysql.ErrLeaseLost) {
			t.Error(err)
		}
		if got := must[oauth.Token](t)(s.Load(t.Context(), "acme")); got.Access.Reveal() != "old" {
			t.Error("stored by a process without the lease")
		}
		ctx, cancel := context.WithCancel(t.Context())
		_, err = s.Update(ctx, "acme", func(context.Context, oauth.Token) (oauth.Token, error) {
			cancel() // as the partner answers
			return token("rotated"), nil
		})
		if got := must[oauth.Token](t)(s.Load(t.Context(), "acme")); err != nil || got.Access.Reveal() != "rotated" {
			t.Error(err, got.Access.Reveal() == "old")
		}
		if _, err := s.Update(ctx, "acme", func(context.Context, oauth.Token) (oauth.Token, error) { return token("x"), nil }); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// A clock that is set back by an hour while a lease is held does not hold others up for that hour, and one that jumps
// ahead takes the lease from nobody who holds it.
func TestLeasesUnderJumps(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		s, db := tokensOf(t, d), d.open(t)
		s.SetLease(time.Second)
		put(t, s, "acme", "old")
		// Its holder died an hour ahead.
		if _, err := db.Exec("update belay_tokens set owner = 'dead', fence = fence + 1, lease_until = $1",
			time.Now().Add(time.Hour).UnixMilli()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := s.Update(ctx, "acme", func(context.Context, oauth.Token) (oauth.Token, error) { return token("new"), nil }); err != nil {
			t.Fatal(err)
		}
		// This one lives, and its clock is an hour ahead.
		if _, err := db.Exec("update belay_tokens set owner = 'alive', fence = fence + 1"); err != nil {
			t.Fatal(err)
		}
		renewing, stop := context.WithCancel(t.Context())
		var holder sync.WaitGroup
		holder.Go(func() {
			for errkit.Sleep(renewing, 0) == nil {
				if _, err := db.Exec("update belay_tokens set lease_until = $1", time.Now().Add(time.Hour).UnixMilli()); err != nil {
					t.Error(err)
				}
				_ = errkit.Sleep(renewing, 200*time.Millisecond)
			}
		})
		taken := make(chan error, 1)
		time.Sleep(50 * time.Millisecond)
		go func() {
			_, err := s.Update(t.Context(), "acme", func(context.Context, oauth.Token) (oauth.Token, error) { return token("newer"), nil })
			taken <- err
		}()
		select {
		case <-taken:
			t.Error("taken from its holder")
		case <-time.After(2500 * time.Millisecond):
		}
		stop()
		holder.Wait()
		select {
		case err := <-taken:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Error("not taken from the dead")
		}
	})
}

// rotating is an authorization server that rotates refresh tokens and takes a repeated one for a theft. Its access
// tokens are good for three calls.
type rotating struct {
	mu              sync.Mutex
	issued, left    int
	by              string // the process that got the last one
	killed          map[string]bool
	reuses, excused int
	enough          int
}

func (r *rotating) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.URL.Path != "/token" {
		r.mu.Lock()
		defer r.mu.Unlock()
		switch {
		case r.issued >= r.enough:
			w.WriteHeader(http.StatusGone)
		case req.Header.Get("Authorization") != fmt.Sprintf("Bearer access-%d", r.issued) || r.left == 0:
			w.WriteHeader(http.StatusUnauthorized)
		default:
			r.left--
		}
		return
	}
	time.Sleep(5 * time.Millisecond)
	r.mu.Lock()
	defer r.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	switch req.PostFormValue("refresh_token") {
	case fmt.Sprintf("refresh-%d", r.issued):
	case fmt.Sprintf("refresh-%d", r.issued-1):
		if r.killed[r.by] { // after the answer, before it was stored: no lock can prevent it
			r.excused++
			break
		}
		fallthrough
	default:
		r.reuses++
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"error":"invalid_grant"}`))
		return
	}
	if r.killed[req.PostFormValue("client_id")] { // its connection is closed
		return
	}
	r.issued++
	r.left, r.by = 3, req.PostFormValue("client_id")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"access_token": fmt.Sprintf("access-%d", r.issued), "refresh_token": fmt.Sprintf("refresh-%d", r.issued), "expires_in": 3600,
	})
}

// TestTokenChild is not a test: it is one of the processes that TestKilledHolders starts.
func TestTokenChild(t *testing.T) {
	server := os.Getenv("BELAY_TOKEN_SERVER")
	if server == "" {
		t.Skip("run by TestKilledHolders")
	}
	kind, _ := strconv.Atoi(os.Getenv("BELAY_TOKEN_DIALECT"))
	s := tokensOf(t, database{belaysql.Dialect(kind), os.Getenv("BELAY_TOKEN_DSN")})
	s.SetLease(time.Second)
	o, err := oauth.New(oauth.Config{TokenURL: server + "/token", ClientID: os.Getenv("BELAY_TOKEN_NAME"), Store: s})
	if err != nil {
		t.Fatal(err)
	}
	c, err := belay.New(server, belay.WithAuth(o.RefreshToken("acme")), belay.Without(belay.LayerBreaker))
	if err != nil {
		t.Fatal(err)
	}
	for {
		_, err := belay.Get[belay.None](t.Context(), c, "/things")
		var e *belay.Error
		if errors.As(err, &e) && e.StatusCode == http.StatusGone {
			return
		}
		if err != nil && strings.Contains(err.Error(), "connect again") {
			t.Fatal(err)
		}
	}
}

// Two processes on one store of tokens, killed again and again, over two hundred expiries: no refresh token is sent
// twice, but for those that a process was killed with.
func TestKilledHolders(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	each(t, func(t *testing.T, d database) {
		r := &rotating{killed: make(map[string]bool), enough: 200}
		server := httptest.NewServer(r)
		defer server.Close()
		s := tokensOf(t, d)
		_, err := s.Update(t.Context(), "acme", func(context.Context, oauth.Token) (oauth.Token, error) {
			return oauth.Token{Access: belay.NewSecret("access-0"), Refresh: belay.NewSecret("refresh-0")}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		kills := 0
		var mu sync.Mutex
		var all sync.WaitGroup
		deadline := time.Now().Add(2 * time.Minute)
		for i := range 2 {
			all.Go(func() {
				for n := 0; time.Now().Before(deadline); n++ {
					name := fmt.Sprint(i, "-", n)
					child := exec.Command(os.Args[0], "-test.run", "^TestTokenChild$", "-test.timeout", "150s")
					child.Env = append(os.Environ(), "BELAY_TOKEN_SERVER="+server.URL, "BELAY_TOKEN_NAME="+name,
						"BELAY_TOKEN_DSN="+d.dsn, fmt.Sprint("BELAY_TOKEN_DIALECT=", int(d.dialect)))
					var out strings.Builder
					child.Stdout, child.Stderr = &out, &out
					if err := child.Start(); err != nil {
						t.Error(err)
						return
					}
					killed := false
					timer := time.AfterFunc(time.Duration(400+(n*211+i*97)%400)*time.Millisecond, func() {
						r.mu.Lock()
						defer r.mu.Unlock()
						if r.issued < r.enough-20 {
							killed, r.killed[name] = true, true
							_ = child.Process.Kill()
						}
					})
					err := child.Wait()
					timer.Stop()
					r.mu.Lock()
					was := killed
					r.mu.Unlock()
					if was {
						mu.Lock()
						kills++
						mu.Unlock()
						continue
					}
					if err != nil {
						t.Errorf("%v: %s", err, out.String())
					}
					return
				}
			})
		}
		began := time.Now()
		all.Wait()
		t.Logf("%d tokens, %d processes killed, %d sent again that no lock can prevent, %d others, in %s", r.issued, kills, r.excused, r.reuses, time.Since(began).Round(time.Second))
		if r.issued < r.enough || r.reuses > 0 || kills < 2 {
			t.Fail()
		}
	})
}
