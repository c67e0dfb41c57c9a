// Package belay keeps a service upright while it calls partner APIs that it does not control.
//
// It wraps net/http with the layers that every integration ends up writing: credentials, rate limits,
// retries that honour Retry-After, a circuit breaker, classification of errors, redaction. One [Client]
// for each partner:
//
//	client, err := belay.New("https://api.example.com/v2",
//		belay.WithAuth(belay.Bearer(belay.NewSecret(os.Getenv("TOKEN")))),
//		belay.WithRateLimit(belay.PerSecond(10), belay.PerMinute(300)))
//	...
//	record, err := belay.Get[Record](ctx, client, "/records/{id}", belay.PathValue("id", id))
//
// Under another SDK, hand it [Client.HTTPClient] or [Client.Transport]; a single policy goes around any
// transport by its Wrap method, see [Chain].
//
// # The layers
//
// From the outside in, each with the file that holds it:
//
//	your code ─ belay.Get / Send / c.Do               another SDK ─ c.HTTPClient() / c.Transport()
//	              │  statuses become *belay.Error                  │  a response stays a response
//	──────────────┴────────────────────────────────────────────────┴──────
//	   observe   one event for the call, and one for each attempt        observe.go
//	   gate      kill switch, total timeout                              transport.go
//	   retry     owns the attempts; honours Retry-After; spends a budget retry.go
//	   token     a fresh credential; may block, so it holds nothing      auth.go
//	   admit     breaker, then every limit and a place in flight at once admit.go, breaker.go, ratelimit.go
//	   sign      credential on a clone, only for the partner's origin    auth.go
//	   attempt   timeout, body, verdict                                  attempt.go, attempt_timeout.go, verdict.go
//	   base      http.Transport, or whatever you gave
//
// What became of an attempt is one [Verdict]; retry, breaker, limiter, events and [Error] go by nothing
// else. A [Classifier] teaches it a partner's ways.
//
// # Which call waits for what
//
// A call waits in line for a rate limit as long as its context lets it, sits out a pause that the
// partner asks for up to a minute, and backs off between attempts. It does not wait for an open circuit:
// it fails at once with [ErrCircuitOpen], unless it has [Patience].
//
// # Webhooks
//
// A [Verifier] tells a partner's webhooks from anybody's, by the [Scheme] of some twenty-five partners or your own. Package inbox
// receives them, keeps them and hands them out.
package belay
