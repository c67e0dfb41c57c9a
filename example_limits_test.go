package belay_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

// quiet answers 200 to everything.
var quiet = testkit.RoundTrip(func(*http.Request) (*http.Response, error) { return testkit.Reply(200), nil })

// A user's click goes before the nightly import that shares the limit.
func ExamplePriority() {
	client, _ := belay.New("https://partner.test", belay.WithTransport(quiet), belay.WithRateLimit(belay.PerSecond(50)))
	ctx := context.Background()
	_, err := belay.Get[belay.None](ctx, client, "/contacts/{id}", belay.PathValue("id", "7"), belay.High)
	fmt.Println(err)
	nightly := belay.CallContext(ctx, belay.Low) // for all that is called with it
	_, err = belay.Get[belay.None](nightly, client, "/contacts")
	fmt.Println(err, belay.Low < belay.Normal)
	// Output:
	// <nil>
	// <nil> true
}

// An import may spend three calls, and not one more.
func ExampleBudgetContext() {
	client, _ := belay.New("https://partner.test", belay.WithTransport(quiet))
	ctx := belay.BudgetContext(context.Background(), 3)
	for page := 1; ; page++ {
		if _, err := belay.Get[belay.None](ctx, client, "/contacts"); err != nil {
			fmt.Println("page", page, errors.Is(err, belay.ErrCallBudget))
			break
		}
	}
	// Output: page 4 true
}

// A search costs by what it asks for.
func ExampleWithCost() {
	client, _ := belay.New("https://partner.test", belay.WithTransport(quiet),
		belay.WithRateLimit(belay.Every(500, 10*time.Second)),
		belay.WithCost(func(req *http.Request) int {
			if req.URL.Query().Get("expand") != "" {
				return 20
			}
			return 1
		}))
	ctx := context.Background()
	_, _ = belay.Get[belay.None](ctx, client, "/records")
	_, _ = belay.Get[belay.None](ctx, client, "/records", belay.Query("expand", "all"))
	_, _ = belay.Get[belay.None](ctx, client, "/records", belay.Cost(100))
	fmt.Println(client.Limiter().Status().Limits[0].Used)
	// Output: 121
}

// Reads and writes have limits of their own; a search by POST is a read.
func ExampleReads() {
	client, _ := belay.New("https://partner.test", belay.WithTransport(quiet), belay.WithRateLimit(
		belay.PerSecond(100).When(belay.Reads),
		belay.PerSecond(25).When(belay.Writes),
	))
	ctx := context.Background()
	_, _ = belay.Post[belay.None](ctx, client, "/records/query", map[string]int{"limit": 50}, belay.ReadOnly())
	_, _ = belay.Post[belay.None](ctx, client, "/records", map[string]string{"name": "Ada"})
	for _, l := range client.Limiter().Status().Limits[:2] {
		fmt.Println(l.Limit, l.Used)
	}
	// Output:
	// 100 per 1s 1
	// 25 per 1s 1
}

// Where each limit stands, what the partner told among them.
func ExampleLimiter_Status() {
	partner := testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
		return testkit.Reply(200, "X-RateLimit-Limit-Minute", "120", "X-RateLimit-Remaining-Minute", "80"), nil
	})
	client, _ := belay.New("https://partner.test", belay.WithTransport(partner), belay.WithRateLimit(belay.PerSecond(15)))
	_, _ = belay.Get[belay.None](context.Background(), client, "/listings")
	for _, l := range client.Limiter().Status().Limits {
		fmt.Printf("%s (%s): %d of %d\n", l.Limit, l.Source, l.Used, l.Max)
	}
	// Output:
	// 15 per 1s (configured): 1 of 15
	// 10 in flight (configured): 0 of 10
	// 120 per 1m0s (advertised): 40 of 120
}

// The partner has raised the limit: calls that wait follow the new limit at once.
func ExampleLimiter_SetLimits() {
	client, _ := belay.New("https://partner.test", belay.WithTransport(quiet), belay.WithRateLimit(belay.PerSecond(5)))
	fmt.Println(client.Limiter().SetLimits(belay.PerSecond(50)))
	fmt.Println(client.Limiter().SetLimits(belay.PerSecond(0)))
	// Output:
	// <nil>
	// belay: SetLimits: limit 0 per 1s: the number of calls is 0, must be positive
}

// counter stands for a store that several processes share, such as Redis.
type counter struct{ left int }

func (c *counter) Take(_ context.Context, n int) (time.Duration, error) {
	if c.left < n {
		return time.Second, nil // ask again then
	}
	c.left -= n
	return 0, nil
}

// Several processes share one quota. While the store fails, each uses a tenth of it.
func ExampleLimit_Shared() {
	store := &counter{left: 2}
	client, _ := belay.New("https://partner.test", belay.WithTransport(quiet), belay.WithMaxWait(100*time.Millisecond),
		belay.WithRateLimit(belay.PerMinute(600).Shared(store).FallbackShare(0.1)))
	for range 3 {
		_, err := belay.Get[belay.None](context.Background(), client, "/records")
		fmt.Println(errors.Is(err, belay.ErrWaitTooLong))
	}
	// Output:
	// false
	// false
	// true
}

// Learning within bounds, or not at all.
func ExampleWithAdaptiveLimit() {
	client, err := belay.New("https://partner.test", belay.WithTransport(quiet),
		belay.WithAdaptiveLimit(belay.AdaptivePolicy{Floor: 10, Ceiling: 1000}))
	fmt.Println(client != nil, err)
	_, err = belay.New("https://partner.test", belay.WithAdaptiveLimit(belay.AdaptivePolicy{Floor: -1}))
	fmt.Println(err)
	// Output:
	// true <nil>
	// belay: WithAdaptiveLimit: AdaptivePolicy.Floor is -1, must not be negative
}
