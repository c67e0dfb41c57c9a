// Package belaytest simulates a partner for tests. The partner has limits, outages and random failures, and
// records the calls that it received.
//
// A [Partner] is an http.RoundTripper that works in virtual time (testing/synctest), and an http.Handler that
// serves on a real port:
//
//	p := belaytest.New(belaytest.Config{
//		Limits:  []belaytest.Limit{belaytest.Sliding(100, 10*time.Second)},
//		Latency: 5 * time.Millisecond, Jitter: 20 * time.Millisecond,
//		Outages: []belaytest.Outage{{From: 30 * time.Second, For: time.Minute, Kind: belaytest.Unavailable}},
//	})
//	client, err := belay.New("https://partner.test", belay.WithTransport(p))
//
// Afterwards [Partner.Log] lists the calls with their times of arrival, and [Partner.TooEarly],
// [Partner.WrittenTwice] and [Partner.Peak] show the mistakes that a well-behaved client never makes.
package belaytest
