package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/belay-go/belay/internal/pgserver"
	"github.com/belay-go/belay/internal/testkit"
)

// TestMain lets the test's own binary be the worker process.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "-work" {
		main()
		return
	}
	pgserver.Main(m)
}

// The show ends well, on SQLite and, with BELAY_POSTGRES=1, on PostgreSQL.
func TestShow(t *testing.T) {
	for name, dsn := range map[string]func(t *testing.T) string{
		"SQLite": func(*testing.T) string { return "" },
		"Postgres": func(t *testing.T) string {
			if os.Getenv("BELAY_POSTGRES") == "" {
				t.Skip("SKIPPED: BELAY_POSTGRES is not set")
			}
			return pgserver.Database(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			var out bytes.Buffer
			err := run(ctx, dsn(t), "", &out)
			t.Log("\n" + out.String())
			if err != nil || !strings.Contains(out.String(), "nothing was lost") {
				t.Error(err)
			}
		})
	}
}

// The queues are metrics, and the page is there, while it runs.
func TestLook(t *testing.T) {
	block := testkit.Blocks(t, "../../docs/tasks.md")[3]
	source, err := os.ReadFile("look.go")
	if err != nil {
		t.Fatal(err)
	}
	squeeze := func(s string) string {
		return strings.Join(strings.Fields(strings.ReplaceAll(s, "s.client", "client")), " ")
	}
	if !strings.Contains(squeeze(string(source)), squeeze(block)) {
		t.Error("docs/tasks.md shows other code than look.go")
	}
	ctx, cancel := context.WithCancel(t.Context())
	var out lines
	done := make(chan error)
	go func() { done <- run(ctx, "", "127.0.0.1:0", &out) }()
	var base string
	for base == "" {
		time.Sleep(10 * time.Millisecond)
		if found := regexp.MustCompile(`http://[^/]+/`).FindString(out.String()); found != "" {
			base = found
		}
	}
	get := func(path string) string {
		t.Helper()
		resp, err := http.Get(base + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatal(resp.StatusCode, err)
		}
		return string(body)
	}
	for _, want := range []string{"integration_queue_processes 1", `integration_queue_tasks{queue="crm",state="due"}`} {
		for !strings.Contains(get("metrics"), want) {
			time.Sleep(50 * time.Millisecond)
		}
	}
	if page := get("tasks/"); !strings.Contains(page, "<html") {
		t.Error(page)
	}
	cancel()
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// lines is what a process prints, to be read while it does.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
