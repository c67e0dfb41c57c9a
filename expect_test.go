package belay_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
	"github.com/belay-go/belay/schema"
)

// A field that has moved decodes to nothing without an error: with a schema it is an event, once, or a failed call.
func TestExpect(t *testing.T) {
	t.Parallel()
	type record struct{ Address struct{ Full string } }
	for name, c := range map[string]struct {
		mode    schema.Mode
		body    string
		differs string
		fails   bool
	}{
		"as promised":       {schema.Reject, `{"address":{"full":"x"}}`, "", false},
		"moved":             {schema.Report, `{"location":{"formatted":"x"}}`, "missing address.full; unknown location.formatted", false},
		"moved, strict":     {schema.Reject, `{"location":{"formatted":"x"}}`, "missing address.full; unknown location.formatted", true},
		"UTF-8 with a mark": {schema.Reject, "\xef\xbb\xbf" + `{"address":{"full":"x"}}`, "", false},
	} {
		var events []belay.SchemaChanged
		client := newClient(t, testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
			return testkit.Raw(200, "application/json", c.body), nil
		}), belay.WithName("crm"), belay.WithIntegration("acme"),
			belay.WithObserver(belay.ObserverFunc(func(_ context.Context, e belay.Event) {
				if s, ok := e.(belay.SchemaChanged); ok {
					events = append(events, s)
				}
			})))
		expect := belay.Expect(&schema.Schema{Fields: map[string]schema.Kind{"address.full": schema.Text}, Mode: c.mode, Closed: true})
		for range 3 {
			got, err := belay.Get[record](t.Context(), client, "/people/{id}", belay.PathValue("id", "1"), expect)
			require.Equal(t, c.fails, err != nil, name)
			if c.fails {
				require.ErrorIs(t, err, belay.ErrData)
				require.ErrorContains(t, err, "the record's shape has changed: missing address.full")
				require.Zero(t, got)
			}
		}
		if c.differs == "" {
			require.Empty(t, events, name)
			continue
		}
		require.Equal(t, []belay.SchemaChanged{{
			Partner: "crm", Integration: "acme", What: "GET /people/{id}", Difference: c.differs,
		}}, events, name)
	}
}

// Each page of a list is compared, and what has no body is not.
func TestExpectElsewhere(t *testing.T) {
	t.Parallel()
	body, status := `{"items":[{"id":1},{"id":"2"}]}`, 200
	c := newClient(t, testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
		return testkit.Raw(status, "application/json", body), nil
	}))
	strict := belay.Expect(&schema.Schema{Fields: map[string]schema.Kind{"items[].id": schema.Number}, Mode: schema.Reject})
	var failed error
	for _, err := range belay.Items[any](t.Context(), c, "/x", belay.CursorPages{Items: "items", Cursor: "next", Param: "after"}, strict) {
		failed = err
	}
	require.ErrorIs(t, failed, belay.ErrData)
	require.ErrorContains(t, failed, "items[].id is text")
	body = "null"
	got, err := belay.Get[*int](t.Context(), c, "/x", strict)
	require.NoError(t, err)
	require.Nil(t, got)
	_, err = belay.Get[belay.None](t.Context(), c, "/x", strict)
	require.NoError(t, err)
	status, body = 204, ""
	_, err = belay.Get[map[string]any](t.Context(), c, "/x", strict)
	require.NoError(t, err)
	_, err = belay.Get[map[string]any](t.Context(), c, "/x", belay.Expect(nil))
	require.NoError(t, err)
	_, err = belay.Get[map[string]any](t.Context(), c, "/x", belay.Expect(&schema.Schema{}))
	require.ErrorIs(t, err, belay.ErrInvalid)
	require.ErrorContains(t, err, "Schema.Fields is empty")
}

// An answer that does not fit is no answer: the kept one serves.
func TestExpectServesAKeptAnswer(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "stale", func(t *testing.T) {
		body := `{"id":1}`
		c := newClient(t, testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
			return testkit.Raw(200, "application/json", body), nil
		}), belay.WithStaleIfError(memory(t), time.Hour))
		strict := belay.Expect(&schema.Schema{Fields: map[string]schema.Kind{"id": schema.Number}, Mode: schema.Reject})
		for range 2 {
			var info belay.Info
			got, err := belay.Get[map[string]any](t.Context(), c, "/x", strict, belay.Into(&info))
			require.NoError(t, err)
			require.Equal(t, map[string]any{"id": 1.0}, got)
			require.Equal(t, body != `{"id":1}`, info.Stale)
			body = `{"id":"one"}`
		}
	})
}
