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
	"github.com/belay-go/belay/internal/testkit"
)

// show is a transport that prints each request, and answers 200.
func show(headers ...string) http.RoundTripper {
	return testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
		line := req.Method + " " + req.URL.String()
		for _, h := range headers {
			line += fmt.Sprintf(" %s=%q", h, req.Header.Get(h))
		}
		if req.Body != nil {
			data, _ := io.ReadAll(req.Body)
			_ = req.Body.Close()
			line += " " + string(data)
		}
		fmt.Println(line)
		return &http.Response{
			StatusCode: http.StatusOK,
			Header:     http.Header{},
			Body:       io.NopCloser(strings.NewReader("{}")),
			Request:    req,
		}, nil
	})
}

func ExamplePut() {
	client, err := belay.New("https://api.example.com", belay.WithTransport(show()))
	check(err)
	ctx, id := context.Background(), belay.PathValue("id", "1")
	_, err = belay.Put[belay.None](ctx, client, "/records/{id}", record{ID: "1", Name: "Ada"}, id)
	check(err)
	_, err = belay.Patch[belay.None](ctx, client, "/records/{id}", map[string]string{"name": "Grace"}, id)
	check(err)
	_, err = belay.Delete[belay.None](ctx, client, "/records/{id}", id)
	check(err)
	// Output:
	// PUT https://api.example.com/records/1 {"id":"1","name":"Ada"}
	// PATCH https://api.example.com/records/1 {"name":"Grace"}
	// DELETE https://api.example.com/records/1
}

func ExampleForm() {
	client, err := belay.New("https://api.example.com", belay.WithTransport(show("Content-Type")))
	check(err)
	ctx := context.Background()
	for _, body := range []any{
		belay.Form(url.Values{"name": {"Ada"}}), belay.BytesBody("text/csv", []byte("a,b")),
		belay.ReaderBody("text/plain", strings.NewReader("hello")),
	} {
		_, err = belay.Post[belay.None](ctx, client, "/records", body)
		check(err)
	}
	// Output:
	// POST https://api.example.com/records Content-Type="application/x-www-form-urlencoded" name=Ada
	// POST https://api.example.com/records Content-Type="text/csv" a,b
	// POST https://api.example.com/records Content-Type="text/plain" hello
}

// A body with a method Validate is checked before anything is sent.
func ExampleSend_validate() {
	client, err := belay.New("https://api.example.com", belay.WithTransport(show()))
	check(err)
	_, err = belay.Post[belay.None](context.Background(), client, "/records", strict{})
	fmt.Println(errors.Is(err, belay.ErrInvalid), err)
	// Output: true belay: api.example.com: POST https://api.example.com/records: the body is not valid: name is missing
}

// Headers, the User-Agent and the base URL, for the client or for one call.
func ExampleWithHeader() {
	client, err := belay.New("https://api.example.com", belay.WithTransport(show("User-Agent", "X-Version")),
		belay.WithUserAgent("acme/1.0"), belay.WithHeader("X-Version", "2026-11"))
	check(err)
	ctx := context.Background()
	_, err = belay.Get[belay.None](ctx, client, "/a")
	check(err)
	eu, err := client.With(belay.WithBaseURL("https://eu.example.com/v2"))
	check(err)
	_, err = belay.Get[belay.None](ctx, eu, "/a", belay.Header("X-Version", "next"), belay.Query("limit", "5"))
	check(err)
	// Output:
	// GET https://api.example.com/a User-Agent="acme/1.0" X-Version="2026-11"
	// GET https://eu.example.com/v2/a?limit=5 User-Agent="acme/1.0" X-Version="next"
}

// A credential for one call, in place of the client's; nil sends none.
func ExampleAuth() {
	client, err := belay.New(
		"https://api.example.com",
		belay.WithTransport(show("Authorization")),
		belay.WithAuth(belay.Bearer(belay.NewSecret("mine"))),
	)
	check(err)
	ctx := context.Background()
	for _, opts := range [][]belay.CallOption{
		nil, {belay.Auth(belay.Bearer(belay.NewSecret("yours")))}, {belay.Auth(nil)},
	} {
		_, err = belay.Get[belay.None](ctx, client, "/me", opts...)
		check(err)
	}
	// Output:
	// GET https://api.example.com/me Authorization="Bearer mine"
	// GET https://api.example.com/me Authorization="Bearer yours"
	// GET https://api.example.com/me Authorization=""
}

// A credential that changes: ask the vault each time.
func ExampleAuthenticator() {
	n := 0
	vault := authFunc(func(ctx context.Context) (belay.Credential, error) {
		n++ // read from the vault, refresh when it is due
		return belay.Bearer(belay.NewSecret(fmt.Sprint("token ", n))).Credential(ctx)
	})
	client, err := belay.New(
		"https://api.example.com",
		belay.WithTransport(show("Authorization")),
		belay.WithAuth(vault),
	)
	check(err)
	for range 2 {
		_, err = belay.Get[belay.None](context.Background(), client, "/me")
		check(err)
	}
	// Output:
	// GET https://api.example.com/me Authorization="Bearer token 1"
	// GET https://api.example.com/me Authorization="Bearer token 2"
}

// A key of your own makes a job that runs again write once; Idempotent says that a write needs none.
func ExampleIdempotencyKey() {
	client, err := belay.New("https://api.example.com", belay.WithTransport(show("Idempotency-Key")))
	check(err)
	_, err = belay.Post[belay.None](context.Background(), client, "/payments", nil, belay.IdempotencyKey("order-1"))
	check(err)
	_, err = belay.Post[belay.None](context.Background(), client, "/touch", nil, belay.Idempotent())
	check(err)
	// Output:
	// POST https://api.example.com/payments Idempotency-Key="order-1"
	// POST https://api.example.com/touch Idempotency-Key=""
}

// Clients that spend from one quota share its limiter, and a breaker; a call may cost more than one permit.
func ExampleWithLimiter() {
	limiter, err := belay.NewLimiter(belay.PerMinute(10).Fixed())
	check(err)
	breaker, err := belay.NewBreaker(belay.BreakerPolicy{})
	check(err)
	shared := []belay.Option{
		belay.WithTransport(show()),
		belay.WithLimiter(limiter),
		belay.WithBreaker(breaker),
		belay.WithMaxInFlight(5),
		belay.WithMaxQueue(0),
	}
	reads, err := belay.New("https://api.example.com", shared...)
	check(err)
	search, err := belay.New("https://search.example.com", shared...)
	check(err)
	ctx := context.Background()
	_, err = belay.Get[belay.None](ctx, reads, "/a", belay.Cost(4))
	check(err)
	_, err = belay.Get[belay.None](ctx, search, "/b", belay.Cost(6))
	check(err)
	_, err = belay.Get[belay.None](ctx, reads, "/c")
	fmt.Println(errors.Is(err, belay.ErrQueueFull))
	// Output:
	// GET https://api.example.com/a
	// GET https://search.example.com/b
	// true
}

// A budget that several clients share keeps retries a small part of all their calls.
func ExampleRetryBudget() {
	budget := belay.NewRetryBudget(5) // one retry
	server := partner()
	defer server.Close()
	client, err := belay.New(server.URL, belay.WithRetry(belay.RetryPolicy{Budget: budget, BaseDelay: time.Millisecond}))
	check(err)
	_, err = belay.Get[record](context.Background(), client, "/down")
	fmt.Println(errors.Is(err, belay.ErrRetryBudget), errors.Is(err, belay.ErrTransient), budget.Tokens())
	// Output: true true 0
}

// An attempt that takes too long is tried again; the call as a whole has its context, or WithTimeout.
func ExampleWithAttemptTimeout() {
	hangs := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
		<-req.Context().Done()
		return nil, req.Context().Err()
	})
	client, err := belay.New(
		"https://api.example.com",
		belay.WithTransport(hangs),
		belay.WithAttemptTimeout(10*time.Millisecond),
		belay.WithTimeout(time.Minute),
		belay.WithRetry(belay.RetryPolicy{MaxAttempts: 2, BaseDelay: time.Millisecond}),
	)
	check(err)
	_, err = belay.Get[record](context.Background(), client, "/slow")
	fmt.Println(err)
	fmt.Println(errors.Is(err, belay.ErrUnavailable))
	// Output:
	// belay: api.example.com: GET https://api.example.com/slow: attempt timed out after 10ms (2 attempts)
	// true
}

// A body above the bound is an error, also when it grows only by decompression.
func ExampleWithMaxResponseBytes() {
	server := partner()
	defer server.Close()
	client, err := belay.New(server.URL, belay.WithMaxResponseBytes(4))
	check(err)
	_, err = belay.Get[[]byte](context.Background(), client, "/report.csv")
	fmt.Println(errors.Is(err, belay.ErrBodyTooLarge), errors.Is(err, belay.ErrData))
	// Output: true true
}

// The credential goes to the partner's file server too, and to nobody else; never over plain http.
func ExampleWithTrustedOrigins() {
	client, err := belay.New(
		"https://api.example.com",
		belay.WithTransport(show("X-Api-Key")),
		belay.WithAuth(
			belay.APIKey("X-Api-Key", belay.NewSecret("key")),
		),
		belay.WithTrustedOrigins("https://files.example.com"),
	)
	check(err)
	for _, u := range []string{"https://files.example.com/1", "https://elsewhere.example/1"} {
		resp, err := client.HTTPClient().Get(u)
		check(err)
		check(resp.Body.Close())
	}
	_, err = client.With(belay.WithBaseURL("http://api.example.com"))
	fmt.Println(err)
	// Output:
	// GET https://files.example.com/1 X-Api-Key="key"
	// GET https://elsewhere.example/1 X-Api-Key=""
	// belay: WithAuth: the credential would go over plain http to api.example.com (WithInsecureCredentials allows it)
}

// What of a request's body may be logged when the partner finds it invalid: names and kinds, unless you say.
func ExampleWithRedactor() {
	server := partner()
	defer server.Close()
	see := belay.ObserverFunc(func(_ context.Context, e belay.Event) {
		if a, ok := e.(belay.AttemptDone); ok {
			fmt.Println(a.RequestBody)
		}
	})
	client, err := belay.New(server.URL, belay.WithObserver(see))
	check(err)
	verbose, err := client.With(belay.WithRedactor(func(_ string, body []byte) string { return string(body) }))
	check(err)
	for _, c := range []*belay.Client{client, verbose} {
		_, _ = belay.Post[record](context.Background(), c, "/records", record{ID: "7"})
	}
	// Output:
	// {"id":string,"name":string}
	// {"id":"7","name":""}
}

// The layers as a transport, for an http.Client of your own.
func ExampleClient_Transport() {
	server := partner()
	defer server.Close()
	client, err := belay.New(server.URL)
	check(err)
	hc := &http.Client{Transport: client.Transport(), Timeout: time.Minute}
	resp, err := hc.Get(server.URL + "/records/1")
	check(err)
	defer resp.Body.Close()
	fmt.Println(resp.StatusCode)
	// Output: 200
}
