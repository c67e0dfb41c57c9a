package limiter

// nextTurn gives a row its turn: after the last that went, and after the tenant's own last.
func (s *scheduler) nextTurn(tq *tenantQueue) {
	t, level := s.tenants[tq.tenant], tq.of.level
	tq.turn = max(s.lastTurn[level], t.turn[level]) + 1
}

// enqueue puts w into the queue of its limits.
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

// insert puts w into the row by its arrival.
func (tq *tenantQueue) insert(w *waiter) {
	w.queue = tq
	if tq.head == w { // the row is new
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

// unlink takes w out of its queue.
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

// remove takes w out of the line.
func (s *scheduler) remove(w *waiter) {
	if w.queue != nil {
		s.unlink(w)
	}
	s.delist(w)
}

// eachTier calls f for every tier of the queue that counts by its set; those of the groups come and go.
func (q *queue) eachTier(f func(*tier)) {
	for i, t := range q.key.tiers.tiers {
		if q.key.taken>>i&1 != 0 {
			f(t)
		}
	}
}

// tenantsAt returns how many tenants wait in the queue, 0 when one waits with another priority.
func (q *queue) tenantsAt(level int) int {
	for i := range q.levels {
		if i != level && q.levels[i].queues.Len() > 0 {
			return 0
		}
	}
	return q.levels[level].queues.Len()
}

// place puts l where its head belongs among the heads of its level, or takes it out when it has none.
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
