package watch

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// service is a check in the answer of the handler.
type service struct {
	Status      string    `json:"status"`
	LatencyMs   int64     `json:"latencyMs"`
	Since       time.Time `json:"since,omitzero"`
	LastProbe   time.Time `json:"lastProbe,omitzero"`
	LastSuccess time.Time `json:"lastSuccess,omitzero"`
	Failures    int       `json:"failures,omitempty"`
	Critical    bool      `json:"critical,omitempty"`
	Error       string    `json:"error,omitempty"`
}

// Handler returns a handler that answers with the states of all checks: {"status", "services": {name: {"status",
// "latencyMs", …}}, "timestamp"}. A request that accepts application/health+json gets that
// (draft-inadarei-api-health-check-06). The status is "up", "degraded" while a check is down or has failed, and "down",
// answered 503, while a critical one is down. It tells the names of partners and customers: protect it where those are
// not public.
func (c *Checker) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !readOnly(w, r) {
			return
		}
		all := c.Status()
		status, code := overall(all)
		if strings.Contains(strings.Join(r.Header.Values("Accept"), ","), "application/health+json") {
			answer(w, r, code, "application/health+json", healthJSON(all, status))
			return
		}
		services := make(map[string]service, len(all))
		for _, s := range all {
			services[s.Name] = service{
				s.shown(), s.Latency.Milliseconds(), s.Since, s.LastProbe, s.LastSuccess, s.Failures, s.Critical, s.Error,
			}
		}
		answer(w, r, code, "application/json", map[string]any{
			"status": status, "services": services, "timestamp": time.Now().UTC(),
		})
	})
}

// Live returns a handler for liveness: 200 as long as the process answers. What partners do is no reason to restart it.
func (c *Checker) Live() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if readOnly(w, r) {
			answer(w, r, http.StatusOK, "application/json", map[string]string{"status": "up"})
		}
	})
}

// Ready returns a handler for readiness: 503 while a critical check is down or has had no probe yet, otherwise 200. It
// names nothing.
func (c *Checker) Ready() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !readOnly(w, r) {
			return
		}
		status, code := "up", http.StatusOK
		for _, s := range c.Status() {
			if s.Critical && (s.State == Down || s.State == Unknown) {
				status, code = "down", http.StatusServiceUnavailable
			}
		}
		answer(w, r, code, "application/json", map[string]string{"status": status})
	})
}

// shown returns the state of a check for the handler.
func (s CheckStatus) shown() string {
	if s.State == Up && s.Failures > 0 {
		return "degraded"
	}
	return s.State.String()
}

func overall(all []CheckStatus) (status string, code int) {
	status, code = "up", http.StatusOK
	for _, s := range all {
		switch {
		case s.State == Down && s.Critical:
			return "down", http.StatusServiceUnavailable
		case s.State == Down, s.Failures > 0:
			status = "degraded"
		}
	}
	return status, code
}

// healthJSON returns the answer in the format of draft-inadarei-api-health-check-06.
func healthJSON(all []CheckStatus, status string) any {
	type check struct {
		ComponentType string    `json:"componentType"`
		ObservedValue int64     `json:"observedValue"`
		ObservedUnit  string    `json:"observedUnit"`
		Status        string    `json:"status"`
		Time          time.Time `json:"time,omitzero"`
		Output        string    `json:"output,omitempty"`
	}
	words := map[string]string{
		"up": "pass", "degraded": "warn", "down": "fail", "unknown": "warn", "disabled": "pass",
	}
	checks := make(map[string][]check, len(all))
	for _, s := range all {
		checks[s.Name+":responseTime"] = []check{{
			"component", s.Latency.Milliseconds(), "ms", words[s.shown()], s.LastProbe, s.Error,
		}}
	}
	return map[string]any{"status": words[status], "checks": checks}
}

func readOnly(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	w.Header().Set("Allow", "GET, HEAD")
	w.WriteHeader(http.StatusMethodNotAllowed)
	return false
}

func answer(w http.ResponseWriter, r *http.Request, code int, contentType string, v any) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	if r.Method != http.MethodHead {
		_ = json.NewEncoder(w).Encode(v)
	}
}
