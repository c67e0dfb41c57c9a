package inbox

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/belay-go/belay"
)

// Put stores the new events of a delivery before it returns, and reports whether there was any. An event without an ID
// is an error. An event that is [belay.WebhookEvent].Anonymous is always new: its ID gets a random suffix, so that no
// event is taken for a repetition of another one that says the same. ErrFull and ErrClosed mean that nothing was
// stored, as does an error of the store.
func (w *Worker) Put(ctx context.Context, d belay.Delivery) (stored bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if len(d.Events) == 0 {
		return false, nil
	}
	items, err := Items(d, w.cfg.Key)
	if err != nil {
		return false, err
	}
	if err := w.reserve(len(items)); err != nil {
		if errors.Is(err, ErrFull) && w.known(ctx, items) {
			return false, nil // the partner need not send duplicates again
		}
		return false, err
	}
	added := false
	defer func() { // also when the store panics
		w.mu.Lock()
		w.reserved -= len(items)
		for _, it := range items {
			switch {
			case !added:
			case it.Seq == 0:
				w.numbers.duplicates++
			default:
				w.numbers.received++
				if w.term != nil && w.schedule.all[it.Seq] == nil { // otherwise another process handles it
					w.schedule.add(w.jobOf(it))
				}
			}
		}
		w.mu.Unlock()
		w.poke()
	}()
	// A cancellation by the caller from here on would leave open whether the events were stored.
	if err := w.store.Add(context.WithoutCancel(ctx), items); err != nil {
		return false, err
	}
	added = true
	for _, it := range items {
		stored = stored || it.Seq != 0
	}
	return stored, nil
}

// known reports whether the store knows all of the items. If so, it counts them as duplicates.
func (w *Worker) known(ctx context.Context, items []*Item) bool {
	for _, it := range items {
		if known, err := w.store.Known(ctx, it); err != nil || !known {
			return false
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.numbers.duplicates += uint64(len(items))
	return true
}

// reserve reserves capacity for n events. If nothing is pending, it admits even more than MaxPending events,
// because the delivery could otherwise never be stored.
func (w *Worker) reserve(n int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return ErrClosed
	}
	if have := len(w.schedule.all) + w.reserved; have > 0 && have+n > w.cfg.MaxPending {
		return fmt.Errorf("%w: %d events wait, %d may", ErrFull, have, w.cfg.MaxPending)
	}
	w.reserved += n
	return nil
}

// Items returns the events of a delivery as items, for an [Inbox] of your own. key is [Config].Key; nil means any
// order. An event without an ID is an error.
func Items(d belay.Delivery, key func(Item) string) ([]*Item, error) {
	now := time.Now()
	items := make([]*Item, len(d.Events))
	for i := range d.Events {
		e := &d.Events[i]
		if e.ID == "" {
			return nil, fmt.Errorf("inbox: event %d of %d has no ID", i+1, len(d.Events))
		}
		it := &Item{
			Partner: d.Partner, Integration: d.Integration, Delivery: d.ID, ID: e.ID, Type: e.Type, Time: e.Time,
			Received: now, Due: now, Header: d.Header, Body: e.Data,
		}
		if e.Anonymous {
			it.ID += "#" + rand.Text()
		}
		switch {
		case e.Data == nil:
			it.Body = d.Body
		case len(e.Data) < len(d.Body):
			it.Body = bytes.Clone(e.Data) // a slice would keep the whole delivery in memory
		}
		if key != nil {
			it.Key = key(*it)
		}
		items[i] = it
	}
	return items, nil
}
