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
			q.lanes[i].queue, q.lanes[i].level, q.lanes[i].index = q, i, -1
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
		r = &tenantRow{lane: l, tenant: w.ticket.Tenant, index: len(l.rows), head: w}
		ln.nextTurn(r)
		if l.tenants == nil {
			l.tenants = make(map[string]*tenantRow)
		}
		l.tenants[r.tenant] = r
		l.rows = append(l.rows, r)
	}
	r.insert(w)
	l.up(r.index)
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
		i, last := r.index, len(l.rows)-1
		l.swap(i, last)
		l.rows[last] = nil
		l.rows = l.rows[:last]
		delete(l.tenants, r.tenant)
		if i < last {
			l.fix(l.rows[i])
		}
	} else {
		l.fix(r)
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
		if i != level && len(q.lanes[i].rows) > 0 {
			return 0
		}
	}
	return len(q.lanes[level].rows)
}

func (l *lane) fix(r *tenantRow) {
	l.up(r.index)
	l.down(r.index)
}

func (l *lane) swap(i, j int) {
	l.rows[i], l.rows[j] = l.rows[j], l.rows[i]
	l.rows[i].index, l.rows[j].index = i, j
}

func (l *lane) up(i int) {
	for i > 0 {
		p := (i - 1) / 2
		if !l.rows[i].before(l.rows[p]) {
			return
		}
		l.swap(i, p)
		i = p
	}
}

func (l *lane) down(i int) {
	for {
		c := 2*i + 1
		if c >= len(l.rows) {
			return
		}
		if c+1 < len(l.rows) && l.rows[c+1].before(l.rows[c]) {
			c++
		}
		if !l.rows[c].before(l.rows[i]) {
			return
		}
		l.swap(i, c)
		i = c
	}
}

// laneHeap holds the lanes of one priority that have waiters, by their heads.
type laneHeap []*lane

func (h laneHeap) before(i, j int) bool { return h[i].rows[0].before(h[j].rows[0]) }

func (h laneHeap) swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h laneHeap) up(i int) {
	for i > 0 && h.before(i, (i-1)/2) {
		h.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
}

func (h laneHeap) down(i int) {
	for {
		c := 2*i + 1
		if c >= len(h) {
			return
		}
		if c+1 < len(h) && h.before(c+1, c) {
			c++
		}
		if !h.before(c, i) {
			return
		}
		h.swap(i, c)
		i = c
	}
}

// place puts l where its head belongs, or takes it away when it has none.
func (ln *line) place(l *lane) {
	h := &ln.lanes[l.level]
	switch {
	case len(l.rows) == 0:
		if l.index >= 0 {
			ln.displace(l)
		}
		if len(*h) == 0 && len(ln.aside) == 0 {
			ln.passed[l.level] = 0
		}
	case l.index < 0:
		l.index = len(*h)
		*h = append(*h, l)
		h.up(l.index)
	default:
		h.up(l.index)
		h.down(l.index)
	}
}

// displace takes l out of the heap.
func (ln *line) displace(l *lane) {
	h := &ln.lanes[l.level]
	i, last := l.index, len(*h)-1
	h.swap(i, last)
	(*h)[last] = nil
	*h = (*h)[:last]
	l.index = -1
	if i < last {
		j := (*h)[i]
		h.up(i)
		h.down(j.index)
	}
}
