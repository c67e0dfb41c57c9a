package limiter

// nextTurn gives a row its turn: after the last that went, and after the tenant's own last.
func (ln *line) nextTurn(r *tenantRow) {
	t, level := ln.tenants[r.tenant], r.lane.level
	r.turn = max(ln.turn[level], t.turn[level]) + 1
}

// enqueue puts w into the queue of its limits.
func (ln *line) enqueue(w *waiter) {
	key := queueKey{w.ticket.tiers, w.ticket.taken, ln.groupsOf(w.ticket)}
	q := ln.queues[key]
	if q == nil {
		q = &queue{key: key}
		for i := range q.lanes {
			q.lanes[i].queue, q.lanes[i].level = q, i
		}
		if ln.queues == nil {
			ln.queues = make(map[queueKey]*queue)
		}
		ln.queues[key] = q
		q.eachTier(func(t *tier) { t.queues++ })
		for _, g := range key.groups {
			if g != nil {
				g.queues++
			}
		}
	}
	q.size++
	q.cost += w.ticket.cost()
	l := &q.lanes[w.level]
	r := l.tenants[w.ticket.Tenant]
	if r == nil {
		r = &tenantRow{lane: l, tenant: w.ticket.Tenant, head: w}
		ln.nextTurn(r)
		if l.tenants == nil {
			l.tenants = make(map[string]*tenantRow)
		}
		l.tenants[r.tenant] = r
		r.insert(w)
		l.rows.Push(r)
	} else {
		r.insert(w)
		l.rows.Fix(r)
	}
	ln.place(l)
}

// insert puts w into the row by its arrival.
func (r *tenantRow) insert(w *waiter) {
	w.row = r
	if r.head == w { // the row is new
		r.tail = w
		return
	}
	after := r.tail
	for after != nil && after.seq > w.seq {
		after = after.prev
	}
	w.prev = after
	if after == nil {
		w.next, r.head = r.head, w
	} else {
		w.next, after.next = after.next, w
	}
	if w.next == nil {
		r.tail = w
	} else {
		w.next.prev = w
	}
}

// unlink takes w out of its queue.
func (ln *line) unlink(w *waiter) {
	r := w.row
	l := r.lane
	q := l.queue
	if w.prev == nil {
		r.head = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		r.tail = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.prev, w.next, w.row = nil, nil, nil
	if r.head == nil {
		l.rows.Remove(r)
		delete(l.tenants, r.tenant)
	} else {
		l.rows.Fix(r)
	}
	q.size--
	q.cost -= w.ticket.cost()
	ln.place(l)
	if q.size == 0 {
		delete(ln.queues, q.key)
		q.eachTier(func(t *tier) { t.queues-- })
		for _, g := range q.key.groups {
			if g != nil {
				g.queues--
			}
		}
	}
}

// remove takes w out of the line.
func (ln *line) remove(w *waiter) {
	if w.row != nil {
		ln.unlink(w)
	}
	ln.delist(w)
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
	for i := range q.lanes {
		if i != level && q.lanes[i].rows.Len() > 0 {
			return 0
		}
	}
	return q.lanes[level].rows.Len()
}

// place puts l where its head belongs among the heads of its level, or takes it out when it has none.
func (ln *line) place(l *lane) {
	h := &ln.lanes[l.level]
	switch {
	case l.rows.Len() == 0:
		if l.Placed() {
			h.Remove(l)
		}
		if h.Len() == 0 && len(ln.aside) == 0 {
			ln.passed[l.level] = 0
		}
	case l.Placed():
		h.Fix(l)
	default:
		h.Push(l)
	}
}
