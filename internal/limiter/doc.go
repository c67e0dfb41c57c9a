// Package limiter admits calls under several limits at once: rate limits, calls in flight, pauses that a partner
// asks for, quotas that its headers advertise, limits inferred from its refusals, and the ramp after an outage. It
// knows nothing of HTTP answers or errors: the root package translates.
//
// # Parts
//
//   - A [Limiter] is a view: its own limits, applied after its parent's. All views of one partner share a scheduler,
//     which owns all state.
//   - A [Limit] is counted by a tier: a window (package window), slots for calls in flight, or a store that several
//     processes share.
//   - A [Reservation] is one attempt's place under the limits.
//   - A scope is a set of calls that an answer concerns alike: those to one origin, with one credential, of one route
//     or of one tenant. It holds pauses, advertised quotas and inferred limits.
//
// # The mutex
//
// One mutex, the scheduler's, guards all state; only a slot in flight is given back without it. No call waits while
// it holds the mutex, and no function of a user's runs under it: a limit's When and a quota's Take run outside. The
// limits chosen by When are checked against the generation of the limits afterwards. A change of the limits
// begins a new generation.
//
// # The states of a reservation
//
//	free ─ TryAcquire or Acquire ─▶ taken ─ Settle ─▶ settled ─ Release or Detach ─▶ free
//
// An attempt takes all its tiers at once and is admitted, or takes none and waits. Settle reports the attempt's
// outcome: the windows learn by when the partner has counted the attempt, and the scopes learn from the answer. The
// attempt's slots in flight stay taken until Release, because the body may still be read. Detach moves them to a
// [Slots] value, which gives them back later.
//
// # Waiting
//
// Waiters under the same tiers and the same scopes share one queue. Each queue has a priorityQueue for each level, and
// each priorityQueue has a tenantQueue for each tenant, in order of arrival. The order is that of priority, turn and
// arrival.
//
// A queue whose head has to wait is filed under its blocker: the tier, the pause or the ramp that it waits for the
// longest. Only the first queue of a blocker is looked at, when its time has come or when permits have come back. So
// a call costs the same, however many others wait for something else (the benchmark of waiting calls shows it). A head
// reserves what it needs of the other limits, so that no later one takes it: neither permits that the clock brings back
// in time, nor slots. A call that comes while others wait goes at once if none of them waits for what it needs.
//
// # The fast path
//
// TryAcquire takes all tiers in one small function under the mutex. It serves a call if none waits for the same
// limits, no limit has a condition or a store, and the partner has never advertised a quota, caused a pause or had an
// outage. It costs a few atomic loads, the clock and the mutex: about 75 ns, of which the clock and the mutex are 44.
// The general path takes about 35 ns more. Neither allocates, which TestAllocations pins for the fast path. The
// acquire benchmark compares them with golang.org/x/time/rate.
package limiter
