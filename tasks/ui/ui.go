// Package ui serves River's own web interface for the tasks of package tasks: queues, tasks with their attempts and
// errors, and retries, cancellations and pauses by hand.
//
// It has no login, and its pages show the arguments of tasks: put it behind your own, as with the page of package
// watch.
package ui

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"riverqueue.com/riverui"

	"github.com/belay-go/belay/tasks"
)

// Config configures [New]. The zero value serves at "/".
type Config struct {
	// Prefix is the path at which the handler is mounted, such as "/ops/tasks". Empty means "/".
	Prefix string
	// ReadOnly refuses all that changes something: retries, cancellations, pauses.
	ReadOnly bool
	// HideArgs leaves the arguments out of the lists of tasks, until they are asked for.
	HideArgs bool
	// Logger is for errors. Nil means slog.Default().
	Logger *slog.Logger
}

// New returns the interface to the tasks of a client, which need not be started. It keeps counts of the queues until
// ctx ends. Requests that change something are refused if a browser says that they come from another site. A queue that
// a user pauses here is paused by River itself: it stays so whatever [tasks.Client.Resume] does.
func New[TTx any](ctx context.Context, c *tasks.Client[TTx], cfg Config) (http.Handler, error) {
	if c == nil {
		return nil, errors.New("ui: New: the client is nil")
	}
	if cfg.Prefix != "" && (!strings.HasPrefix(cfg.Prefix, "/") || strings.ContainsAny(cfg.Prefix, "?#{} ")) {
		return nil, fmt.Errorf("ui: New: Config.Prefix is %q, must be a path such as /ops/tasks", cfg.Prefix)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	h, err := riverui.NewHandler(&riverui.HandlerOpts{
		Endpoints: riverui.NewEndpoints(c.Client, nil), Prefix: cfg.Prefix, Logger: cfg.Logger, JobListHideArgsByDefault: cfg.HideArgs,
	})
	if err != nil {
		return nil, fmt.Errorf("ui: New: %w", err)
	}
	if err := h.Start(ctx); err != nil {
		return nil, fmt.Errorf("ui: New: %w", err)
	}
	return http.NewCrossOriginProtection().Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("X-Frame-Options", "DENY")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "same-origin")
		header.Set("Cache-Control", "no-store")
		if cfg.ReadOnly && r.Method != http.MethodGet && r.Method != http.MethodHead {
			http.Error(w, "read only", http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})), nil
}
