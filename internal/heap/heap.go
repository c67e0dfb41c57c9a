// Package heap is a binary heap whose elements know their place in it, so that any of them can be moved or taken out. The
// standard library's container/heap leaves that place, and five methods, to each user.
package heap

// Element is what a [Heap] holds: a pointer to a struct that embeds [Place].
type Element[T any] interface {
	// Before reports whether the element comes out before the other.
	Before(other T) bool
	place() *int
}

// Place is where an element stands in its heap. The zero value is in none.
type Place struct{ at int } // from 1

func (p *Place) place() *int { return &p.at }

var _ interface{ place() *int } = (*Place)(nil)

// Placed reports whether the element is in a heap.
func (p *Place) Placed() bool { return p.at > 0 }

// Heap holds elements with the first of them at hand. The zero value is empty. It is not safe for concurrent use.
type Heap[T Element[T]] struct{ list []T }

// Len returns how many elements there are.
func (h *Heap[T]) Len() int { return len(h.list) }

// First returns the element that comes out next. The heap must not be empty.
func (h *Heap[T]) First() T { return h.list[0] }

// All returns the elements in no order. The slice is the heap's own.
func (h *Heap[T]) All() []T { return h.list }

// Push puts x in, which must be in no heap.
func (h *Heap[T]) Push(x T) {
	h.list = append(h.list, x)
	*x.place() = len(h.list)
	h.up(len(h.list) - 1)
}

// Pop takes the first element out.
func (h *Heap[T]) Pop() T {
	x := h.list[0]
	h.Remove(x)
	return x
}

// Remove takes out x, which must be in the heap.
func (h *Heap[T]) Remove(x T) {
	i, last := *x.place()-1, len(h.list)-1
	h.swap(i, last)
	var none T
	h.list[last] = none
	h.list = h.list[:last]
	*x.place() = 0
	if i < last {
		h.Fix(h.list[i])
	}
}

// Fix moves x, which must be in the heap, to where it belongs after it has changed.
func (h *Heap[T]) Fix(x T) {
	h.up(*x.place() - 1)
	h.down(*x.place() - 1)
}

func (h *Heap[T]) swap(i, j int) {
	h.list[i], h.list[j] = h.list[j], h.list[i]
	*h.list[i].place(), *h.list[j].place() = i+1, j+1
}

func (h *Heap[T]) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !h.list[i].Before(h.list[parent]) {
			return
		}
		h.swap(i, parent)
		i = parent
	}
}

func (h *Heap[T]) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(h.list) {
			return
		}
		if child+1 < len(h.list) && h.list[child+1].Before(h.list[child]) {
			child++
		}
		if !h.list[child].Before(h.list[i]) {
			return
		}
		h.swap(i, child)
		i = child
	}
}
