package belay_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

// The policies also work alone, around any transport.
func ExampleChain() {
	server := partner()
	defer server.Close()
	breaker, err := belay.NewBreaker(belay.BreakerPolicy{})
	check(err)
	limiter, err := belay.NewLimiter(belay.PerSecond(10))
	check(err)
	policy := belay.RetryPolicy{MaxAttempts: 3, BaseDelay: time.Millisecond}

	client := &http.Client{Transport: belay.Chain(http.DefaultTransport, policy.Wrap, breaker.Wrap, limiter.Wrap)}
	resp, err := client.Get(server.URL + "/shaky")
	check(err)
	defer resp.Body.Close()
	fmt.Println(resp.StatusCode)
	// Output: 200
}

func ExampleRetryPolicy() {
	server := partner()
	defer server.Close()
	client, err := belay.New(server.URL, belay.WithRetry(belay.RetryPolicy{MaxAttempts: 2, BaseDelay: time.Millisecond}))
	check(err)
	_, err = belay.Get[record](context.Background(), client, "/down")
	var e *belay.Error
	fmt.Println(errors.As(err, &e), e.Attempts, e.StatusCode, e.Message)
	// Output: true 2 500 out of order
}

// A job runner asks an error when to come back.
func ExampleRetryAfter() {
	server := partner()
	defer server.Close()
	client, err := belay.New(server.URL)
	check(err)
	_, err = belay.Get[record](context.Background(), client, "/busy")
	wait, ok := belay.RetryAfter(err)
	fmt.Println(wait, ok, errors.Is(err, belay.ErrRateLimited))
	// Output: 2m0s true true
}

// ErrUnavailable is the one question to ask before using a fallback.
func ExampleError() {
	server := partner()
	defer server.Close()
	ctx := context.Background()
	client, err := belay.New(server.URL, belay.WithRetry(belay.RetryPolicy{MaxAttempts: 1}))
	check(err)
	if _, err := belay.Get[record](ctx, client, "/down"); errors.Is(err, belay.ErrUnavailable) {
		fmt.Println("using what we know from yesterday")
	}
	_, err = belay.Post[record](ctx, client, "/records", record{})
	var e *belay.Error
	if errors.As(err, &e) {
		fmt.Println(e.StatusCode, e.Message, e.Fields)
	}
	// Output:
	// using what we know from yesterday
	// 422 Validation failed map[name:must not be empty]
}

func ExampleBreaker() {
	server := partner()
	defer server.Close()
	ctx := context.Background()
	client, err := belay.New(server.URL,
		belay.WithRetry(belay.RetryPolicy{MaxAttempts: 1}),
		belay.WithBreakerPolicy(belay.BreakerPolicy{Failures: 2, Cooldown: time.Minute}))
	check(err)
	for range 3 {
		_, err = belay.Get[record](ctx, client, "/down")
		fmt.Println(errors.Is(err, belay.ErrCircuitOpen))
	}
	// Output:
	// false
	// false
	// true
}

// A call with patience waits for the circuit to close, instead of failing.
func ExamplePatience() {
	server := partner()
	defer server.Close()
	ctx := context.Background()
	client, err := belay.New(server.URL,
		belay.WithRetry(belay.RetryPolicy{BaseDelay: time.Millisecond}),
		belay.WithBreakerPolicy(belay.BreakerPolicy{Failures: 2, Cooldown: 10 * time.Millisecond}))
	check(err)
	rec, err := belay.Get[record](ctx, client, "/shaky", belay.Patience(time.Minute)) // two failures open it
	check(err)
	fmt.Println(rec.ID)
	// Output: 1
}

// Several limits at once, one for writes only.
func ExampleWithRateLimit() {
	writes := func(req *http.Request) bool { return req.Method != http.MethodGet }
	client, err := belay.New("https://api.example.com",
		belay.WithRateLimit(
			belay.PerSecond(10),
			belay.PerDay(250_000).Headroom(0.9),
			belay.PerSecond(2).Bucket(40).When(writes)))
	fmt.Println(client != nil, err)
	// Output: true <nil>
}

func ExampleLimiter() {
	limiter, err := belay.NewLimiter(belay.PerSecond(2))
	check(err)
	start := time.Now()
	for range 3 {
		var t belay.Ticket
		check(limiter.Acquire(context.Background(), &t))
		limiter.Release(&t, belay.Outcome{Sent: true})
	}
	fmt.Println(time.Since(start) >= time.Second)
	// Output: true
}

// A wait that would outlast the deadline is refused at once.
func ExampleLimiter_Acquire() {
	limiter, err := belay.NewLimiter(belay.PerHour(1))
	check(err)
	var first, second belay.Ticket
	check(limiter.Acquire(context.Background(), &first))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err = limiter.Acquire(ctx, &second)
	fmt.Println(errors.Is(err, belay.ErrWaitTooLong), errors.Is(err, context.DeadlineExceeded))
	// Output: true true
}

func ExampleWithAuth() {
	server := partner()
	defer server.Close()
	ctx := context.Background()
	for _, auth := range []belay.Authenticator{
		belay.Bearer(belay.NewSecret("token")), belay.APIKey("X-Api-Key", belay.NewSecret("key")),
		belay.APIKeyQuery("key", belay.NewSecret("key")), belay.Basic("ada", belay.NewSecret("pass")),
	} {
		client, err := belay.New(server.URL, belay.WithAuth(auth))
		check(err)
		got, err := belay.Get[map[string]string](ctx, client, "/whoami")
		check(err)
		fmt.Println(got)
	}
	// Output:
	// map[authorization:Bearer token key:]
	// map[authorization: key:key]
	// map[authorization: key:key]
	// map[authorization:Basic YWRhOnBhc3M= key:]
}

func ExampleSecret() {
	type config struct{ Token belay.Secret }
	var c config
	check(json.Unmarshal([]byte(`{"Token":"hunter2"}`), &c))
	fmt.Printf("%v %+v\n", c, c.Token)
	fmt.Println(c.Token.Reveal())
	// Output:
	// {REDACTED} REDACTED
	// hunter2
}

// A partner that answers 200 with an error in it.
func ExampleWithClassifier() {
	server := partner()
	defer server.Close()
	slack := func(a *belay.Attempt) belay.Verdict {
		var body struct {
			OK    bool
			Error string
		}
		if a.Err == nil && json.Unmarshal(a.Peek(), &body) == nil && body.Error != "" && !body.OK {
			return belay.Verdict{Class: belay.ClassClient, Scope: belay.ScopeCall, Code: body.Error}
		}
		return belay.Classify(a)
	}
	client, err := belay.New(server.URL, belay.WithClassifier(slack))
	check(err)
	_, err = belay.Post[belay.None](context.Background(), client, "/slack", nil)
	var e *belay.Error
	fmt.Println(errors.As(err, &e), e.StatusCode, e.Code)
	// Output: true 200 channel_not_found
}

func ExampleWithObserver() {
	server := partner()
	defer server.Close()
	count := belay.ObserverFunc(func(_ context.Context, e belay.Event) {
		switch e := e.(type) {
		case belay.AttemptDone:
			fmt.Println("attempt", e.Number, e.Call.Route, e.StatusCode, e.Verdict.Class)
		case belay.CallDone:
			fmt.Println("call", e.Attempts, "attempts")
		}
	})
	client, err := belay.New(
		server.URL,
		belay.WithObserver(count),
		belay.WithRetry(belay.RetryPolicy{BaseDelay: time.Millisecond}),
	)
	check(err)
	_, err = belay.Get[record](context.Background(), client, "/shaky")
	check(err)
	// Output:
	// attempt 1 /shaky 503 transient
	// attempt 2 /shaky 503 transient
	// attempt 3 /shaky 200 ok
	// call 3 attempts
}

func ExampleWithLogger() {
	server := partner()
	defer server.Close()
	stable := func(_ []string, a slog.Attr) slog.Attr { // leave out what changes
		if a.Key == slog.TimeKey || a.Key == "duration_ms" || a.Key == "partner" {
			return slog.Attr{}
		}
		return a
	}
	log := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: stable}))
	client, err := belay.New(server.URL, belay.WithLogger(log), belay.WithRateLimit(belay.PerSecond(10)))
	check(err)
	_, err = belay.Post[record](context.Background(), client, "/records", record{}, belay.Header("X-Trace", "t1"))
	fmt.Println(errors.Is(err, belay.ErrInvalid))
	// Output:
	// level=INFO msg="belay: attempt" method=POST route=/records status=422 attempt=1 request_id=req_42 limit_left=9 request_body="{\"id\":string,\"name\":string}" class=client message="Validation failed"
	// level=WARN msg="belay: call" method=POST route=/records status=422 attempts=1 waited_ms=0 class=client message="Validation failed"
	// true
}

// A kill switch is asked before each attempt.
func ExampleWithEnabled() {
	on := false
	client, err := belay.New("https://api.example.com", belay.WithEnabled(func() bool { return on }))
	check(err)
	_, err = belay.Get[record](context.Background(), client, "/records/1")
	fmt.Println(errors.Is(err, belay.ErrDisabled), errors.Is(err, belay.ErrUnavailable))
	// Output: true true
}

// One random key for all attempts of a write, for partners that honor it.
func ExampleWithIdempotencyKeys() {
	var keys []string
	see := func(next http.RoundTripper) http.RoundTripper {
		return testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
			keys = append(keys, req.Header.Get("Idempotency-Key"))
			return &http.Response{StatusCode: 503, Body: http.NoBody, Header: http.Header{}}, nil
		})
	}
	client, err := belay.New("https://api.example.com", belay.WithIdempotencyKeys(""), belay.WithAttemptMiddleware(see),
		belay.WithRetry(belay.RetryPolicy{MaxAttempts: 2, BaseDelay: time.Millisecond}))
	check(err)
	_, _ = belay.Post[belay.None](context.Background(), client, "/payments", map[string]int{"amount": 100})
	fmt.Println(len(keys), len(keys[0]), keys[0] == keys[1])
	// Output: 2 36 true
}

// A middleware above the retries sees each call once; one below sees each attempt, signed.
func ExampleMiddleware() {
	server := partner()
	defer server.Close()
	say := func(what string) belay.Middleware {
		return func(next http.RoundTripper) http.RoundTripper {
			return testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
				fmt.Println(what)
				return next.RoundTrip(req)
			})
		}
	}
	client, err := belay.New(
		server.URL,
		belay.WithCallMiddleware(say("call")),
		belay.WithAttemptMiddleware(say("attempt")),
		belay.WithRetry(belay.RetryPolicy{BaseDelay: time.Millisecond}),
	)
	check(err)
	_, err = belay.Get[record](context.Background(), client, "/shaky")
	check(err)
	// Output:
	// call
	// attempt
	// attempt
	// attempt
}

func ExampleWithout() {
	server := partner()
	defer server.Close()
	client, err := belay.New(server.URL, belay.Without(belay.LayerRetry, belay.LayerBreaker))
	check(err)
	var info belay.Info
	_, err = belay.Get[record](context.Background(), client, "/down", belay.Into(&info))
	fmt.Println(info.Attempts, errors.Is(err, belay.ErrTransient))
	// Output: 1 true
}

// A redirect within the origin is followed; elsewhere only with RedirectAny, and without the credential.
func ExampleWithRedirects() {
	server := partner()
	defer server.Close()
	ctx := context.Background()
	client, err := belay.New(server.URL)
	check(err)
	rec, err := belay.Get[record](ctx, client, "/moved")
	check(err)
	fmt.Println(rec.Name)

	still, err := client.With(belay.WithRedirects(belay.RedirectNone))
	check(err)
	req, err := still.NewRequest(ctx, http.MethodGet, "/moved", nil)
	check(err)
	resp, err := still.Do(req)
	check(err)
	defer resp.Body.Close()
	fmt.Println(resp.StatusCode)
	// Output:
	// Ada
	// 302
}

// Stream opens the body again for each attempt; Reader can be sent only once.
func ExampleStreamBody() {
	server := partner()
	defer server.Close()
	client, err := belay.New(server.URL)
	check(err)
	open := func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("a,b\n")), nil } // os.Open
	made, err := belay.Post[struct{ Got string }](
		context.Background(),
		client,
		"/records",
		belay.StreamBody("text/csv", 4, open),
	)
	check(err)
	fmt.Println(made.Got)
	// Output: text/csv
}
