// Package belayotel makes OpenTelemetry spans and metrics of Belay's calls.
//
//	tracer, err := belayotel.New(belayotel.Config{})
//	client, err := belay.New("https://api.crm.example", belay.WithName("crm"), belay.WithObserver(tracer))
//
// Each call is a span, "crm GET /contacts/{id}", with a child for each attempt, a client span by the semantic
// conventions for HTTP. Waits, pauses and circuits are events of the call's span. The trace context is sent on, to the
// partner's own origin only. No span and no metric has a query, a body or a credential, and paths are templates.
package belayotel
