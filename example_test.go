package belay_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
)

// partner is a partner for the examples: it knows three records, a search, and some bad days.
func partner() *httptest.Server {
	var calls atomic.Int64
	reply := func(w http.ResponseWriter, status int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Request-Id", "req_42")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /records/{id}", func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains("123", r.PathValue("id")) {
			reply(w, http.StatusNotFound, map[string]string{"code": "record_not_found", "message": "No such record"})
			return
		}
		reply(w, http.StatusOK, map[string]string{"id": r.PathValue("id"), "name": "Ada"})
	})
	mux.HandleFunc("POST /records", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if strings.Contains(string(body), `"name":""`) {
			reply(
				w,
				http.StatusUnprocessableEntity,
				map[string]any{
					"message": "Validation failed",
					"errors":  []map[string]string{{"field": "name", "message": "must not be empty"}},
				},
			)
			return
		}
		reply(w, http.StatusCreated, map[string]string{"id": "4", "got": r.Header.Get("Content-Type")})
	})
	mux.HandleFunc(
		"POST /search",
		func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, []string{"1", "2"}) },
	)
	mux.HandleFunc("GET /shaky", func(w http.ResponseWriter, _ *http.Request) {
		if calls.Add(1)%3 != 0 {
			reply(w, http.StatusServiceUnavailable, map[string]string{"message": "try again"})
			return
		}
		reply(w, http.StatusOK, map[string]string{"id": "1"})
	})
	mux.HandleFunc("GET /down", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusInternalServerError, map[string]string{"message": "out of order"})
	})
	mux.HandleFunc("GET /busy", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "120")
		reply(w, http.StatusTooManyRequests, map[string]string{"message": "quota used up"})
	})
	mux.HandleFunc("GET /whoami", func(w http.ResponseWriter, r *http.Request) {
		reply(
			w,
			http.StatusOK,
			map[string]string{
				"authorization": r.Header.Get("Authorization"),
				"key":           r.Header.Get("X-Api-Key") + r.URL.Query().Get("key"),
			},
		)
	})
	mux.HandleFunc(
		"GET /report.csv",
		func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "id,name\n1,Ada\n") },
	)
	mux.HandleFunc("POST /slack", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, map[string]any{"ok": false, "error": "channel_not_found"})
	})
	mux.HandleFunc(
		"GET /moved",
		func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/records/1", http.StatusFound) },
	)
	return httptest.NewServer(mux)
}

type record struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

func check(err error) {
	if err != nil {
		fmt.Println("unexpected:", err)
	}
}
