package importer

import (
	"errors"
	"iter"

	"github.com/belay-go/belay"
)

// mostRestarts is how often a pass begins again because the partner does not know its cursor any more.
const mostRestarts = 3

// againWhenExpired returns an iterator over the pages of list that begins the list again when its cursor expires. The
// pages that have come already come again then. The parameter of list says whether that is so.
func againWhenExpired[Raw any](
	list func(again bool) iter.Seq2[belay.Page[Raw], error],
) iter.Seq2[belay.Page[Raw], error] {
	return func(yield func(belay.Page[Raw], error) bool) {
		for n := 0; ; n++ {
			restart, pages := false, list(n > 0)
			if pages == nil {
				yield(belay.Page[Raw]{}, errors.New("importer: the pages are nil"))
				return
			}
			for page, err := range pages {
				if restart = n < mostRestarts && errors.Is(err, belay.ErrCursorExpired); restart {
					break
				}
				if !yield(page, err) {
					return
				}
			}
			if !restart {
				return
			}
		}
	}
}
