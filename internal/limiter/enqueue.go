package limiter

// nextTurn gives tq its next turn in the round robin of tenants: one after the last turn served at its level,
// and after the last turn of its tenant.
func (s *scheduler) nextTurn(tq *tenantQueue) {
	t, level := s.tenants[tq.tenant], tq.of.level
	tq.turn = max(s.lastTurn[level], t.turn[level]) + 1
}

// enqueue adds w to the queue of its limits and scopes, and creates that queue if necessary.
func (s *scheduler) enqueue(w *waiter) {
	key := queueKey{w.place.tiers, w.place.taken, w.place.keys()}
	q := s.queues[key]
	if q == nil {
		q = &queue{key: key}
		for i := range q.levels {
			q.levels[i].queue, q.levels[i].level = q, i
		}
		s.addQueue(q)
	}
	q.size++
	s.waitingAt[w.level]++
	q.cost += w.place.cost()
	pq := &q.levels[w.level]
	var head *waiter
	if pq.queues.Len() == 0 {
		s.levels[w.level]++
	} else {
		head = pq.queues.First().head
	}
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
	if pq.queues.First().head != head {
		s.place(pq)
	}
}

// addQueue adds q to the queues, and to those of its scopes.
func (s *scheduler) addQueue(q *queue) {
	if s.queues == nil {
		s.queues, s.byScope = make(map[queueKey]*queue), make(map[uint64]map[*queue]struct{})
	}
	s.queues[q.key] = q
	for _, key := range q.key.scopes {
		if key != 0 {
			if s.byScope[key] == nil {
				s.byScope[key] = make(map[*queue]struct{})
			}
			s.byScope[key][q] = struct{}{}
		}
	}
}

// removeQueue removes q, which is empty.
func (s *scheduler) removeQueue(q *queue) {
	delete(s.queues, q.key)
	for _, key := range q.key.scopes {
		if delete(s.byScope[key], q); len(s.byScope[key]) == 0 {
			delete(s.byScope, key)
		}
	}
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
	head := pq.queues.First().head
	first := head == w
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
	s.waitingAt[w.level]--
	q.cost -= w.place.cost()
	if pq.queues.Len() == 0 {
		if s.levels[w.level]--; s.levels[w.level] == 0 {
			s.passed[w.level] = 0
		}
		s.place(pq)
	} else if first || pq.queues.First().head != head {
		s.place(pq)
	}
	if q.size == 0 {
		s.removeQueue(q)
	}
}

// remove ends the wait of w: it removes w from its queue, if it is in one, and from the count of waiters.
func (s *scheduler) remove(w *waiter) {
	if w.queue != nil {
		s.unlink(w)
	}
	s.delist(w)
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
