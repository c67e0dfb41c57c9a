package tasks_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/riverqueue/river"
)

// skewSource adds a number of seconds to the wall clock of a program, and not to the monotonic one: the one in the file
// that TIME_SKEW names. It is a part of package time.
const skewSource = `package time

import (
	"sync/atomic"
	"syscall"
)

var skew atomic.Int64

func init() {
	name, found := syscall.Getenv("TIME_SKEW")
	if !found {
		return
	}
	look := func() {
		data, err := readFile(name)
		if err != nil {
			return
		}
		n, sign := int64(0), int64(1)
		for _, c := range data {
			switch {
			case c == '-':
				sign = -1
			case c >= '0' && c <= '9':
				n = 10*n + int64(c-'0')
			}
		}
		skew.Store(sign * n)
	}
	look()
	go func() {
		for {
			Sleep(5 * Millisecond)
			look()
		}
	}()
}
`

// libcSource tells SQLite the time of package time.
const libcSource = `package libc

import "time"

func skewedTime() (sec, usec int64) {
	now := time.Now()
	return now.Unix(), int64(now.Nanosecond() / 1000)
}
`

// skewed builds these tests with a clock that can be set, and returns the program.
func skewed(t *testing.T) string {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	run := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("go", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("go %s: %v: %s", strings.Join(args, " "), err, out)
		}
		return strings.TrimSpace(string(out))
	}
	edited := func(file, old, new string) []byte {
		t.Helper()
		source, err := os.ReadFile(file)
		if err != nil || strings.Count(string(source), old) != 1 {
			t.Fatalf("%s has not got one %q: %v", file, old, err)
		}
		return []byte(strings.Replace(string(source), old, new, 1))
	}
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }

	// Package time is laid over, as its files cannot be changed.
	std := filepath.Join(run("env", "GOROOT"), "src", "time")
	const read = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	must(os.WriteFile(in("time.go"), edited(filepath.Join(std, "time.go"), read, read+"\tsec += skew.Load()\n"), 0o600))
	must(os.WriteFile(in("skew.go"), []byte(skewSource), 0o600))
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{
		filepath.Join(std, "time.go"): in("time.go"), filepath.Join(std, "skew.go"): in("skew.go"),
	}})
	must(err)
	must(os.WriteFile(in("overlay.json"), overlay, 0o600))

	// The C library of SQLite, which reads the clock by itself, is replaced by a copy.
	must(os.CopyFS(in("libc"), os.DirFS(run("list", "-m", "-f", "{{.Dir}}", "modernc.org/libc"))))
	source := in("libc/ccgo_linux_" + runtime.GOARCH + ".go")
	const second, micro = "(*Ttimeval)(unsafe.Pointer(tv)).Ftv_sec", "(*Ttimeval)(unsafe.Pointer(tv)).Ftv_usec"
	const told = second + " = (*(*Ttimespec)(__ccgo_ptr(bp))).Ftv_sec\n\t" + micro + " = int64("
	changed := edited(source, told, second+", "+micro+" = skewedTime()\n\t_ = int64(")
	must(os.Remove(source)) // it cannot be written to
	must(os.WriteFile(source, changed, 0o600))
	must(os.WriteFile(in("libc/skew.go"), []byte(libcSource), 0o600))
	for _, name := range []string{"go.mod", "go.sum"} {
		data, err := os.ReadFile(name)
		must(err)
		must(os.WriteFile(in(name), data, 0o600))
	}
	run("mod", "edit", "-replace", "modernc.org/libc="+in("libc"), in("go.mod"))
	run("test", "-c", "-modfile", in("go.mod"), "-overlay", in("overlay.json"), "-o", in("skewed.test"), ".")
	return in("skewed.test")
}

// The clock of a machine jumps by an hour, forward and back, while two processes work: nothing is lost, nothing runs
// twice, and no process is taken for dead that lives. One that dies after the clock was set back is noticed in time.
func TestClockJumps(t *testing.T) {
	t.Parallel() // it waits most of the time
	if testing.Short() {
		t.Skip("takes a minute")
	}
	program := skewed(t)
	each(t, func(t *testing.T, dsn string) {
		file := filepath.Join(t.TempDir(), "skew")
		if err := os.WriteFile(file, []byte("0"), 0o600); err != nil {
			t.Fatal(err)
		}
		run := exec.Command(program, "-test.run", "^TestUnderJumps$", "-test.v", "-test.timeout", "300s")
		run.Env = append(os.Environ(), "TIME_SKEW="+file, "BELAY_JUMPS_DSN="+dsn)
		out, err := run.CombinedOutput()
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, "clock_test.go") {
				t.Log(strings.TrimSpace(line))
			}
		}
		if err != nil || !strings.Contains(string(out), "--- PASS: TestUnderJumps") {
			t.Fatalf("%v: %s", err, out)
		}
	})
}

// TestUnderJumps is the part of TestClockJumps whose clock jumps.
func TestUnderJumps(t *testing.T) {
	dsn, file := os.Getenv("BELAY_JUMPS_DSN"), os.Getenv("TIME_SKEW")
	if dsn == "" {
		t.Skip("run by TestClockJumps")
	}
	began := time.Now()
	jump := func(seconds int) {
		if err := os.WriteFile(file+".new", fmt.Append(nil, seconds), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
		// The difference by the wall clocks, without the monotonic ones.
		if by := time.Now().Round(0).Sub(began.Round(0)) - time.Since(began); (by - time.Duration(seconds)*time.Second).Abs() > time.Second {
			t.Fatalf("the clock jumped by %s and not by %d s", by, seconds)
		}
	}
	c := ledger(t, dsn)
	if strings.HasPrefix(dsn, "sqlite:") {
		jump(3600)
		var now int64
		if err := c.DB().QueryRow("select unixepoch()").Scan(&now); err != nil || time.Now().Unix()-now > 1 {
			t.Fatal("the database has another clock", now, err)
		}
		jump(0)
	}
	insert := func(from, to int, lasts string) {
		t.Helper()
		var params []river.InsertManyParams
		for i := from; i < to; i++ {
			params = append(params, river.InsertManyParams{Args: work{Name: lasts, N: i}})
		}
		if _, err := c.InsertManyFast(t.Context(), params); err != nil {
			t.Fatal(err)
		}
	}
	kill, other := ledgerChild(t, dsn, true), ledgerChild(t, dsn, true)
	t.Cleanup(other)
	t.Cleanup(kill)
	if err := c.VerifyWorkers(t.Context(), 2, 30*time.Second); err != nil {
		t.Fatal(err)
	}
	const first, all = 1500, 1600
	insert(0, first, "1s")
	for _, seconds := range []int{3600, 0, -3600, 0} {
		time.Sleep(4 * time.Second)
		jump(seconds)
	}
	done := func(n int) func() bool {
		return func() bool {
			time.Sleep(20 * time.Millisecond)
			return count(t, c, "select count(*) from river_job where state = 'completed'") == n
		}
	}
	eventually(t, "all of the first", done(first))
	requeued := count(t, c, "select count(*) from river_job where cast(metadata as text) like '%tasks_requeues%'")
	rows, distinct := count(t, c, "select count(*) from ledger"), count(t, c, "select count(distinct n) from ledger")
	t.Logf("four jumps: %d runs, %d of them distinct, %d requeued", rows, distinct, requeued)
	if rows != first || distinct != first || requeued != 0 {
		t.Fail()
	}

	jump(-3600) // for good
	time.Sleep(10 * time.Second)
	insert(first, all, "2s")
	running := "select count(*) from river_job where state = 'running'"
	eventually(t, "both work", func() bool { return count(t, c, running) == all-first })
	kill()
	died := time.Now()
	eventually(t, "the tasks of the dead one, too", done(all))
	requeued = count(t, c, "select count(*) from river_job where cast(metadata as text) like '%tasks_requeues%'")
	t.Logf("after a process died, %d tasks ran again, and all were done after %s", requeued, time.Since(died).Round(100*time.Millisecond))
	if spent := count(t, c, "select count(*) from river_job where attempt > 1"); requeued == 0 || spent > 0 || time.Since(died) > 20*time.Second {
		t.Errorf("%d requeued, %d attempts spent", requeued, spent)
	}
}
