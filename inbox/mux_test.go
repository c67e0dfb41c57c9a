package inbox_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay/inbox"
)

// The partner's own handler goes before any's, the exact type before the longest beginning, and all before the
// one for the rest.
func TestMux(t *testing.T) {
	t.Parallel()
	var mux inbox.Mux
	var got string
	on := func(partner, typ string) {
		mux.On(partner, typ, func(context.Context, inbox.Item) error { got = partner + " " + typ; return nil })
	}
	require.ErrorIs(
		t,
		mux.Handle(t.Context(), inbox.Item{Partner: "acme", Type: "a"}),
		inbox.ErrUnhandled,
		"the zero value",
	)
	on("acme", "contact.updated")
	on("acme", "contact.*")
	on("acme", "contact.up*")
	on("acme", "c*")
	on("", "contact.updated")
	on("", "contact.upset")
	on("", "invoice.*")
	on("initech", "*")
	on("", "invoice.paid")
	for _, c := range [][3]string{
		{"acme", "contact.updated", "acme contact.updated"},
		{"acme", "contact.upset", "acme contact.up*"},
		{"acme", "contact.deleted", "acme contact.*"},
		{"acme", "contact.", "acme contact.*"},
		{"acme", "contact", "acme c*"},
		{"acme", "Contact.updated", ""},
		{"acme", "invoice.paid", " invoice.paid"},
		{"acme", "invoice.sent", " invoice.*"},
		{"acme", "", ""},
		{"acme", "*", ""},
		{"other", "contact.updated", " contact.updated"},
		{"other", "contact.deleted", ""},
		{"initech", "contact.updated", "initech *"},
		{"initech", "", "initech *"},
		{"", "contact.updated", " contact.updated"},
	} {
		got = ""
		err := mux.Handle(t.Context(), inbox.Item{Partner: c[0], Type: c[1]})
		require.Equal(t, c[2], got, c)
		if c[2] == "" {
			require.ErrorIs(t, err, inbox.ErrUnhandled)
		} else {
			require.NoError(t, err)
		}
	}
	mux.Otherwise(func(context.Context, inbox.Item) error { return errTrouble })
	require.ErrorIs(t, mux.Handle(t.Context(), inbox.Item{Partner: "acme", Type: "x"}), errTrouble)
	got = ""
	require.NoError(t, mux.Handle(t.Context(), inbox.Item{Partner: "acme", Type: "contact.updated"}))
	require.Equal(t, "acme contact.updated", got)
	mux.Otherwise(nil)
	require.ErrorIs(t, mux.Handle(t.Context(), inbox.Item{Partner: "acme", Type: "x"}), inbox.ErrUnhandled)
}

// The item and the context get through, and so does the error.
func TestMuxHandsOn(t *testing.T) {
	t.Parallel()
	var mux inbox.Mux
	type key struct{}
	ctx := context.WithValue(t.Context(), key{}, "value")
	mux.On("acme", "a", func(ctx context.Context, it inbox.Item) error {
		require.Equal(t, "value", ctx.Value(key{}))
		return fmt.Errorf("%s: %w", it.ID, inbox.Permanent(errTrouble))
	})
	err := mux.Handle(ctx, inbox.Item{Partner: "acme", Type: "a", ID: "evt_1"})
	require.EqualError(t, err, "evt_1: trouble")
	require.ErrorIs(t, err, errTrouble)
}

// Mistakes in the program panic where they are made.
func TestMuxMistakes(t *testing.T) {
	t.Parallel()
	var mux inbox.Mux
	h := func(context.Context, inbox.Item) error { return nil }
	mux.On("acme", "a", h)
	mux.On("acme", "a*", h)
	mux.On("", "a", h)
	mux.On("", "*", h)
	for _, c := range []struct {
		partner, typ string
		h            inbox.Handler
	}{{"acme", "a", h}, {"acme", "a*", h}, {"", "a", h}, {"", "*", h}, {"acme", "", h}, {"acme", "b", nil}} {
		require.Panics(t, func() { mux.On(c.partner, c.typ, c.h) }, c)
	}
	mux.On("acme", "b", h) // none of those has left a lock
	require.NoError(t, mux.Handle(t.Context(), inbox.Item{Partner: "acme", Type: "b"}))
}

// Handlers may come while events are handled.
func TestMuxConcurrently(t *testing.T) {
	t.Parallel()
	var mux inbox.Mux
	h := func(context.Context, inbox.Item) error { return nil }
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			mux.On("acme", fmt.Sprint("a", i), h)
			mux.On("acme", fmt.Sprint("b", i, "*"), h)
			mux.Otherwise(h)
			require.NoError(t, mux.Handle(t.Context(), inbox.Item{Partner: "acme", Type: fmt.Sprint("a", i)}))
		})
	}
	wg.Wait()
}
