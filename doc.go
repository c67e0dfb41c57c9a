// Package belay keeps a service upright while it calls partner APIs that it does not control.
//
// It wraps net/http with the layers that every integration ends up writing: credentials, rate limits,
// retries that honor Retry-After, a circuit breaker, classification of errors, redaction. Make one [Client]
// for each partner:
//
//	client, err := belay.New("https://api.example.com/v2",
//		belay.WithAuth(belay.Bearer(belay.NewSecret(os.Getenv("TOKEN")))),
//		belay.WithRateLimit(belay.PerSecond(10), belay.PerMinute(300)))
//	...
//	record, err := belay.Get[Record](ctx, client, "/records/{id}", belay.PathValue("id", id))
//
// Under another SDK, hand it [Client.HTTPClient] or [Client.Transport]. A single policy goes around any
// transport by its Wrap method; see [Chain].
//
// # The layers
//
// From the outside in, each with the file that holds it; layers.go has the order as a list:
//
//	your code ─ belay.Get / Send / c.Do               another SDK ─ c.HTTPClient() / c.Transport()
//	              │  statuses become *belay.Error                  │  a response stays a response
//	──────────────┴────────────────────────────────────────────────┴──────
//	   observe   one event for the call, and one for each attempt        observe.go, events.go
//	   gate      kill switch, total timeout                              exchange.go
//	   retry     owns the attempts; honors Retry-After; spends a budget  retry.go, retry_loop.go
//	   token     a fresh credential; may block, so it holds nothing      credentials.go, auth.go
//	   admit     breaker, then every limit and a slot in flight at once  admit.go, breaker.go, ratelimit.go
//	   sign      credential on a clone, only for the partner's origin    credentials.go, url.go
//	   attempt   timeout, body, verdict                                  attempt.go, response.go, verdict.go
//	   base      http.Transport, or the transport that you gave
//
// The outcome of an attempt is one [Verdict]. Retries, breaker, limiter, events and [Error] read that value
// and nothing else. A [Classifier] teaches it the ways of a partner.
//
// # What a call waits for
//
// A call waits for a rate limit as long as its context allows, sits out a pause of up to a minute that the
// partner asks for, and backs off between attempts. At an open circuit it waits for the first probes of an outage, no
// longer than its backoffs could have taken; once the outage is older than that, it fails at once with
// [ErrCircuitOpen]. With [Patience] it waits for the partner to come back.
//
// # The packages
//
//	webhook    verifies the webhooks of some forty partners, and those of a scheme of your own
//	oauth      gets, keeps and renews tokens (OAuth 2.0)
//	bulk       works on many items at a time, in batches, or as one call for many lookups
//	inbox      receives webhooks, keeps them and hands them out
//	importer   brings a partner's records in
//	driver     wraps a partner for an application with many customers
//	watch      probes integrations, tells what is wrong, and shows it on a page
//	schema     says which fields answers and records are expected to have
//	partners   has what is publicly known of some forty partners, as options and paginators
//	belaytest  is a partner to test against
//
// This package verifies the commonest kind of webhook by itself: see [NewWebhookVerifier].
package belay
