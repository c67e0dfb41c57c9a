// Package inbox receives a partner's webhooks. It loses no event that it has acknowledged, and it does not
// handle an event again because the partner sent it again.
//
//	partner ─ POST ─ Receiver ─ verified? ─ Worker.Put ─ Store: stored, and new? ─ 202 (or 200: a duplicate)
//	                    │                                   │
//	                    └ 4xx  invalid                      └ Worker: your Handler, with retries,
//	                      503  not stored: send it again              then a dead letter
//
// A [Receiver] answers the partner. The [Worker] behind it stores each event in a [Store] before that answer,
// and calls your [Handler] afterwards. So the partner waits for a write and not for your code, and an event
// that your handler fails on is retried here: the partner already has its acknowledgment.
//
//	store := inbox.NewMemory()                     // for development; boltinbox.Open stores events in a file
//	worker, err := inbox.Start(store, mux.Handle, inbox.Config{})
//	...
//	http.Handle("/webhooks/{partner}/{integration}", &inbox.Receiver{Verifier: verifiers.Lookup, Inbox: worker})
//
// # Guarantees
//
// An event that was answered with 2xx is handled at least once, as long as the store keeps its data. It may
// be handled again if the process ends after your handler has returned and before the store has recorded the
// result. Handlers should therefore be idempotent, or write the event's ID in the same transaction as its
// effects. A duplicate is answered with 200 and not handled again, for as long as the store remembers its ID.
//
// A partner does not promise an order. With Config.Key, events of one key are handled one after the other in
// the order of arrival; importer.Guard keeps an old event from overwriting a newer one.
package inbox
