package importer_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/importer"
	"github.com/belay-go/belay/schema"
)

type person struct{ ID, Name string }

// people returns pages of two people each, written "id=name".
func people(all ...string) iter.Seq2[belay.Page[person], error] {
	return func(yield func(belay.Page[person], error) bool) {
		for i := 0; i < len(all); i += 2 {
			p := belay.Page[person]{Cursor: fmt.Sprint(i + 2)}
			for _, one := range all[i:min(i+2, len(all))] {
				id, name, _ := strings.Cut(one, "=")
				p.Items = append(p.Items, person{id, name})
			}
			if i+2 >= len(all) {
				p.Cursor = ""
			}
			if !yield(p, nil) {
				return
			}
		}
	}
}

// told collects what observers are told, a line each.
func told(into *[]string) belay.Observer {
	return belay.ObserverFunc(func(_ context.Context, e belay.Event) {
		switch e := e.(type) {
		case belay.ImportProgress:
			*into = append(*into, fmt.Sprintf("%s %s read %d saved %d skipped %d rejected %d +%d ~%d -%d ended=%t err=%v",
				e.Partner, e.Import, e.Read, e.Saved, e.Skipped, e.Rejected, e.Added, e.Updated, e.Deleted, e.Ended, e.Err))
		case belay.RecordImported:
			*into = append(*into, fmt.Sprintf("%s %s %v", e.ID, e.Change, e.Err))
		case belay.SchemaChanged:
			*into = append(*into, "schema: "+e.What+": "+e.Difference)
		}
		panic("contained")
	})
}

// Observers are told of each record of a full pass that changed, and of the end, once.
func TestImportEvents(t *testing.T) {
	t.Parallel()
	var events []string
	no := errors.New("no name")
	job := importer.Job[person, person]{
		Name: "people", Partner: "crm", Observers: []belay.Observer{told(&events), nil}, BatchSize: 2,
		ID:    func(p person) string { return p.ID },
		Adapt: func(p person) (person, error) { return p, nil },
		Save:  func(context.Context, importer.Batch[person]) error { return nil },
	}
	changes, err := importer.NewChanges(func(p person) string { return p.ID }, nil)
	require.NoError(t, err)
	pass := func(all ...string) importer.Stats {
		events = nil
		stats, err := importer.Full(t.Context(), job, changes, people(all...), nil)
		require.NoError(t, err)
		return stats
	}
	pass("1=a", "2=b", "3=c")
	require.Equal(t, []string{
		"1 added <nil>", "2 added <nil>",
		"crm people read 2 saved 2 skipped 0 rejected 0 +2 ~0 -0 ended=false err=<nil>",
		"3 added <nil>",
		"crm people read 3 saved 3 skipped 0 rejected 0 +3 ~0 -0 ended=true err=<nil>",
	}, events)
	stats := pass("1=a", "2=x", "4=d")
	require.Equal(t, []int{1, 1, 1}, []int{stats.Added, stats.Updated, stats.Deleted})
	require.Equal(t, []string{
		"2 updated <nil>", "4 added <nil>", "3 deleted <nil>",
		"crm people read 3 saved 2 skipped 1 rejected 0 +1 ~1 -1 ended=true err=<nil>",
	}, events)

	job.Validate = func(p person) error {
		if p.Name == "" {
			return no
		}
		return nil
	}
	pass("1=a", "2=", "4=d")
	require.Equal(t, "2 rejected no name", events[0])

	// A record that cannot be saved is rejected, and not told as saved.
	job.Validate = nil
	job.Save = func(_ context.Context, b importer.Batch[person]) error {
		for _, p := range b.Records {
			if p.ID == "2" {
				return no
			}
		}
		return nil
	}
	events = nil
	stats, err = job.Run(t.Context(), people("1=a", "2=b"))
	require.NoError(t, err)
	require.Equal(t, 1, stats.Saved)
	require.Equal(t, []string{
		"2 rejected no name", "1 saved <nil>",
		"crm people read 2 saved 1 skipped 0 rejected 1 +0 ~0 -0 ended=true err=<nil>",
	}, events)

	// A run that ends early says why.
	events = nil
	broken := errors.New("broken")
	_, err = job.Run(t.Context(), func(yield func(belay.Page[person], error) bool) { yield(belay.Page[person]{}, broken) })
	require.ErrorIs(t, err, broken)
	require.Equal(t, []string{"crm people read 0 saved 0 skipped 0 rejected 0 +0 ~0 -0 ended=true err=broken"}, events)
}

// A difference from the schema is told once.
func TestSchemaEvents(t *testing.T) {
	t.Parallel()
	var events []string
	job := importer.Job[json.RawMessage, person]{
		Name: "people", Observers: []belay.Observer{told(&events)},
		Schema: &schema.Schema{Fields: map[string]schema.Kind{"id": schema.Text}},
		Adapt:  func(json.RawMessage) (person, error) { return person{}, nil },
		Save:   func(context.Context, importer.Batch[person]) error { return nil },
	}
	_, err := job.Run(t.Context(), func(yield func(belay.Page[json.RawMessage], error) bool) {
		yield(belay.Page[json.RawMessage]{Items: []json.RawMessage{[]byte(`{"id":1}`), []byte(`{"id":2}`)}}, nil)
	})
	require.NoError(t, err)
	require.Equal(t, "schema: people: id is number", events[0])
	require.Len(t, events, 2)
}
