// Package pgserver starts a PostgreSQL of its own for tests, on a loopback port and in a directory that is removed.
package pgserver

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Server is a PostgreSQL that runs.
type Server struct {
	bin, data string
	port      int
	as        *syscall.Credential
	cmd       *exec.Cmd
	log       bytes.Buffer
}

// Start starts a server that ends with the test, for a test that stops it or changes its settings; others need a [Database] only. Without Debian's
// postgresql the test is skipped.
func Start(t testing.TB) *Server {
	t.Helper()
	s := start(t)
	t.Cleanup(s.end)
	return s
}

// shared is the server of all databases of a package's tests.
var shared struct {
	mu     sync.Mutex
	main   bool
	server *Server
	n      int
}

// Main runs the tests of a package that uses [Database]: func TestMain(m *testing.M) { pgserver.Main(m) }.
func Main(m *testing.M) {
	shared.main = true
	code := m.Run()
	if shared.server != nil {
		shared.server.end()
	}
	os.Exit(code)
}

// Database returns the address of an empty database that is dropped with the test, on a server that the tests of a package
// share. Without Debian's postgresql the test is skipped.
func Database(t testing.TB) string {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if !shared.main {
		t.Fatal("pgserver: TestMain must call Main")
	}
	if shared.server == nil {
		shared.server = start(t)
	}
	s := shared.server
	shared.n++
	name := fmt.Sprint("test", shared.n)
	s.tool(t, "createdb", name)
	t.Cleanup(func() { s.tool(t, "dropdb", "--force", name) })
	return s.dsn(name)
}

// tool runs one of PostgreSQL's programs on the server.
func (s *Server) tool(t testing.TB, program string, args ...string) {
	t.Helper()
	args = append([]string{"-h", "127.0.0.1", "-p", strconv.Itoa(s.port), "-U", "belay"}, args...)
	if out, err := s.command(program, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", program, err, out)
	}
}

func start(t testing.TB) *Server {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if len(found) == 0 {
		t.Skip("SKIPPED: postgresql is not installed")
	}
	slices.Sort(found)
	dir, err := os.MkdirTemp("", "belay-pg")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{bin: filepath.Dir(found[len(found)-1]), data: filepath.Join(dir, "data")}
	if os.Getuid() == 0 { // PostgreSQL does not run as root
		u, err := user.Lookup("postgres")
		if err != nil {
			t.Skip("SKIPPED: there is no user postgres")
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		s.as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := s.command("initdb", "-D", s.data, "-U", "belay", "-A", "trust", "--no-sync").CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v: %s", err, out)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.port = free.Addr().(*net.TCPAddr).Port
	_ = free.Close()
	s.Run(t)
	return s
}

// end stops the server, and removes its directory.
func (s *Server) end() {
	s.Stop()
	_ = os.RemoveAll(filepath.Dir(s.data))
}

func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bin, name), args...)
	cmd.Dir = filepath.Dir(s.data)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.as}
	return cmd
}

// DSN returns the server's address, for pgx.
func (s *Server) DSN() string { return s.dsn("postgres") }

func (s *Server) dsn(name string) string {
	return fmt.Sprintf("postgres://belay@127.0.0.1:%d/%s?sslmode=disable", s.port, name)
}

// Run starts the server, also after Stop.
func (s *Server) Run(t testing.TB) {
	t.Helper()
	s.cmd = s.command("postgres", "-D", s.data, "-p", strconv.Itoa(s.port), "-h", "127.0.0.1", "-k", filepath.Dir(s.data),
		"-c", "max_connections=500", "-c", "log_min_messages=warning")
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if s.command("pg_isready", "-q", "-h", "127.0.0.1", "-p", strconv.Itoa(s.port)).Run() == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("postgres does not answer: %s", s.log.String())
		}
	}
}

// Stop ends the server, and its connections.
func (s *Server) Stop() {
	if s.cmd != nil {
		_ = s.cmd.Process.Signal(syscall.SIGINT) // fast shutdown
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}
