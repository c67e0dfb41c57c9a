package belay_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

// An operation that has a monitor ends with the monitor's final status, and not with its first answer.
func TestAwaitAMonitor(t *testing.T) {
	t.Parallel()
	type op struct{ Status, Name string }
	const monitor = "https://partner.test/operations/1"
	for name, c := range map[string]struct {
		first   *http.Response
		answers []string // of the monitor, with a status before the body if it is not 200
		want    op
		fail    string
		asked   int
	}{
		"Operation-Location": {
			testkit.Reply(202, "Operation-Location", monitor),
			[]string{`{"status":"NotStarted"}`, `{"status":"Running"}`, `{"status":"Succeeded","name":"x"}`},
			op{"Succeeded", "x"},
			"", 3,
		},
		"Azure-AsyncOperation": {
			testkit.Reply(202, "Azure-AsyncOperation", monitor),
			[]string{`{"status":"InProgress"}`, `{"status":"Succeeded"}`},
			op{Status: "Succeeded"},
			"", 2,
		},
		"an envelope": {
			testkit.Reply(202, "Operation-Location", monitor),
			[]string{`{"status":"ok","state":"running"}`, `{"status":"success","data":{"state":"running"}}`, `{"status":"ok","state":"done"}`},
			op{Status: "ok"},
			"", 3,
		},
		"an envelope of a failure": {
			testkit.Reply(202, "Operation-Location", monitor), []string{`{"status":"ok","state":"failed"}`}, op{}, "failed", 1,
		},
		"within an object": {
			testkit.Reply(202, "Operation-Location", monitor),
			[]string{`{"properties":{"status":"Running"}}`, `{"data":{"status":"Running"}}`, `{"jobStatus":"Running"}`, `{"status":"Succeeded"}`},
			op{Status: "Succeeded"},
			"", 4,
		},
		"an address in the result": {
			testkit.Reply(202, "Operation-Location", monitor),
			[]string{`{"status":"Succeeded","data":{"state":"new"}}`},
			op{Status: "Succeeded"},
			"", 1,
		},
		"a fault": {
			testkit.Reply(202, "Operation-Location", monitor), []string{`{"status":"Faulted"}`}, op{}, "failed", 1,
		},
		"201 is not done": {
			testkit.Reply(201, "Azure-AsyncOperation", monitor),
			[]string{`{"status":"Creating"}`, `{"status":"succeeded"}`},
			op{Status: "succeeded"},
			"", 2,
		},
		"200 neither": {
			testkit.Reply(200, "Operation-Location", "/operations/1"),
			[]string{`{"status":"queued"}`, `{"status":"completed"}`},
			op{Status: "completed"},
			"", 2,
		},
		"the monitor says 202": {
			testkit.Reply(202, "Operation-Location", monitor, "Location", "/elsewhere"),
			[]string{`202{"status":"running"}`, `202{}`, `{"status":"done"}`},
			op{Status: "done"},
			"", 3,
		},
		"not known yet": {
			testkit.Reply(202, "Operation-Location", monitor),
			[]string{`404{}`, `404{}`, `{"status":"running"}`, `{"status":"done"}`},
			op{Status: "done"},
			"", 4,
		},
		"never known": {testkit.Reply(202, "Operation-Location", monitor), []string{`404{}`}, op{}, "404", 0},
		"known, then gone": {
			testkit.Reply(202, "Operation-Location", monitor), []string{`{"status":"running"}`, `404{}`}, op{}, "404", 2,
		},
		"failed": {
			testkit.Reply(202, "Operation-Location", monitor),
			[]string{`{"status":"Running"}`, `{"status":"Failed","error":{"code":"QuotaExceeded","message":"no room"}}`},
			op{},
			"QuotaExceeded: no room", 2,
		},
		"canceled": {
			testkit.Reply(201, "Operation-Location", monitor), []string{`{"status":"Canceled"}`}, op{}, "Canceled", 1,
		},
		"a part of it": {
			testkit.Reply(202, "Operation-Location", monitor),
			[]string{`{"status":"Partially_Succeeded"}`},
			op{},
			"Partially_Succeeded", 1,
		},
		"completed with errors": {
			testkit.Reply(202, "Operation-Location", monitor),
			[]string{`{"status":"CompletedWithErrors"}`},
			op{},
			"CompletedWithErrors", 1,
		},
		"done: true": {
			testkit.Reply(202, "Operation-Location", monitor),
			[]string{`{"done":false}`, `{"done":true,"name":"x"}`},
			op{Name: "x"},
			"", 2,
		},
		"done with an error": {
			testkit.Reply(202, "Operation-Location", monitor),
			[]string{`{"done":true,"error":{"code":3,"message":"bad"}}`},
			op{},
			"3: bad", 1,
		},
		"provisioningState": {
			testkit.Reply(201, "Azure-AsyncOperation", monitor),
			[]string{`{"properties":{"provisioningState":"Updating"}}`, `{"properties":{"provisioningState":"Succeeded"}}`},
			op{},
			"", 2,
		},
		"no status: the result": {
			testkit.Reply(202, "Operation-Location", monitor), []string{`202{}`, `{"name":"x"}`}, op{Name: "x"}, "", 2,
		},
		"a resource": {
			testkit.Reply(202, "Operation-Location", monitor),
			[]string{`{"status":"running"}`, `{"status":"succeeded","resourceLocation":"/things/7?a=b"}`, `{"name":"thing"}`},
			op{Name: "thing"},
			"", 3,
		},
		"a resource elsewhere": {
			testkit.Reply(202, "Operation-Location", monitor),
			[]string{`{"status":"succeeded","resourceLocation":"https://evil.test/"}`},
			op{},
			"evil.test", 1,
		},
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			var asked []string
			rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
				asked = append(asked, req.Method+" "+req.URL.RequestURI())
				if len(asked) == 1 {
					return c.first, nil
				}
				answer := c.answers[min(len(asked)-2, len(c.answers)-1)]
				status := 200
				if n, _ := fmt.Sscanf(answer, "%d", &status); n == 1 {
					answer = answer[3:]
				}
				return testkit.Raw(status, "application/json", answer), nil
			})
			began := time.Now()
			got, err := belay.Await[op](t.Context(), newClient(t, rt), "POST", "/things", map[string]int{"x": 1})
			require.Less(t, time.Since(began), time.Minute)
			if c.asked > 0 {
				require.Len(t, asked, c.asked+1, "%v", asked)
			}
			require.Equal(t, "GET /operations/1", asked[1])
			if c.fail != "" {
				var e *belay.Error
				require.ErrorAs(t, err, &e)
				require.ErrorContains(t, err, c.fail)
				require.NotErrorIs(t, err, belay.ErrUnavailable)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, got)
			if name == "a resource" {
				require.Equal(t, "GET /things/7?a=b", asked[3])
			}
		})
	}
}

// What an operation leads to is asked for where the partner says nothing else.
func TestAwaitTheResource(t *testing.T) {
	t.Parallel()
	type thing struct{ Status, Name string }
	for name, c := range map[string]struct {
		method  string
		first   []string
		answers map[string]string // by path, the last one again and again
		want    thing
	}{
		"Azure, PUT": {
			"PUT",
			[]string{"Azure-AsyncOperation", "/op"},
			map[string]string{"/op": `{"status":"Running"}|{"status":"Succeeded"}`, "/things": `{"name":"x"}`},
			thing{Name: "x"},
		},
		"Azure, PATCH": {
			"PATCH",
			[]string{"Azure-AsyncOperation", "/op", "Location", "/elsewhere"},
			map[string]string{"/op": `{"status":"Succeeded"}`, "/things": `{"name":"x"}`},
			thing{Name: "x"},
		},
		"Azure, POST": {
			"POST",
			[]string{"Azure-AsyncOperation", "/op", "Location", "/made/1"},
			map[string]string{"/op": `{"status":"Succeeded"}`, "/made/1": `{"name":"x"}`},
			thing{Name: "x"},
		},
		"Azure, POST without a Location": {
			"POST",
			[]string{"Azure-AsyncOperation", "/op"},
			map[string]string{"/op": `{"status":"Succeeded","name":"y"}`},
			thing{"Succeeded", "y"},
		},
		"Azure, the resource is gone": {
			"PUT",
			[]string{"Azure-AsyncOperation", "/op"},
			map[string]string{"/op": `{"status":"Succeeded","name":"y"}`, "/things": `404{}`},
			thing{"Succeeded", "y"},
		},
		"Azure, the resource is an operation": {
			"PUT",
			[]string{"Azure-AsyncOperation", "/op"},
			map[string]string{"/op": `{"status":"Succeeded","name":"y"}`, "/things": `202{}`},
			thing{"Succeeded", "y"},
		},
		"a Location that is a monitor": {
			"POST",
			[]string{"Location", "/op"},
			map[string]string{"/op": `{"status":"Running"}|{"status":"Pending"}|{"status":"Completed","name":"y"}`},
			thing{"Completed", "y"},
		},
		"and by a percentage": {
			"POST",
			[]string{"Location", "/op"},
			map[string]string{"/op": `{"percentComplete":10}|{"percentComplete":100,"name":"y"}`},
			thing{Name: "y"},
		},
		"a Location that is an order": {
			"POST",
			[]string{"Location", "/orders/1"},
			map[string]string{"/orders/1": `{"status":"pending","name":"y"}`},
			thing{"pending", "y"},
		},
		"no status yet": {
			"POST",
			[]string{"Operation-Location", "/op"},
			map[string]string{"/op": `{"status":null}|{"status":""}|{"status":"done","name":"y"}`},
			thing{"done", "y"},
		},
		"isDone": {
			"POST",
			[]string{"Operation-Location", "/op"},
			map[string]string{"/op": `{"isDone":false}|{"isComplete":false}|{"isDone":true,"name":"y"}`},
			thing{Name: "y"},
		},
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			asked := map[string]int{}
			rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
				if req.Method != "GET" {
					return testkit.Reply(202, c.first...), nil
				}
				all := strings.Split(c.answers[req.URL.Path], "|")
				answer := all[min(asked[req.URL.Path], len(all)-1)]
				asked[req.URL.Path]++
				status := 200
				if n, _ := fmt.Sscanf(answer, "%d", &status); n == 1 {
					answer = answer[3:]
				}
				return testkit.Raw(status, "application/json", answer), nil
			})
			client := newClient(t, rt)
			got, err := belay.Await[thing](t.Context(), client, c.method, "/things", nil)
			require.NoError(t, err)
			require.Equal(t, c.want, got)
			clear(asked)
			_, err = belay.Await[belay.None](t.Context(), client, c.method, "/things", nil)
			require.NoError(t, err)
			require.Zero(t, asked["/things"]+asked["/made/1"], "nobody wants it")
		})
	}
}

// A link to an operation that holds the credential is shown without it.
func TestAwaitShowsNoSecret(t *testing.T) {
	t.Parallel()
	for _, link := range []string{"https://" + testkit.Canary + ".evil.test/", "%zz" + testkit.Canary} {
		rt := testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
			return testkit.Reply(202, "Operation-Location", link), nil
		})
		c := newClient(t, rt, belay.WithAuth(belay.Bearer(belay.NewSecret(testkit.Canary))))
		_, err := belay.Await[belay.None](t.Context(), c, "POST", "/", nil)
		var e *belay.Error
		require.ErrorAs(t, err, &e)
		require.True(t, e.Done)
		require.NotContains(t, err.Error(), testkit.Canary)
	}
}
