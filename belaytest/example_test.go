package belaytest_test

import (
	"context"
	"fmt"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/belaytest"
)

// Over a real port; in a test, use the Partner as the transport within synctest.Test, and hours pass in a moment.
func ExamplePartner() {
	p := belaytest.New(
		belaytest.Config{Limits: []belaytest.Limit{belaytest.Sliding(100, time.Second)}, HonourKeys: true},
	)
	server := p.Server()
	defer server.Close()
	client, err := belay.New(server.URL, belay.WithIdempotencyKeys(""), belay.WithRateLimit(belay.PerSecond(100)))
	if err != nil {
		panic(err)
	}
	defer client.Close()
	req, err := client.NewRequest(context.Background(), "POST", "/notes", map[string]string{"text": "hello"})
	if err != nil {
		panic(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		panic(err)
	}
	_ = resp.Body.Close()
	fmt.Println(
		len(p.Log()),
		"call,",
		p.Writes(),
		"write,",
		len(p.WrittenTwice()),
		"written twice,",
		len(p.TooEarly()),
		"too early,",
		p.Count(429),
		"429s",
	)
	// Output: 1 call, 1 write, 0 written twice, 0 too early, 0 429s
}
