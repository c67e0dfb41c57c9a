package limiter

// nextTurn gives tq its next turn in the round robin of tenants: one after the last turn served at its level,
// and after the last turn of its tenant.
func (s *scheduler) nextTurn(tq *tenantQueue) {
	t, level := s.tenants[tq.tenant], tq.of.level
	tq.turn = max(s.lastTurn[level], t.turn[level]) + 1
}

// enqueue adds w to the queue of its limits and scopes, and creates that queue if necessary.
func (s *scheduler) enqueue(w *waiter) {
	key := queueKey{w.place.tiers, w.place.taken, s.scopesOf(w.place)}
	q := s.queues[key]
	if q == nil {
		q = &queue{key: key}
		for i := range q.levels {
			q.levels[i].queue, q.levels[i].level = q, i
		}
		if s.queues == nil {
			s.queues = make(map[queueKey]*queue)
		}
		s.queues[key] = q
		q.eachTier(func(t *tier) { t.queues++ })
		for _, sc := range key.scopes {
			if sc != nil {
				sc.queues++
			}
		}
	}
	q.size++
	q.cost += w.place.cost()
	pq := &q.levels[w.level]
	tq := pq.byTenant[w.place.Tenant]
	if tq == nil {
		tq = &tenantQueue{of: pq, tenant: w.place.Tenant, head: w}
		s.nextTurn(tq)
		if pq.byTenant == nil {
			pq.byTenant = make(map[string]*tenantQueue)
		}
		pq.byTenant[tq.tenant] = tq
		tq.insert(w)
		pq.queues.Push(tq)
	} else {
		tq.insert(w)
		pq.queues.Fix(tq)
	}
	s.place(pq)
}

// insert adds w to tq in order of arrival.
func (tq *tenantQueue) insert(w *waiter) {
	w.queue = tq
	if tq.head == w { // enqueue has just created tq with this head
		tq.tail = w
		return
	}
	after := tq.tail
	for after != nil && after.seq > w.seq {
		after = after.prev
	}
	w.prev = after
	if after == nil {
		w.next, tq.head = tq.head, w
	} else {
		w.next, after.next = after.next, w
	}
	if w.next == nil {
		tq.tail = w
	} else {
		w.next.prev = w
	}
}

// unlink removes w from its queue, and removes the queue if it is empty then.
func (s *scheduler) unlink(w *waiter) {
	tq := w.queue
	pq := tq.of
	q := pq.queue
	if w.prev == nil {
		tq.head = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		tq.tail = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.prev, w.next, w.queue = nil, nil, nil
	if tq.head == nil {
		pq.queues.Remove(tq)
		delete(pq.byTenant, tq.tenant)
	} else {
		pq.queues.Fix(tq)
	}
	q.size--
	q.cost -= w.place.cost()
	s.place(pq)
	if q.size == 0 {
		delete(s.queues, q.key)
		q.eachTier(func(t *tier) { t.queues-- })
		for _, sc := range q.key.scopes {
			if sc != nil {
				sc.queues--
			}
		}
	}
}

// remove ends the wait of w: it removes w from its queue, if it is in one, and from the count of waiters.
func (s *scheduler) remove(w *waiter) {
	if w.queue != nil {
		s.unlink(w)
	}
	s.delist(w)
}

// eachTier calls f for each configured tier that the queue is under. The tiers of scopes are left out,
// because they come and go.
func (q *queue) eachTier(f func(*tier)) {
	for i, t := range q.key.tiers.tiers {
		if q.key.taken>>i&1 != 0 {
			f(t)
		}
	}
}

// tenantsAt returns the number of tenants that wait in the queue at level, or 0 if some waiter has another
// level.
func (q *queue) tenantsAt(level int) int {
	for i := range q.levels {
		if i != level && q.levels[i].queues.Len() > 0 {
			return 0
		}
	}
	return q.levels[level].queues.Len()
}

// place moves pq to its position in the heap of heads of its level, or removes it from the heap if it has no
// waiters.
func (s *scheduler) place(pq *priorityQueue) {
	h := &s.heads[pq.level]
	switch {
	case pq.queues.Len() == 0:
		if pq.Placed() {
			h.Remove(pq)
		}
		if h.Len() == 0 && len(s.deferred) == 0 {
			s.passed[pq.level] = 0
		}
	case pq.Placed():
		h.Fix(pq)
	default:
		h.Push(pq)
	}
}
