// Package heap is a binary heap whose elements know their position in it, so that any element can be moved or
// removed. The standard library's container/heap leaves that position, and five methods, to each user.
package heap

// Element is an element of a [Heap]: a pointer to a struct that embeds [Place].
type Element[T any] interface {
	// Before reports whether the element comes out before other.
	Before(other T) bool
	place() *int
}

// Place is the position of an element in its heap. The zero value means that the element is in no heap.
type Place struct{ at int } // counted from 1

func (p *Place) place() *int { return &p.at }

var _ interface{ place() *int } = (*Place)(nil)

// Placed reports whether the element is in a heap.
func (p *Place) Placed() bool { return p.at > 0 }

// Heap holds elements and gives access to the first one. The zero value is an empty heap. It is not safe for
// concurrent use.
type Heap[T Element[T]] struct{ list []T }

// Len returns the number of elements.
func (h *Heap[T]) Len() int { return len(h.list) }

// First returns the element that comes out next. The heap must not be empty.
func (h *Heap[T]) First() T { return h.list[0] }

// All returns the elements in no particular order. The slice belongs to the heap.
func (h *Heap[T]) All() []T { return h.list }

// Push adds x, which must not be in a heap.
func (h *Heap[T]) Push(x T) {
	h.list = append(h.list, x)
	*x.place() = len(h.list)
	h.up(len(h.list) - 1)
}

// Pop removes the first element and returns it. The heap must not be empty.
func (h *Heap[T]) Pop() T {
	x := h.list[0]
	h.Remove(x)
	return x
}

// Remove removes x, which must be in the heap.
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

// Fix moves x, which must be in the heap, to its new position after it has changed.
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
