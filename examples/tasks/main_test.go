package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/belay-go/belay/internal/pgserver"
)

// TestMain lets the test's own binary be the worker process.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "-work" {
		main()
		return
	}
	os.Exit(m.Run())
}

// The show ends well, on SQLite and, with BELAY_POSTGRES=1, on PostgreSQL.
func TestShow(t *testing.T) {
	for name, dsn := range map[string]func(t *testing.T) string{
		"SQLite": func(*testing.T) string { return "" },
		"Postgres": func(t *testing.T) string {
			if os.Getenv("BELAY_POSTGRES") == "" {
				t.Skip("SKIPPED: BELAY_POSTGRES is not set")
			}
			return pgserver.Start(t).DSN()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			var out bytes.Buffer
			err := run(ctx, dsn(t), &out)
			t.Log("\n" + out.String())
			if err != nil || !strings.Contains(out.String(), "nothing was lost") {
				t.Error(err)
			}
		})
	}
}
