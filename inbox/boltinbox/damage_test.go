package boltinbox

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/belay-go/belay/inbox"
)

// filled makes a store with events in every state, some of them large, and returns its file and what is in it.
func filled(t *testing.T, path string) (file []byte, want map[string]string) {
	t.Helper()
	s, err := Open(path, Config{})
	must(t, err)
	rng := rand.New(rand.NewPCG(1, 2))
	want = make(map[string]string)
	received := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	for batch := range 60 {
		var add []*inbox.Item
		for i := range 5 {
			body := bytes.Repeat([]byte(fmt.Sprintf(`{"n":%d}`, rng.IntN(1000))), 1+rng.IntN(20)*rng.IntN(20))
			add = append(add, &inbox.Item{
				Partner: "p", ID: fmt.Sprintf("%d-%d", batch, i), Body: body, Received: received.Add(time.Duration(batch) * time.Second),
			})
		}
		must(t, s.Add(t.Context(), add))
		for _, it := range add {
			state := inbox.Pending
			switch rng.IntN(4) {
			case 0:
				state = inbox.Handled
			case 1:
				state = inbox.Dead
			}
			if state != inbox.Pending {
				must(t, s.Settle(t.Context(), []inbox.Change{{Seq: it.Seq, State: state, Error: "x"}}))
			}
			if state != inbox.Handled {
				want[it.ID] = fmt.Sprint(state, string(it.Body))
			}
		}
	}
	must(t, s.Close())
	file, err = os.ReadFile(path)
	must(t, err)
	return file, want
}

// A file that is cut off or zeroed anywhere opens with every event, or is an error and stays as it is; it never ends the
// process. The opening runs in a child, because a signal would end this one.
func TestDamagedFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events")
	file, want := filled(t, path)
	if os.Getenv("BELAY_DAMAGE") == "" {
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestDamagedFiles$", "-test.v")
		child.Env = append(os.Environ(), "BELAY_DAMAGE=1")
		out, err := child.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, tail(out))
		}
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, "opened") {
				t.Log(strings.TrimSpace(line))
			}
		}
		return
	}
	rng := rand.New(rand.NewPCG(3, 4))
	opened, refused := 0, 0
	try := func(name string, damaged []byte) {
		fmt.Println(name) // the last one is the one that ended the process
		must(t, os.WriteFile(path, damaged, 0o600))
		s, err := Open(path, Config{})
		if err != nil {
			refused++
			if !strings.Contains(err.Error(), path) {
				t.Fatalf("%s: the error does not name the file: %v", name, err)
			}
			after, rerr := os.ReadFile(path)
			if rerr != nil || !bytes.Equal(damaged, after) {
				t.Fatalf("%s: the file was changed: %v", name, err)
			}
			return
		}
		opened++
		got := make(map[string]string)
		for it, err := range s.Items(t.Context()) {
			must(t, err)
			got[it.ID] = fmt.Sprint(it.State, string(it.Body))
		}
		if !maps.Equal(want, got) {
			t.Fatalf("%s: %d events are there, %d should be, or some differ", name, len(got), len(want))
		}
		more := []*inbox.Item{{Partner: "p", ID: "more", Body: []byte("{}"), Received: time.Now()}}
		if err := s.Add(t.Context(), more); err != nil || more[0].Seq == 0 {
			t.Fatalf("%s: %v", name, err)
		}
		must(t, s.Close())
	}
	try("whole", file)
	if opened != 1 {
		t.Fatal("the whole file was refused")
	}
	for at := 1; at < len(file); at += 1 + rng.IntN(len(file)/150) {
		try(fmt.Sprint("cut at ", at), file[:at])
	}
	for _, at := range []int{16, 80, 4096, 4096 + 80, 8192, len(file) - 1, len(file) - 4096} {
		try(fmt.Sprint("cut at ", at), file[:at])
	}
	zeroed := func(at, n int) {
		damaged := bytes.Clone(file)
		clear(damaged[at:min(at+n, len(damaged))])
		try(fmt.Sprintf("%d zeroed at %d", n, at), damaged)
	}
	for at := 0; at < len(file); at += 4096 {
		zeroed(at, 4096)
		zeroed(at+10, 4096) // the number of entries, and what follows
		zeroed(at+8, 2)
		zeroed(at+rng.IntN(4096), 1+rng.IntN(4096))
	}
	for range 300 {
		zeroed(rng.IntN(len(file)), 4096)
	}
	for range 200 { // noise in place of zeros
		damaged := bytes.Clone(file)
		for at, n := rng.IntN(len(file)), 1+rng.IntN(64); n > 0 && at < len(file); at, n = at+1, n-1 {
			damaged[at] = byte(rng.Uint32())
		}
		fmt.Println("noise")
		must(t, os.WriteFile(path, damaged, 0o600))
		if s, err := Open(path, Config{}); err == nil {
			for _, err := range s.Items(t.Context()) {
				must(t, err)
			}
			must(t, s.Close())
		}
	}
	fmt.Println("opened", opened, "refused", refused)
}

func tail(out []byte) []byte { return out[max(0, len(out)-3000):] }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
