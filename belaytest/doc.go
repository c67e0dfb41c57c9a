// Package belaytest is a partner to test against: one that has limits, outages and moods, and remembers
// what it was sent.
//
// A [Partner] is an http.RoundTripper that lives in virtual time (testing/synctest), and an http.Handler
// that serves on a real port:
//
//	p := belaytest.New(belaytest.Config{
//		Limits:  []belaytest.Limit{belaytest.Sliding(100, 10*time.Second)},
//		Latency: 5 * time.Millisecond, Jitter: 20 * time.Millisecond,
//		Outages: []belaytest.Outage{{From: 30 * time.Second, For: time.Minute, Kind: belaytest.Unavailable}},
//	})
//	client, err := belay.New("https://partner.test", belay.WithTransport(p))
//
// Afterwards [Partner.Log] tells what arrived when, and [Partner.TooEarly], [Partner.WrittenTwice] and
// [Partner.Peak] what a well-behaved client never does.
package belaytest
