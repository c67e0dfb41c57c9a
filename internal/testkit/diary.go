package testkit

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing/synctest"
)

// Diary is an observer of events of type E that keeps them. Its methods may be called only inside a bubble of
// package synctest. The zero Diary is ready for use, and safe for concurrent use.
type Diary[E any] struct {
	mu     sync.Mutex
	events []E
}

// Observe keeps e.
func (d *Diary[E]) Observe(_ context.Context, e E) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.events = append(d.events, e)
}

// Kinds waits until all goroutines of the bubble are blocked, and returns the names of the types of the events,
// without their package.
func (d *Diary[E]) Kinds() (kinds []string) {
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range d.events {
		kind := fmt.Sprintf("%T", e)
		kinds = append(kinds, kind[strings.LastIndex(kind, ".")+1:])
	}
	return kinds
}

// Text waits until all goroutines of the bubble are blocked, and returns everything that the events print by
// any verb and as JSON.
func (d *Diary[E]) Text() string {
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	data, _ := json.Marshal(d.events)
	return fmt.Sprintf("%v %+v %#v %s", d.events, d.events, d.events, data)
}
