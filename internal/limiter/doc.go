// Package limiter admits calls under several limits at once: rate limits, calls in flight, pauses that a partner asks for, quotas
// that its headers advertise, limits inferred from its refusals, and the ramp after an outage. It knows nothing of HTTP answers or
// errors: the root package translates.
//
// # Parts
//
//   - A [Limiter] is a view: its own limits after its parent's. All views of one partner share a scheduler, which owns all state.
//   - A [Limit] is counted by a tier: a window (package window), slots for calls in flight, or a store shared by processes.
//   - A [Reservation] is one attempt's place under the limits.
//   - A scope is a set of calls that an answer concerns alike: all of them, those with one credential, those of one route. It
//     holds pauses, advertised quotas and inferred limits.
//
// # The lock
//
// One mutex, the scheduler's, guards everything. Nobody waits under it, and no function of a user's runs under it: a limit's When
// and a quota's Take run outside, and what they return is checked against the generation of the limits afterwards. A change of
// the limits begins a new generation.
//
// # The life of a reservation
//
//	free ── TryAcquire or Acquire ──▶ taken ── Settle ──▶ settled ── Release or Slots.Release ──▶ free
//
// An attempt that is admitted takes all its tiers at once, or none and waits. Settle says what became of it: the windows learn when
// the partner can have counted it, and the scopes learn from the answer. Its slot in flight stays taken until Release, because
// the body may still be read.
//
// # Waiting
//
// Waiters that are under the same tiers and the same scopes stand in one queue; each queue has a priorityQueue for each level, and
// that a tenantQueue for each tenant, in order of arrival. The scheduler visits the heads in the order of priority, turn and
// arrival. A head that has to wait claims the permits it needs for that round, so that nobody behind it takes them.
//
// # The fast path
//
// When nobody waits, the partner has said nothing, and no limit has a condition or a store, TryAcquire takes all tiers in one
// small function under the mutex: two atomic loads, the clock and the mutex, about 75 ns of which the clock and the mutex are 44.
// The general path takes about 35 ns more. TestAllocations pins that neither allocates; the acquire benchmark compares them with
// golang.org/x/time/rate.
package limiter
