package ui_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/belay-go/belay/internal/pgserver"
	"github.com/belay-go/belay/tasks"
	"github.com/belay-go/belay/tasks/ui"
)

func TestMain(m *testing.M) { pgserver.Main(m) }

type work struct{ Name string }

func (work) Kind() string { return "work" }

// Pages, their files and the API are served beneath the prefix; what changes something is refused from other sites, and if only
// reading is allowed.
func TestUI(t *testing.T) {
	t.Run("SQLite", func(t *testing.T) { shows(t, "sqlite:"+filepath.Join(t.TempDir(), "belay.db")) })
	t.Run("Postgres", func(t *testing.T) {
		if os.Getenv("BELAY_POSTGRES") == "" {
			t.Skip("SKIPPED: BELAY_POSTGRES is not set")
		}
		shows(t, pgserver.Database(t))
	})
}

func shows(t *testing.T, dsn string) {
	workers := river.NewWorkers()
	river.AddWorker(workers, river.WorkFunc(func(context.Context, *river.Job[work]) error { return nil }))
	c, err := tasks.Open(t.Context(), dsn, tasks.Config{River: river.Config{Workers: workers}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithCancel(t.Context())
	job, err := c.Insert(t.Context(), work{"a"}, &river.InsertOpts{ScheduledAt: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	h, err := ui.New(ctx, c, ui.Config{Prefix: "/ops/tasks"})
	if err != nil {
		t.Fatal(err)
	}
	defer cancel() // before the database is closed
	mux := http.NewServeMux()
	mux.Handle("/ops/tasks/", h)
	server := httptest.NewServer(mux)
	defer server.Close()
	do := func(method, path, site string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, strings.NewReader(fmt.Sprintf(`{"ids": ["%d"]}`, job.Job.ID)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		if site != "" {
			req.Header.Set("Sec-Fetch-Site", site)
		}
		resp, err := server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var b strings.Builder
		if err := resp.Write(&b); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, b.String()
	}
	status, page := do(http.MethodGet, "/ops/tasks/", "")
	if status != http.StatusOK || !strings.Contains(page, "X-Frame-Options: DENY") {
		t.Fatal(status, page)
	}
	files := regexp.MustCompile(`(?:src|href)="(/[^"]+\.(?:js|css))"`).FindAllStringSubmatch(page, -1)
	if len(files) == 0 {
		t.Fatal(page)
	}
	for _, file := range files {
		if status, _ := do(http.MethodGet, file[1], ""); status != http.StatusOK || !strings.HasPrefix(file[1], "/ops/tasks/") {
			t.Error(file[1], status)
		}
	}
	if status, body := do(http.MethodGet, "/ops/tasks/api/jobs?state=scheduled", ""); status != http.StatusOK || !strings.Contains(body, `"work"`) {
		t.Error(status, body)
	}
	if status, body := do(http.MethodPost, "/ops/tasks/api/jobs/cancel", "cross-site"); status != http.StatusForbidden {
		t.Error(status, body)
	}
	if status, body := do(http.MethodPost, "/ops/tasks/api/jobs/cancel", "same-origin"); status != http.StatusOK {
		t.Error(status, body)
	}
	row, err := c.JobGet(t.Context(), job.Job.ID)
	if err != nil || row.State != rivertype.JobStateCancelled {
		t.Error(row.State, err)
	}
	read, err := ui.New(ctx, c, ui.Config{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	read.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/api/jobs/retry", strings.NewReader(`{}`)))
	if w.Code != http.StatusForbidden {
		t.Error(w.Code)
	}
	w = httptest.NewRecorder()
	if read.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil)); w.Code != http.StatusOK {
		t.Error(w.Code)
	}
}

func TestBadInput(t *testing.T) {
	if _, err := ui.New[any](t.Context(), nil, ui.Config{}); err == nil {
		t.Error("no error")
	}
	c, err := tasks.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "belay.db"), tasks.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, prefix := range []string{"ops", "/a b", "/{x}", "/x?y"} {
		if _, err := ui.New(t.Context(), c, ui.Config{Prefix: prefix}); err == nil || !strings.Contains(err.Error(), prefix) {
			t.Error(prefix, err)
		}
	}
}
