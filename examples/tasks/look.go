package main

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/belay-go/belay/belayprom"
	"github.com/belay-go/belay/tasks/ui"
)

// look serves what there is to see while it runs: /tasks/ is River's web interface, /metrics are those of the queues. A
// service of yours has its login before both.
func (s *show) look(ctx context.Context, addr string) error {
	metrics, err := belayprom.New(belayprom.Config{})
	if err != nil {
		return err
	}
	err = metrics.SetQueues(func(ctx context.Context) ([]belayprom.Queue, int, error) {
		s, err := s.client.Status(ctx)
		var all []belayprom.Queue
		for _, q := range s.Queues {
			all = append(all, belayprom.Queue(q))
		}
		return all, len(s.Processes), err
	})
	if err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	if err := registry.Register(metrics); err != nil {
		return err
	}
	page, err := ui.New(ctx, s.client, ui.Config{Prefix: "/tasks"})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/tasks/", page)
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	go func() { _ = server.Serve(listener) }()
	s.say("http://%s/tasks/ and /metrics", listener.Addr())
	return nil
}
