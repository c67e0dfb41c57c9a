package oauth

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

func killStore(t *testing.T, dir string) *FileStore {
	t.Helper()
	s, err := NewFileStore(dir, belay.NewSecret(strings.Repeat("k", 32)))
	require.NoError(t, err)
	return s
}

// TestRefreshChild is not a test: it is the process that TestKilledAtEachStep stops and kills. It refreshes one token.
func TestRefreshChild(t *testing.T) {
	dir, url, step := os.Getenv("BELAY_KILL_DIR"), os.Getenv("BELAY_KILL_URL"), os.Getenv("BELAY_KILL_STEP")
	if dir == "" {
		t.Skip("run by TestKilledAtEachStep")
	}
	stop := func() {
		fmt.Println("stopped at", step)
		select {} // until it is killed
	}
	s := killStore(t, dir)
	s.at = func(at string) {
		if at == "created" && step == "half written" {
			require.NoError(t, os.WriteFile(s.path("acme")+".new", []byte(fileMagic+"torn"), 0o600))
			stop()
		}
		if at == step {
			stop()
		}
	}
	o, err := New(
		Config{
			TokenURL: url,
			ClientID: "app",
			Store:    s,
			Transport: testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
				if step == "asking" {
					stop()
				}
				resp, err := http.DefaultTransport.RoundTrip(req)
				if step == "answer on its way" {
					stop()
				}
				return resp, err
			}),
		},
	)
	require.NoError(t, err)
	_, err = o.RefreshToken("acme").Credential(t.Context())
	require.NoError(t, err)
	stop()
}

// Killed with -9 at each step between the request for a token and its use, a process leaves the old token or the
// new one, whole, and no lock; and never uses one that it has not kept.
func TestKilledAtEachStep(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		n := asked.Add(1)
		fmt.Fprintf(w, `{"access_token":"access-%d","refresh_token":"refresh-%d","expires_in":3600}`, n, n)
	}))
	defer server.Close()
	for _, c := range []struct {
		step  string
		after bool // the new token is there
	}{
		{"asking", false},
		{"answer on its way", false},
		{"answered", false},
		{"created", false},
		{"half written", false},
		{"written", false},
		{"synced", false},
		{"renamed", true},
		{"saved", true},
		{"in use", true},
	} {
		t.Run(c.step, func(t *testing.T) {
			asked.Store(0)
			dir := t.TempDir()
			s := killStore(t, dir)
			_, err := s.Update(t.Context(), "acme", func(context.Context, Token) (Token, error) {
				return Token{
					Access:  belay.NewSecret("access-0"),
					Refresh: belay.NewSecret("refresh-0"),
					Expiry:  time.Unix(1, 0),
				}, nil
			})
			require.NoError(t, err)
			child := exec.Command(os.Args[0], "-test.run", "^TestRefreshChild$")
			child.Env = append(os.Environ(), "BELAY_KILL_DIR="+dir, "BELAY_KILL_URL="+server.URL, "BELAY_KILL_STEP="+c.step)
			out, err := child.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, child.Start())
			line, err := bufio.NewReader(out).ReadString('\n')
			require.NoError(t, err)
			require.Equal(t, "stopped at "+c.step+"\n", line)
			require.NoError(t, child.Process.Kill())
			_ = child.Wait()

			want := "0"
			if c.after {
				want = "1"
			}
			got, err := killStore(t, dir).Load(t.Context(), "acme")
			require.NoError(t, err)
			require.Equal(
				t,
				[]string{"access-" + want, "refresh-" + want},
				[]string{got.Access.Reveal(), got.Refresh.Reveal()},
			)
			// The next process goes on from there.
			o, err := New(Config{TokenURL: server.URL, ClientID: "app", Store: killStore(t, dir)})
			require.NoError(t, err)
			defer o.Close()
			before := asked.Load()
			cred, err := o.RefreshToken("acme").Credential(t.Context())
			require.NoError(t, err)
			require.Equal(t, !c.after, asked.Load() > before)
			got, err = s.Load(t.Context(), "acme")
			require.NoError(t, err)
			require.Equal(t, got.Access.Reveal(), cred.(issued).token.Access.Reveal())
		})
	}
}
