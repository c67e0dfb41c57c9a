package oauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/oauth"
)

// family is an authorization server on a port, that rotates refresh tokens and revokes all when one is used
// twice; its access tokens are good for a few calls.
type family struct {
	mu     sync.Mutex
	issued int
	left   int // calls that the present access token is still good for
	reuses int
}

func (f *family) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if req.URL.Path != "/token" {
		switch {
		case f.issued >= 200:
			w.WriteHeader(http.StatusGone) // enough
		case req.Header.Get("Authorization") != fmt.Sprintf("Bearer access-%d", f.issued) || f.left == 0:
			w.WriteHeader(http.StatusUnauthorized)
		default:
			f.left--
		}
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if req.PostFormValue("refresh_token") != fmt.Sprintf("refresh-%d", f.issued) {
		f.reuses++
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"error":"invalid_grant"}`))
		return
	}
	f.issued++
	f.left = 3
	_ = json.NewEncoder(w).Encode(map[string]any{
		"access_token": fmt.Sprintf(
			"access-%d",
			f.issued,
		), "refresh_token": fmt.Sprintf("refresh-%d", f.issued), "expires_in": 3600,
	})
}

// TestFamilyChild is not a test: it is one of the processes that TestTwoProcessesOneStore starts.
func TestFamilyChild(t *testing.T) {
	dir, server := os.Getenv("BELAY_FAMILY_DIR"), os.Getenv("BELAY_FAMILY_SERVER")
	if dir == "" {
		t.Skip("run by TestTwoProcessesOneStore")
	}
	o, err := oauth.New(oauth.Config{TokenURL: server + "/token", ClientID: "app", Store: fileStore(t, dir)})
	require.NoError(t, err)
	c, err := belay.New(server, belay.WithAuth(o.RefreshToken("acme")), belay.Without(belay.LayerBreaker))
	require.NoError(t, err)
	defer func() { _ = errors.Join(c.Close(), o.Close()) }()
	for {
		_, err := belay.Get[belay.None](t.Context(), c, "/things")
		var e *belay.Error
		if asError(err, &e) && e.StatusCode == http.StatusGone {
			return
		}
		// Another process may have used up the new token before this one had its call: that is a second 401.
		if err != nil &&
			(!asError(err, &e) || e.StatusCode != http.StatusUnauthorized || strings.Contains(err.Error(), "connect again")) {
			t.Fatal(err)
		}
	}
}

func asError(err error, to **belay.Error) bool {
	e, ok := err.(*belay.Error)
	*to = e
	return ok
}

// Two processes on one store, over two hundred expiries: no refresh token is sent twice.
func TestTwoProcessesOneStore(t *testing.T) {
	t.Parallel()
	f := &family{}
	server := httptest.NewServer(f)
	defer server.Close()
	dir := t.TempDir()
	_, err := fileStore(t, dir).Update(t.Context(), "acme", func(_ context.Context, _ oauth.Token) (oauth.Token, error) {
		return oauth.Token{Access: belay.NewSecret("access-0"), Refresh: belay.NewSecret("refresh-0")}, nil
	})
	require.NoError(t, err)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			child := exec.Command(os.Args[0], "-test.run", "^TestFamilyChild$", "-test.timeout", "60s")
			child.Env = append(os.Environ(), "BELAY_FAMILY_DIR="+dir, "BELAY_FAMILY_SERVER="+server.URL)
			if out, err := child.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	start := time.Now()
	wg.Wait()
	t.Logf("%d tokens in %s", f.issued, time.Since(start))
	require.Equal(t, 200, f.issued)
	require.Zero(t, f.reuses, "refresh tokens sent twice")
}
