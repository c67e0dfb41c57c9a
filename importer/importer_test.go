package importer_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/importer"
	"github.com/belay-go/belay/schema"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// list yields pages of size numbers from start to n, with the next number as the cursor.
func list(start, n, size int, fails ...error) iter.Seq2[belay.Page[int], error] {
	return func(yield func(belay.Page[int], error) bool) {
		for from := start; ; from += size {
			p := belay.Page[int]{Total: n}
			for i := from; i < min(from+size, n); i++ {
				p.Items = append(p.Items, i)
			}
			if from+size < n {
				p.Cursor = fmt.Sprint(from + size)
			}
			if !yield(p, nil) || p.Cursor == "" {
				return
			}
			if len(fails) > 0 && fails[0] != nil && from+size >= n/2 {
				yield(belay.Page[int]{}, fails[0])
				return
			}
		}
	}
}

// table is a store that keeps rows and checkpoint together.
type table struct {
	rows    []int
	cursor  string
	done    bool
	batches []int // their sizes
	refuse  func(b importer.Batch[int]) error
	mark    []byte
}

func (s *table) save(_ context.Context, b importer.Batch[int]) error {
	if s.refuse != nil {
		if err := s.refuse(b); err != nil {
			return err
		}
	}
	s.rows = append(s.rows, b.Records...)
	if !b.Partial {
		s.cursor, s.done, s.mark = b.Cursor, b.Done, b.Mark
		s.batches = append(s.batches, len(b.Records))
	}
	return nil
}

func identity(i int) (int, error) { return i, nil }

func numbers(from, to int) (out []int) {
	for i := from; i < to; i++ {
		out = append(out, i)
	}
	return out
}

// Whole pages in batches, each with the cursor behind it; what breaks off goes on from there, none lost and none twice.
func TestJob(t *testing.T) {
	for _, workers := range []int{0, 4} {
		s := new(table)
		var told []importer.Stats
		j := importer.Job[int, int]{
			Adapt:     identity,
			Save:      s.save,
			BatchSize: 25,
			Workers:   workers,
			Progress:  func(st importer.Stats) { told = append(told, st) },
		}
		stats, err := j.Run(t.Context(), list(0, 105, 10))
		require.NoError(t, err)
		require.Equal(t, numbers(0, 105), s.rows)
		require.Equal(t, []int{30, 30, 30, 15}, s.batches)
		require.True(t, s.done && s.cursor == "" && stats.Done)
		require.Equal(
			t,
			[]int{11, 105, 105, 0, 4, 105},
			[]int{stats.Pages, stats.Read, stats.Saved, stats.Rejected, stats.Batches, stats.Total},
		)
		require.Len(t, told, 4)
		require.Equal(t, "30", told[0].Cursor)
		require.Positive(t, told[0].Left)
		require.Zero(t, told[3].Left)
		require.Positive(t, stats.PeakHeap)
		require.Positive(t, stats.Rate)
	}
	// It breaks off in the middle, and goes on.
	s, broken := new(table), errors.New("the partner is down")
	j := importer.Job[int, int]{Adapt: identity, Save: s.save, BatchSize: 25}
	stats, err := j.Run(t.Context(), list(0, 100, 10, broken))
	require.ErrorIs(t, err, broken)
	require.Equal(t, numbers(0, 50), s.rows, "what was whole is saved")
	require.Equal(t, []string{"50", "50"}, []string{s.cursor, stats.Cursor})
	require.False(t, stats.Done)
	_, err = j.Run(t.Context(), list(50, 100, 10))
	require.NoError(t, err)
	require.Equal(t, numbers(0, 100), s.rows)
	// An error first, an empty list, a cancel.
	s = new(table)
	j.Save = s.save
	_, err = j.Run(t.Context(), func(yield func(belay.Page[int], error) bool) { yield(belay.Page[int]{}, broken) })
	require.ErrorIs(t, err, broken)
	require.Empty(t, s.batches, "nothing was saved, and no checkpoint")
	_, err = j.Run(t.Context(), list(0, 0, 10))
	require.NoError(t, err)
	require.True(t, s.done)
	ctx, cancel := context.WithCancel(t.Context())
	s = &table{refuse: func(importer.Batch[int]) error { cancel(); return nil }}
	j.Save = s.save
	_, err = j.Run(ctx, list(0, 1000, 10))
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, fmt.Sprint(len(s.rows)), s.cursor, "the checkpoint is true")
}

// A bad record is set aside with its reason, whether it cannot be adapted, is not valid, panics, or cannot be saved.
func TestRejects(t *testing.T) {
	s := &table{refuse: func(b importer.Batch[int]) error {
		if slices.Contains(b.Records, 42) {
			return errors.New("constraint")
		}
		return nil
	}}
	aside := make(map[int]string)
	j := importer.Job[int, int]{
		Adapt: func(i int) (int, error) {
			switch i {
			case 7:
				return 0, errors.New("no name")
			case 8:
				panic("index out of range")
			}
			return i, nil
		},
		Validate: func(i int) error {
			if i == 9 {
				return errors.New("not valid")
			}
			return nil
		},
		Save: s.save, BatchSize: 20,
		Reject: func(_ context.Context, i int, why error) error { aside[i] = why.Error(); return nil },
	}
	stats, err := j.Run(t.Context(), list(0, 100, 10))
	require.NoError(t, err)
	require.Equal(
		t,
		map[int]string{
			7:  "no name",
			8:  "importer: adapting it panicked: index out of range",
			9:  "not valid",
			42: "constraint",
		},
		aside,
	)
	require.Equal(t, []int{96, 4}, []int{stats.Saved, stats.Rejected})
	require.Len(t, s.rows, 96)
	require.True(t, slices.IsSorted(s.rows))
	require.True(t, s.done)

	// The store is down: nothing is rejected, and the checkpoint is that of the last batch.
	down := errors.New("no connection")
	s = &table{}
	s.refuse = func(importer.Batch[int]) error {
		if len(s.rows) >= 40 {
			return down
		}
		return nil
	}
	clear(aside)
	j = importer.Job[int, int]{Adapt: identity, Save: s.save, BatchSize: 20, Reject: j.Reject}
	stats, err = j.Run(t.Context(), list(0, 100, 10))
	require.ErrorIs(t, err, down)
	require.Empty(t, aside)
	require.Equal(t, []any{"40", "40", 40}, []any{s.cursor, stats.Cursor, stats.Saved})

	// Too many of them end the run before the batch is saved; where one cannot be set aside, too.
	s = new(table)
	bad := func(share int) importer.Job[int, int] {
		return importer.Job[int, int]{Save: s.save, BatchSize: 20, Adapt: func(i int) (int, error) {
			if i%100 < share {
				return 0, errors.New("bad")
			}
			return i, nil
		}}
	}
	_, err = bad(9).Run(t.Context(), list(0, 1000, 100))
	require.NoError(t, err)
	_, err = bad(30).Run(t.Context(), list(0, 1000, 100))
	require.ErrorIs(t, err, importer.ErrTooManyRejects)
	require.ErrorContains(t, err, "30 of 100; the last: bad")
	j = bad(50)
	j.RejectLimit = 1
	_, err = j.Run(t.Context(), list(0, 1000, 100))
	require.NoError(t, err)
	j = bad(1)
	j.RejectLimit = -1
	_, err = j.Run(t.Context(), list(0, 1000, 100))
	require.ErrorIs(t, err, importer.ErrTooManyRejects)
	j = bad(1)
	j.Reject = func(context.Context, int, error) error { return errors.New("quarantine full") }
	_, err = j.Run(t.Context(), list(0, 1000, 100))
	require.ErrorContains(t, err, "setting a record aside: quarantine full")
}

func TestJobBadInput(t *testing.T) {
	_, err := importer.Job[int, int]{
		BatchSize:   -1,
		Workers:     -2,
		RejectLimit: 2,
		Schema:      &schema.Schema{},
	}.Run(
		t.Context(),
		list(0, 1, 1),
	)
	for _, says := range []string{
		"Adapt is nil", "Save is nil", "BatchSize is -1", "Workers is -2",
		"RejectLimit is 2", "not json.RawMessage", "Schema.Fields is empty",
	} {
		require.ErrorContains(t, err, says)
	}
	_, err = importer.Job[int, int]{Adapt: identity, Save: new(table).save}.Run(t.Context(), nil)
	require.ErrorContains(t, err, "the pages are nil")
}

// A record whose shape changed is kept, set aside or ends the run, and its fields are told once.
func TestSchema(t *testing.T) {
	records := []string{
		`{"id":1,"name":"a","extra":true}`, `{"id":"2","name":"b"}`, `{"id":3}`,
		`{"id":4,"name":null}`, `{"id":5,"name":"e"}`, `[1]`, `{"id":"7","name":"g"}`,
	}
	pages := func(yield func(belay.Page[json.RawMessage], error) bool) {
		p := belay.Page[json.RawMessage]{}
		for _, r := range records {
			p.Items = append(p.Items, json.RawMessage(r))
		}
		yield(p, nil)
	}
	for _, mode := range []schema.Mode{schema.Report, schema.Reject, schema.Fail} {
		var told []string
		saved := 0
		j := importer.Job[json.RawMessage, string]{
			Adapt: func(raw json.RawMessage) (string, error) { return string(raw), nil },
			Save:  func(_ context.Context, b importer.Batch[string]) error { saved += len(b.Records); return nil },
			Schema: &schema.Schema{
				Fields: map[string]schema.Kind{
					"id":    schema.Number,
					"name":  schema.Text | schema.Null,
					"extra": schema.Bool | schema.Null,
				}, Mode: mode, Closed: true,
				Changed: func(d schema.Drift) { told = append(told, d.String()) },
			},
		}
		stats, err := j.Run(t.Context(), pages)
		if mode == schema.Fail {
			require.ErrorContains(t, err, "shape has changed: id is text")
			require.Zero(t, saved)
			continue
		}
		require.NoError(t, err)
		if mode == schema.Report {
			require.Equal(t, []int{6, 1}, []int{stats.Saved, stats.Rejected}, "what is no object cannot be kept")
		} else {
			require.Equal(t, []int{4, 3}, []int{stats.Saved, stats.Rejected})
		}
		require.Equal(t, []string{"id is text"}, told)
	}
	s := &schema.Schema{Fields: map[string]schema.Kind{"id": schema.Anything, "at": schema.Text}, Closed: true}
	var told []schema.Drift
	s.Changed = func(d schema.Drift) { told = append(told, d) }
	j := importer.Job[json.RawMessage, int]{
		Adapt:  func(json.RawMessage) (int, error) { return 0, nil },
		Save:   new(table).save,
		Schema: s,
	}
	records = []string{`{"id":{},"new":1,"newer":2}`}
	_, err := j.Run(t.Context(), pages)
	require.NoError(t, err)
	require.Equal(t, "missing at; unknown new, newer", told[0].String())
	require.Equal(t, "text or number or bool or object or array", schema.Anything.String())
	s.Fields["x"] = 0
	_, err = j.Run(t.Context(), pages)
	require.ErrorContains(t, err, `Fields["x"] has no kind`)
}

type row struct {
	ID      string
	Version int
	At      time.Time
}

func pagesOf(rows []row, size int) iter.Seq2[belay.Page[row], error] {
	return func(yield func(belay.Page[row], error) bool) {
		for i := 0; ; i += size {
			p := belay.Page[row]{Items: rows[min(i, len(rows)):min(i+size, len(rows))]}
			if i+size < len(rows) {
				p.Cursor = fmt.Sprint(i + size)
			}
			if !yield(p, nil) || p.Cursor == "" {
				return
			}
		}
	}
}

// A full pass finds what was added, updated and deleted, and deletes only after it was complete.
func TestFull(t *testing.T) {
	c, err := importer.NewChanges(func(r row) string { return r.ID }, nil)
	require.NoError(t, err)
	var saved []string
	var gone []string
	var fail error
	j := importer.Job[row, row]{
		Adapt: func(r row) (row, error) {
			if r.Version < 0 {
				return r, errors.New("bad")
			}
			return r, nil
		},
		Save: func(_ context.Context, b importer.Batch[row]) error {
			for _, r := range b.Records {
				saved = append(saved, fmt.Sprint(r.ID, r.Version))
			}
			return nil
		},
		RejectLimit: 1,
	}
	pass := func(rows ...row) (importer.Stats, error) {
		saved, gone = nil, nil
		return importer.Full(
			t.Context(),
			j,
			c,
			pagesOf(rows, 2),
			func(_ context.Context, ids []string) error { gone = ids; return fail },
		)
	}
	a, b, d := row{ID: "a", Version: 1}, row{ID: "b", Version: 1}, row{ID: "d", Version: 1}
	_, err = pass(a, b, a)
	require.NoError(t, err)
	require.Equal(t, []string{"a1", "b1"}, saved)
	b.Version = 2
	stats, err := pass(b, d)
	require.NoError(t, err)
	require.Equal(t, []string{"b2", "d1"}, saved)
	require.Equal(t, []string{"a"}, gone)
	require.Zero(t, stats.Skipped)
	// A record that was rejected may be there all the same: nothing is deleted.
	_, err = pass(d, row{ID: "b", Version: -1})
	require.NoError(t, err)
	require.Empty(t, gone)
	// Where deleting fails it is done again.
	fail = errors.New("no")
	_, err = pass(d)
	require.ErrorIs(t, err, fail)
	fail = nil
	data, err := json.Marshal(c) // in another process
	require.NoError(t, err)
	c, err = importer.NewChanges(func(r row) string { return r.ID }, nil)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, c))
	stats, err = pass(d)
	require.NoError(t, err)
	require.Equal(t, []string{"b"}, gone)
	require.Equal(t, 1, stats.Skipped)
	// A pass that breaks off deletes nothing.
	broken := errors.New("down")
	gone = nil
	_, err = importer.Full(
		t.Context(),
		j,
		c,
		func(yield func(belay.Page[row], error) bool) { yield(belay.Page[row]{}, broken) },
		func(_ context.Context, ids []string) error { gone = ids; return nil },
	)
	require.ErrorIs(t, err, broken)
	require.Empty(t, gone)
	stats, err = pass(row{}, row{ID: "d", Version: 1})
	require.NoError(t, err)
	require.Equal(t, []int{1, 1}, []int{stats.Rejected, stats.Skipped}, "one without an id is set aside")
	require.Empty(t, gone)
	_, err = importer.NewChanges[row](nil, nil)
	require.ErrorContains(t, err, "id is nil")
	require.Error(t, json.Unmarshal([]byte(`{"a":"AA=="}`), c))
}

// A partner whose rows commit late, share times, arrive in any order and change between and during runs: nothing
// is lost, and no version comes twice. A thousand random histories.
func TestIncrementalLosesNothing(t *testing.T) {
	start := time.Date(2020, 11, 22, 0, 0, 0, 0, time.UTC)
	const lag = 10 * time.Second
	for seed := range uint64(1000) {
		rng := rand.New(rand.NewPCG(seed, 1))
		now := start
		type pending struct {
			row
			commit time.Time
		}
		var waiting []pending
		committed := make(map[string]row) // what a query sees
		versions := make(map[string]int)
		inFlight := make(map[string]bool)
		settle := func() {
			kept := waiting[:0]
			for _, p := range waiting {
				if p.commit.After(now) {
					kept = append(kept, p)
					continue
				}
				committed[p.ID] = p.row
				delete(inFlight, p.ID)
			}
			waiting = kept
		}
		live := func(steps int) {
			for range steps {
				now = now.Add(time.Duration(rng.IntN(3)) * time.Second) // many share a time
				id := fmt.Sprint("r", rng.IntN(12))
				if inFlight[id] { // rows are locked while their transaction is open
					continue
				}
				versions[id]++
				inFlight[id] = true
				waiting = append(
					waiting,
					pending{row{id, versions[id], now}, now.Add(time.Duration(rng.IntN(int(lag/time.Second))) * time.Second)},
				)
				settle()
			}
		}
		got := make(map[string]int) // by version, how often
		var mark []byte
		runOnce := func() {
			inc := importer.Incremental[row, row]{
				Mark: mark, Lag: lag, ID: func(r row) string { return r.ID }, Updated: func(r row) time.Time { return r.At },
				Job: importer.Job[row, row]{
					Adapt: func(r row) (row, error) { return r, nil }, BatchSize: 1 + rng.IntN(5),
					Save: func(_ context.Context, b importer.Batch[row]) error {
						for _, r := range b.Records {
							got[fmt.Sprint(r.ID, "/", r.Version)]++
						}
						if b.Done {
							mark = b.Mark
						}
						return nil
					},
				},
				Pages: func(_ context.Context, since time.Time) iter.Seq2[belay.Page[row], error] {
					settle()
					var rows []row
					for _, r := range committed {
						if !r.At.Before(since) {
							rows = append(rows, r)
						}
					}
					slices.SortFunc(rows, func(a, b row) int { return strings.Compare(a.ID, b.ID) })
					rng.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
					if len(rows) > 0 && rng.IntN(3) == 0 { // a page that shifted repeats one
						rows = append(rows, rows[0])
					}
					return pagesOf(rows, 1+rng.IntN(4))
				},
			}
			_, err := inc.Run(t.Context())
			require.NoError(t, err)
		}
		for range 2 + rng.IntN(6) {
			live(rng.IntN(20))
			runOnce()
		}
		now = now.Add(2 * lag)
		settle()
		runOnce()
		for id, r := range committed {
			require.Equal(t, 1, got[fmt.Sprint(id, "/", r.Version)], "seed %d: %s of version %d", seed, id, r.Version)
		}
		for v, n := range got {
			require.Equal(t, 1, n, "seed %d: %s came %d times", seed, v, n)
		}
	}
}

type marks map[string][]byte

func (m marks) Load(_ context.Context, key string) ([]byte, error) { return m[key], nil }

func (m marks) Save(_ context.Context, key string, mark []byte) error {
	m[key] = mark
	return nil
}

// The watermark moves when a run was complete, and is asked for by name.
func TestIncrementalWatermarks(t *testing.T) {
	at := time.Date(2020, 11, 22, 10, 0, 0, 0, time.UTC)
	rows := []row{{"a", 1, at}, {"b", 1, at.Add(time.Minute)}}
	store := make(marks)
	var asked []time.Time
	var fail error
	n := 0
	inc := importer.Incremental[row, row]{
		Watermarks: store, Key: "contacts", ID: func(r row) string { return r.ID },
		Updated: func(r row) time.Time { return r.At },
		Job: importer.Job[row, row]{
			Adapt: func(r row) (row, error) { return r, nil },
			Save:  func(_ context.Context, b importer.Batch[row]) error { n += len(b.Records); return fail },
		},
		Pages: func(_ context.Context, since time.Time) iter.Seq2[belay.Page[row], error] {
			asked = append(asked, since)
			return pagesOf(rows, 10)
		},
	}
	fail = errors.New("full")
	_, err := inc.Run(t.Context())
	require.ErrorIs(t, err, fail)
	require.Empty(t, store)
	fail, n = nil, 0
	stats, err := inc.Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, []int{2, 2, 0}, []int{n, stats.Saved, stats.Skipped})
	rows = append(
		rows,
		row{"c", 1, at.Add(time.Minute)},
		row{"b", 2, at.Add(time.Minute)},
	) // the same time, another content
	stats, err = inc.Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, []int{4, 2, 2}, []int{n, stats.Saved, stats.Skipped})
	require.Equal(t, []time.Time{{}, {}, at.Add(time.Minute - 5*time.Minute)}, asked)
	store["contacts"] = []byte("{")
	_, err = inc.Run(t.Context())
	require.ErrorContains(t, err, `the watermark "contacts" is malformed`)
	_, err = importer.Incremental[row, row]{Watermarks: store, Lag: -1}.Run(t.Context())
	for _, says := range []string{"Key is empty", "Lag is -1ns", "ID is nil", "Updated is nil", "Pages is nil"} {
		require.ErrorContains(t, err, says)
	}
}

// The later of the partner's times wins, then ours; a late event does not overwrite.
func TestGuard(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	for _, c := range []struct {
		v, old importer.Version
		newer  bool
	}{
		{importer.Version{at(2), at(1)}, importer.Version{at(1), at(9)}, true},
		{importer.Version{at(1), at(9)}, importer.Version{at(2), at(1)}, false},
		{importer.Version{at(1), at(2)}, importer.Version{at(1), at(1)}, true},
		{importer.Version{at(1), at(1)}, importer.Version{at(1), at(1)}, false},
		{importer.Version{time.Time{}, at(2)}, importer.Version{at(5), at(1)}, true},
		{importer.Version{at(5), at(1)}, importer.Version{time.Time{}, at(2)}, false},
	} {
		require.Equal(t, c.newer, c.v.Newer(c.old), c)
	}
	g, err := importer.NewGuard(100)
	require.NoError(t, err)
	accept := func(id string, v importer.Version) bool {
		called, err := g.Do(t.Context(), id, v, func() error { return nil })
		require.NoError(t, err)
		return called
	}
	require.True(t, accept("a", importer.Version{Partner: at(10)}))
	require.False(t, accept("a", importer.Version{Partner: at(9), Ours: at(100)}))
	require.True(t, accept("a", importer.Version{Partner: at(11)}))
	for i := range 99 {
		require.True(t, accept(fmt.Sprint(i), importer.Version{Partner: at(i + 1)}))
	}
	require.False(t, accept("a", importer.Version{Partner: at(5)}), "still remembered")
	for i := range 100_000 {
		accept(fmt.Sprint("x", i), importer.Version{Ours: at(i)})
	}
	require.True(t, accept("a", importer.Version{Partner: at(1)}), "long forgotten: it does not grow")
	_, err = importer.NewGuard(0)
	require.Error(t, err)
}

// A list of which most is missing is not believed to be whole: a renamed cursor ends it after the first page,
// without an error.
func TestFullDoubtsAShortList(t *testing.T) {
	c, err := importer.NewChanges(func(r row) string { return r.ID }, nil)
	require.NoError(t, err)
	j := importer.Job[row, row]{
		Adapt: func(r row) (row, error) { return r, nil },
		Save:  func(context.Context, importer.Batch[row]) error { return nil },
	}
	var gone []string
	pass := func(n int) error {
		gone = nil
		rows := make([]row, n)
		for i := range rows {
			rows[i] = row{ID: fmt.Sprint(i), Version: 1}
		}
		_, err := importer.Full(
			t.Context(),
			j,
			c,
			pagesOf(rows, 20),
			func(_ context.Context, ids []string) error { gone = ids; return nil },
		)
		return err
	}
	require.NoError(t, pass(95))
	for range 2 {
		err = pass(20)
		require.ErrorIs(t, err, importer.ErrTooManyDeletes)
		require.ErrorContains(t, err, "75 of 95")
		require.Empty(t, gone)
	}
	require.NoError(t, pass(95), "nothing is forgotten")
	require.NoError(t, pass(50))
	require.Len(t, gone, 45)
	j.DeleteLimit = 1
	require.NoError(t, pass(1))
	require.Len(t, gone, 49)
	j.DeleteLimit = 0
	require.NoError(t, pass(20))
	require.NoError(t, pass(3), "of a few, most may go")
	require.Len(t, gone, 17)
	j.DeleteLimit = 1
	require.NoError(t, pass(20))
	for _, most := range []float64{0, 0.5, 0.99} {
		j.DeleteLimit = most
		for _, n := range []int{0, 1, 2} {
			require.ErrorIs(t, pass(n), importer.ErrTooManyDeletes, "but a list that is all but empty is not believed")
			require.Empty(t, gone)
		}
	}
	j.DeleteLimit = 1
	require.NoError(t, pass(0))
	require.Len(t, gone, 20)
	require.NoError(t, pass(1))
	j.DeleteLimit = 0
	require.ErrorIs(t, pass(0), importer.ErrTooManyDeletes, "the only one")
	j.DeleteLimit = math.NaN()
	require.ErrorContains(t, pass(1), "DeleteLimit is NaN")
	j.DeleteLimit = -1
	require.ErrorContains(t, pass(1), "DeleteLimit is -1")
}

// What was not written is not remembered: not after an error, not after a panic, and of several all or none.
func TestGuardRemembersWhatWasWritten(t *testing.T) {
	at := func(s int) importer.Version { return importer.Version{Partner: time.Unix(int64(s), 0)} }
	g, err := importer.NewGuard(100)
	require.NoError(t, err)
	broken := errors.New("no connection")
	for range 3 {
		called, err := g.Do(t.Context(), "a", at(5), func() error { return broken })
		require.True(t, called)
		require.ErrorIs(t, err, broken)
		require.Panics(t, func() { _, _ = g.Do(t.Context(), "a", at(5), func() error { panic("x") }) })
	}
	called, err := g.Do(t.Context(), "a", at(5), func() error { return nil })
	require.True(t, called)
	require.NoError(t, err)
	batch := map[string]importer.Version{"a": at(4), "b": at(1), "c": at(1)}
	var got map[string]importer.Version
	require.ErrorIs(
		t,
		g.DoAll(t.Context(), batch, func(newer map[string]importer.Version) error { got = newer; return broken }),
		broken,
	)
	require.Equal(t, map[string]importer.Version{"b": at(1), "c": at(1)}, got)
	require.NoError(
		t,
		g.DoAll(t.Context(), batch, func(newer map[string]importer.Version) error { got = newer; return nil }),
	)
	require.Len(t, got, 2)
	require.NoError(t, g.DoAll(t.Context(), batch, func(map[string]importer.Version) error { panic("none is newer") }))
}

// Writes of one record take turns, so that the newer one is the last; others do not wait, and a wait ends with
// its context.
func TestGuardTakesTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := func(s int) importer.Version { return importer.Version{Partner: time.Unix(int64(s), 0)} }
		g, err := importer.NewGuard(100)
		require.NoError(t, err)
		var mu sync.Mutex
		table := make(map[string]int)
		var wg sync.WaitGroup
		began := time.Now()
		for _, id := range []string{"a", "b"} {
			for n := range 20 {
				wg.Go(func() {
					_, err := g.Do(t.Context(), id, at(n), func() error {
						time.Sleep(time.Second)
						mu.Lock()
						defer mu.Unlock()
						table[id] = n
						return nil
					})
					require.NoError(t, err)
				})
			}
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err = g.Do(ctx, "a", at(99), func() error { panic("its turn has not come") })
		require.ErrorIs(t, err, context.DeadlineExceeded)
		wg.Wait()
		require.Equal(t, map[string]int{"a": 19, "b": 19}, table)
		require.LessOrEqual(t, time.Since(began), 20*time.Second, "the records do not wait for each other")
	})
}

// The calls of a run are bounded by the context's budget; what was read is saved.
func TestCallBudget(t *testing.T) {
	asked := 0
	client, err := belay.New(
		"https://partner.test",
		belay.WithTransport(roundTrip(func(req *http.Request) (*http.Response, error) {
			asked++
			body := fmt.Sprintf(`{"d":[%d,%d],"next":"%d"}`, 2*asked-2, 2*asked-1, asked)
			return &http.Response{
				StatusCode: 200,
				Header:     http.Header{"Content-Type": {"application/json"}},
				Body:       io.NopCloser(strings.NewReader(body)),
			}, nil
		})),
	)
	require.NoError(t, err)
	s := new(table)
	ctx := belay.BudgetContext(t.Context(), 3)
	stats, err := importer.Job[int, int]{
		Adapt: identity,
		Save:  s.save,
	}.Run(
		ctx,
		belay.Pages[int](ctx, client, "/", belay.CursorPages{Items: "d", Cursor: "next", Param: "c"}),
	)
	require.ErrorIs(t, err, belay.ErrCallBudget)
	require.Equal(t, 3, asked)
	require.Equal(t, numbers(0, 6), s.rows)
	require.Equal(t, []any{"3", "3", 6}, []any{s.cursor, stats.Cursor, stats.Saved})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
