// Package inbox receives a partner's webhooks so that none is lost and none is handled twice for being sent twice.
//
//	partner ─ POST ─ Receiver ─ verified? ─ Worker.Put ─ Store: kept, and new? ─ 202 (or 200: known already)
//	                    │                                   │
//	                    └ 4xx what cannot be right           └ Worker: your Handler, again after a failure, at last set aside
//	                      503 what could not be kept
//
// A [Receiver] answers the partner; the [Worker] behind it keeps each event in a [Store] before that answer, and hands it to
// your [Handler] afterwards. So the partner waits for a write and not for your code, and an event that you fail to handle is
// yours to try again: the partner has been told that it arrived.
//
//	store := inbox.NewMemory()                     // for development; boltinbox.Open keeps them in a file
//	worker, err := inbox.Start(store, mux.Handle, inbox.Config{})
//	...
//	http.Handle("/webhooks/{partner}/{integration}", &inbox.Receiver{Verifier: verifiers.Lookup, Inbox: worker})
//
// # What is promised
//
// An event that was answered with 2xx is handled at least once, as long as the store keeps what it has: it may be handled
// again when the process dies between your handler's end and the note of it. Handlers are therefore to be idempotent, or to
// write the event's ID in the transaction of what they do. An event that comes again is answered with 200 and not handled
// again, for as long as the store remembers its ID.
//
// A partner does not promise an order. Config.Key makes events of one key be handled one after the other as they arrived;
// importer.Guard keeps an old one from overwriting a newer.
package inbox
