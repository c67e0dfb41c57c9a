package heap_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay/internal/heap"
)

type item struct {
	heap.Place
	n int
}

func (a *item) Before(b *item) bool { return a.n < b.n }

// Whatever is pushed, changed and removed, what comes out is in order, and what is out knows it.
func TestHeap(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		var h heap.Heap[*item]
		var want []*item
		for range 300 {
			switch op := r.IntN(5); {
			case op < 3 || len(want) == 0:
				x := &item{n: r.IntN(50)}
				require.False(t, x.Placed())
				h.Push(x)
				want = append(want, x)
			case op == 3:
				i := r.IntN(len(want))
				h.Remove(want[i])
				require.False(t, want[i].Placed())
				want = slices.Delete(want, i, i+1)
			default:
				x := want[r.IntN(len(want))]
				x.n = r.IntN(50)
				h.Fix(x)
			}
			require.Equal(t, len(want), h.Len())
			least := slices.MinFunc(append([]*item{{n: 1000}}, want...), func(a, b *item) int { return a.n - b.n })
			if h.Len() > 0 {
				require.Equal(t, least.n, h.First().n)
			}
		}
		require.ElementsMatch(t, want, h.All())
		last := -1
		for h.Len() > 0 {
			x := h.Pop()
			require.False(t, x.Placed())
			require.GreaterOrEqual(t, x.n, last)
			last = x.n
		}
	}
}
