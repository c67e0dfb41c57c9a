package main

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Killed with -9 twenty times at random moments, the import ends with each of the million records once, in less
// than 64 MB.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	bin := filepath.Join(dir, "importer")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	partner := exec.Command(bin, "-serve", "127.0.0.1:0")
	stdout, err := partner.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := partner.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = partner.Process.Kill(); _ = partner.Wait() }()
	base, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"-db", filepath.Join(dir, "records.db"), "-partner", strings.TrimSpace(base)}
	highest := 0
	kills := 0
	for kills < 20 {
		var out bytes.Buffer
		run := exec.Command(bin, args...)
		run.Stdout, run.Stderr = &out, &out
		if err := run.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- run.Wait() }()
		select {
		case <-time.After(time.Duration(20+rand.IntN(400)) * time.Millisecond):
			highest = max(highest, resident(run.Process.Pid))
			_ = run.Process.Kill()
			<-ended
			kills++
		case err := <-ended:
			if err != nil {
				t.Fatalf("after %d kills: %v\n%s", kills, err, out.String())
			}
			t.Fatalf("it was done after %d kills: the machine is too fast for this test", kills)
		}
	}
	run := exec.Command(bin, args...)
	var out bytes.Buffer
	run.Stdout, run.Stderr = &out, &out
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- run.Wait() }()
	for done := false; !done; {
		select {
		case err := <-ended:
			if err != nil {
				t.Fatalf("%v\n%s", err, out.String())
			}
			done = true
		case <-time.After(50 * time.Millisecond):
			highest = max(highest, resident(run.Process.Pid))
		}
	}
	line := regexp.MustCompile(`\n1000000 of 1000000 records, 0 missing, 0 twice; (\d+) in this run`).
		FindStringSubmatch(out.String())
	if line == nil {
		t.Fatalf("it ended with\n%s", out.String())
	}
	if last, _ := strconv.Atoi(line[1]); last == 1_000_000 {
		t.Error("the kills left nothing to go on from")
	}
	if highest > 64<<10 {
		t.Errorf("%d KiB were resident", highest)
	}
	fmt.Printf(
		"killed 20 times; 1000000 of 1000000 records, 0 missing, 0 twice, %s in the last run; at most %d KiB resident\n",
		line[1],
		highest,
	)
}

// resident returns the most memory that a process has had, in KiB, where the system tells (Linux).
func resident(pid int) int {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, _ := strconv.Atoi(strings.Fields(rest)[0])
			return n
		}
	}
	return 0
}
