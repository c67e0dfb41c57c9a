package belay_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/belay-go/belay"
)

func Example() {
	server := partner()
	defer server.Close()
	ctx := context.Background()

	client, err := belay.New(server.URL, belay.WithRateLimit(belay.PerSecond(10), belay.PerMinute(300)))
	check(err)
	rec, err := belay.Get[record](ctx, client, "/records/{id}", belay.PathValue("id", "1"))
	check(err)
	fmt.Println(rec.Name)

	_, err = belay.Get[record](ctx, client, "/records/{id}", belay.PathValue("id", "9"))
	fmt.Println(errors.Is(err, belay.ErrNotFound))
	// Output:
	// Ada
	// true
}

// The path is a template; values are escaped. T is JSON, []byte or None.
func ExampleGet() {
	server := partner()
	defer server.Close()
	client, err := belay.New(server.URL)
	check(err)
	csv, err := belay.Get[[]byte](context.Background(), client, "/report.csv")
	check(err)
	fmt.Printf("%q\n", csv)
	// Output: "id,name\n1,Ada\n"
}

// Any value is sent as JSON, url.Values as a form.
func ExamplePost() {
	server := partner()
	defer server.Close()
	ctx := context.Background()
	client, err := belay.New(server.URL)
	check(err)
	type created struct{ ID, Got string }

	made, err := belay.Post[created](ctx, client, "/records", record{Name: "Grace"})
	check(err)
	fmt.Println(made.ID, made.Got)
	made, err = belay.Post[created](ctx, client, "/records", url.Values{"name": {"Grace"}})
	check(err)
	fmt.Println(made.ID, made.Got)
	// Output:
	// 4 application/json
	// 4 application/x-www-form-urlencoded
}

// Send takes any method; Get, Post, Put, Patch and Delete are short for theirs.
func ExampleSend() {
	server := partner()
	defer server.Close()
	client, err := belay.New(server.URL)
	check(err)
	ids, err := belay.Send[[]string](
		context.Background(),
		client,
		"POST",
		"/search",
		map[string]string{"name": "A"},
		belay.ReadOnly(),
	)
	check(err)
	fmt.Println(ids)
	// Output: [1 2]
}

// Files are streamed, and opened again for each attempt.
func ExampleMultipart() {
	server := partner()
	defer server.Close()
	client, err := belay.New(server.URL)
	check(err)
	body := belay.Multipart(url.Values{"name": {"photo"}}, belay.File{
		Field: "file", Name: "ada.jpg", ContentType: "image/jpeg",
		Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("…")), nil }, // os.Open
	})
	made, err := belay.Post[struct{ Got string }](context.Background(), client, "/records", body)
	check(err)
	fmt.Println(made.Got[:29])
	// Output: multipart/form-data; boundary
}

// What there is to know of a call beside its result.
func ExampleInto() {
	server := partner()
	defer server.Close()
	client, err := belay.New(server.URL, belay.WithRetry(belay.RetryPolicy{BaseDelay: time.Millisecond}))
	check(err)
	var info belay.Info
	_, err = belay.Get[record](context.Background(), client, "/shaky", belay.Into(&info))
	check(err)
	fmt.Println(info.StatusCode, info.RequestID, info.Attempts, "attempts")
	// Output: 200 req_42 3 attempts
}

// Options travel with the context to raw requests and other SDKs.
func ExampleCallContext() {
	server := partner()
	defer server.Close()
	client, err := belay.New(server.URL)
	check(err)
	ctx := belay.CallContext(context.Background(), belay.MaxAttempts(1))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/down", nil)
	check(err)
	resp, err := client.HTTPClient().Do(req)
	check(err)
	defer resp.Body.Close()
	fmt.Println(resp.StatusCode)
	// Output: 500
}

// Do sends a request that you made, and streams its answer.
func ExampleClient_Do() {
	server := partner()
	defer server.Close()
	client, err := belay.New(server.URL)
	check(err)
	req, err := client.NewRequest(context.Background(), http.MethodGet, "/report.csv", nil)
	check(err)
	resp, err := client.Do(req)
	check(err)
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	check(err)
	fmt.Println(n, "bytes")
	// Output: 14 bytes
}

// Under another SDK: a status stays a response.
func ExampleClient_HTTPClient() {
	server := partner()
	defer server.Close()
	client, err := belay.New(server.URL)
	check(err)
	resp, err := client.HTTPClient().Get(server.URL + "/records/9")
	check(err)
	defer resp.Body.Close()
	fmt.Println(resp.StatusCode)
	// Output: 404
}

// One client for each customer's integration; limits, breaker and connections are shared.
func ExampleClient_With() {
	server := partner()
	defer server.Close()
	client, err := belay.New(server.URL, belay.WithName("crm"), belay.WithRateLimit(belay.PerSecond(100)))
	check(err)
	acme, err := client.With(
		belay.WithIntegration("acme"),
		belay.WithAuth(belay.Bearer(belay.NewSecret("acme's token"))),
		belay.WithRateLimit(belay.PerSecond(10))) // acme's own share of the 100
	check(err)
	_, err = belay.Get[record](context.Background(), acme, "/records/9")
	fmt.Println(strings.ReplaceAll(err.Error(), server.URL, "https://crm.test"))
	// Output: belay: crm: acme: GET https://crm.test/records/9: 404 Not Found record_not_found: No such record (request id req_42)
}
