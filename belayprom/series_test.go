package belayprom_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/belayprom"
)

// Far more routes than slots: each call counts under its own labels.
func TestSeriesOfOneSlot(t *testing.T) {
	for _, integrations := range []int{0, 100} {
		m := must[*belayprom.Metrics](t)(belayprom.New(belayprom.Config{Endpoints: 5000, Integrations: integrations}))
		info := func(i int) belay.CallInfo {
			return belay.CallInfo{Partner: fmt.Sprint("p", i%2), Integration: fmt.Sprint("c", i%3), Method: "GET", Route: "/" + words(i)}
		}
		for i := range 3000 {
			for range 1 + i%4 {
				m.Observe(context.Background(), belay.CallDone{Call: info(i), StatusCode: 200 + i%5})
				m.Observe(context.Background(), belay.AttemptDone{Call: info(i), StatusCode: 200 + i%5})
			}
		}
		all := text(t, m)
		for i := range 3000 {
			label := ""
			if integrations > 0 {
				label = fmt.Sprintf("integration=c%d,", i%3)
			}
			for _, of := range []string{"calls", "attempts"} {
				contains(t, all, fmt.Sprintf("integration_api_%s_total{class=ok,endpoint=/%s,%smethod=GET,partner=p%d,status_code=%d} %d",
					of, words(i), label, i%2, 200+i%5, 1+i%4))
			}
			if t.Failed() {
				t.FailNow()
			}
		}
	}
}

// What a scrape asks clients for: calls in flight and waiting, by priority.
func TestWaitingByPriority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := must[*belayprom.Metrics](t)(belayprom.New(belayprom.Config{}))
		release := make(chan struct{})
		c := must[*belay.Client](t)(belay.New("https://h.test", belay.WithName("crm"), belay.WithMaxInFlight(1), belay.WithAttemptTimeout(time.Hour),
			belay.WithTransport(roundTrip(func(*http.Request) (*http.Response, error) { <-release; return reply(200), nil }))))
		if err := m.Add(c); err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for _, p := range []belay.Priority{belay.Normal, belay.High, belay.Low, belay.Low} {
			all.Go(func() { _, _ = belay.Get[belay.None](t.Context(), c, "/x", p) })
			synctest.Wait()
		}
		contains(t, text(t, m),
			"integration_api_attempts_in_flight{integration=,partner=crm} 1",
			"integration_api_calls_waiting_by_priority{integration=,partner=crm,priority=high} 1",
			"integration_api_calls_waiting_by_priority{integration=,partner=crm,priority=low} 2",
			"integration_api_calls_waiting_by_priority{integration=,partner=crm,priority=normal} 0")
		close(release)
		all.Wait()
	})
}

// The end of an endpoint is that of the method that ends first, until it has not been told of for two days.
func TestEndpointEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := must[*belayprom.Metrics](t)(belayprom.New(belayprom.Config{}))
		end := time.Now().Add(240 * time.Hour)
		tell := func(method string, sunset time.Time) {
			m.Observe(t.Context(), belay.Deprecated{Call: belay.CallInfo{Partner: "crm", Method: method, Route: "/v1/{id}"}, Sunset: sunset})
		}
		want := fmt.Sprintf("integration_api_endpoint_end_timestamp_seconds{endpoint=/v1/{id},partner=crm} %g", float64(end.Unix()))
		tell("GET", end)
		tell("POST", time.Time{})
		tell("PUT", end.Add(time.Hour))
		contains(t, text(t, m), want)
		time.Sleep(47 * time.Hour)
		contains(t, text(t, m), want)
		time.Sleep(2 * time.Hour)
		if all := text(t, m); len(all) > 0 {
			t.Errorf("what is not told of any more stays: %s", all)
		}
	})
}
