package schema_test

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay/schema"
)

// compare returns the difference that is told of a record, or its error.
func compare(t *testing.T, s *schema.Schema, record string) string {
	t.Helper()
	told := ""
	if err := s.Compare([]byte(record), nil, func(d schema.Drift) { told = d.String() }); err != nil && told == "" {
		return err.Error()
	}
	return told
}

func TestCompare(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		fields       map[string]schema.Kind
		closed       bool
		record, want string
	}{
		{map[string]schema.Kind{"id": schema.Number}, false, `{"id":1,"x":2}`, ""},
		{map[string]schema.Kind{"id": schema.Number}, true, `{"id":1,"x":2}`, "unknown x"},
		{map[string]schema.Kind{"id": schema.Number}, false, `{"id":"1"}`, "id is text"},
		{map[string]schema.Kind{"id": schema.Number}, false, `{}`, "missing id"},
		{map[string]schema.Kind{"id": schema.Number | schema.Null}, false, `{}`, ""},
		// A field that has moved.
		{map[string]schema.Kind{"address.full": schema.Text}, false, `{"location":{"formatted":"x"}}`, "missing address.full"},
		{map[string]schema.Kind{"address.full": schema.Text}, true, `{"location":{"formatted":"x"}}`, "missing address.full; unknown location.formatted"},
		{map[string]schema.Kind{"address.full": schema.Text}, false, `{"address":{"full":"x"}}`, ""},
		{map[string]schema.Kind{"address.full": schema.Text}, false, `{"address":{}}`, "missing address.full"},
		{map[string]schema.Kind{"address.full": schema.Text}, false, `{"address":null}`, "missing address.full"},
		{map[string]schema.Kind{"address.full": schema.Text}, false, `{"address":"x"}`, "address is text"},
		{map[string]schema.Kind{"address.full": schema.Text | schema.Null}, false, `{}`, ""},
		{map[string]schema.Kind{"address": schema.Object | schema.Null, "address.full": schema.Text}, false, `{"address":null}`, ""},
		{map[string]schema.Kind{"address": schema.Object | schema.Null, "address.full": schema.Text}, false, `{"address":{}}`, "missing address.full"},
		{map[string]schema.Kind{"address": schema.Object | schema.Text, "address.full": schema.Text}, false, `{"address":"x"}`, ""},
		{map[string]schema.Kind{"address.full": schema.Text}, true, `{"address":{"full":"x","zip":"y","geo":{"lat":1,"lon":2}}}`, "unknown address.geo.lat, address.geo.lon, address.zip"},
		// Elements of an array.
		{map[string]schema.Kind{"lines[].price": schema.Number}, false, `{"lines":[{"price":1},{"price":"2"},{"price":"3"},{}]}`, "missing lines[].price; lines[].price is text"},
		{map[string]schema.Kind{"lines[].price": schema.Number}, false, `{"lines":[]}`, ""},
		{map[string]schema.Kind{"lines[].price": schema.Number}, false, `{}`, "missing lines"},
		{map[string]schema.Kind{"lines[].price": schema.Number}, false, `{"lines":[null,1]}`, "missing lines[].price; lines[] is number"},
		{map[string]schema.Kind{"lines[].price": schema.Number}, true, `{"lines":[{"price":1,"a":1}]}`, "unknown lines[].a"},
		{map[string]schema.Kind{"tags[]": schema.Text}, false, `{"tags":["a",1]}`, "tags[] is number"},
		{map[string]schema.Kind{"grid[][]": schema.Number}, false, `{"grid":[[1],["x"]]}`, "grid[][] is text"},
		{map[string]schema.Kind{"[].id": schema.Number}, false, ` [{"id":1}, {}]`, "missing [].id"},
		{map[string]schema.Kind{"[].id": schema.Number}, false, `{"id":1}`, "the record's shape has changed: it is no array"},
		// Names that look like paths.
		{map[string]schema.Kind{`a\.b`: schema.Number}, true, `{"a.b":1}`, ""},
		{map[string]schema.Kind{`a\.b.c`: schema.Number}, true, `{"a.b":{"c":"x"}}`, `a\.b.c is text`},
		// What is no record.
		{map[string]schema.Kind{"id": schema.Number}, false, `[1]`, "the record's shape has changed: it is no object"},
		{map[string]schema.Kind{"id": schema.Number}, false, `{"id":`, "the record's shape has changed: it is no object"},
		{map[string]schema.Kind{"id": schema.Number}, false, ``, "the record's shape has changed: it is no object"},
		{map[string]schema.Kind{"id": schema.Number}, false, `null`, "the record's shape has changed: it is no object"},
	} {
		s := &schema.Schema{Fields: c.fields, Closed: c.closed}
		require.Equal(t, c.want, compare(t, s, c.record), "%v %s", c.fields, c.record)
	}
}

// The mode decides what becomes of the record; what is told is told once.
func TestModes(t *testing.T) {
	t.Parallel()
	for mode, fails := range map[schema.Mode]bool{schema.Report: false, schema.Reject: true, schema.Fail: true} {
		var told []string
		s := &schema.Schema{
			Fields: map[string]schema.Kind{"id": schema.Number}, Mode: mode,
			Changed: func(d schema.Drift) { told = append(told, d.String()) },
		}
		for range 3 {
			err := s.Compare([]byte(`{}`), nil, nil)
			if fails {
				require.EqualError(t, err, "the record's shape has changed: missing id")
				require.ErrorAs(t, err, new(*schema.Error))
			} else {
				require.NoError(t, err)
			}
		}
		require.Equal(t, []string{"missing id"}, told)
	}
}

func TestBadSchemas(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		schema *schema.Schema
		want   string
	}{
		{&schema.Schema{}, "Fields is empty"},
		{&schema.Schema{Fields: map[string]schema.Kind{"x": 0}}, `Fields["x"] has no kind`},
		{&schema.Schema{Fields: map[string]schema.Kind{"x": 128}}, `Fields["x"] has the unknown kind 128`},
		{&schema.Schema{Fields: map[string]schema.Kind{"x": schema.Text}, Mode: 9}, "Mode is 9"},
		{&schema.Schema{Fields: map[string]schema.Kind{"": schema.Text}}, `Fields[""] has a part without a name`},
		{&schema.Schema{Fields: map[string]schema.Kind{"a..b": schema.Text}}, `Fields["a..b"] has a part without a name`},
		{&schema.Schema{Fields: map[string]schema.Kind{"a.[]": schema.Text}}, `Fields["a.[]"] has a part without a name`},
		{&schema.Schema{Fields: map[string]schema.Kind{"a": schema.Text, "a.b": schema.Text}}, `Fields["a"] is text, and has fields in it`},
		{&schema.Schema{Fields: map[string]schema.Kind{"a[].c": schema.Text, "a.b": schema.Text}}, `names and elements in "a"`},
		{&schema.Schema{Fields: map[string]schema.Kind{"[].c": schema.Text, "b": schema.Text}}, `names and elements in ""`},
	} {
		require.ErrorContains(t, c.schema.Check(), c.want)
		require.ErrorContains(t, c.schema.Compare([]byte(`{}`), nil, nil), c.want)
	}
}

// Records with names without end cost bounded memory, and are told in an order that does not change.
func TestCompareIsBounded(t *testing.T) {
	t.Parallel()
	var many []string
	for i := range 5000 {
		many = append(many, fmt.Sprintf(`"n%d%s":{"a":{"b":1}}`, i, strings.Repeat("x", 500)))
	}
	record := `{` + strings.Join(many, ",") + `}`
	texts := make(map[string]bool)
	for range 4 {
		s := &schema.Schema{Fields: map[string]schema.Kind{"id": schema.Text | schema.Null}, Closed: true}
		text := compare(t, s, record)
		require.Less(t, len(text), 20*120)
		texts[text] = true
	}
	require.Len(t, texts, 1)
	deep := strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5000)
	s := &schema.Schema{Fields: map[string]schema.Kind{"id": schema.Text | schema.Null}, Closed: true}
	require.Equal(t, "unknown a.a.a.a.a.a.a.a", compare(t, s, deep))
	n := 0
	for i := range 3000 {
		require.NoError(t, s.Compare([]byte(fmt.Sprintf(`{"k%d":1}`, i)), nil, func(schema.Drift) { n++ }))
	}
	require.Equal(t, 999, n)
	fields := make(map[string]schema.Kind)
	for i := range 100 {
		fields[fmt.Sprintf("f%02d", i)] = schema.Number
	}
	require.Equal(t, 20, strings.Count(compare(t, &schema.Schema{Fields: fields}, `{}`), "f"))
	var values []string
	for name := range fields {
		values = append(values, fmt.Sprintf(`%q:"x"`, name))
	}
	require.Equal(t, 20, strings.Count(compare(t, &schema.Schema{Fields: fields}, "{"+strings.Join(values, ",")+"}"), "is text"))
}

func TestCompareAtOnce(t *testing.T) {
	t.Parallel()
	var told atomic.Int32
	s := &schema.Schema{Fields: map[string]schema.Kind{"a.b": schema.Text}, Changed: func(schema.Drift) { told.Add(1); panic("a bug") }}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				_ = s.Compare([]byte(`{"a":{"b":1}}`), nil, nil)
			}
		})
	}
	all.Wait()
	require.Equal(t, int32(1), told.Load())
}

func FuzzCompare(f *testing.F) {
	f.Add("a.b", `{"a":{"b":1}}`)
	f.Add("[].x", `[{"x":null},3]`)
	f.Add(`a\.b[][]`, `{"a.b":[[1]]}`)
	f.Fuzz(func(t *testing.T, path, record string) {
		s := &schema.Schema{Fields: map[string]schema.Kind{path: schema.Text}, Closed: true}
		if s.Check() != nil {
			return
		}
		told := 0
		_ = s.Compare([]byte(record), nil, func(d schema.Drift) {
			if told++; d.String() == "" || len(d.Unknown) > 20 {
				t.Fatal(d)
			}
		})
		if told > 1 {
			t.Fatal(told)
		}
	})
}

// Names that the partner makes up use up no other difference's place; a name may end in a backslash.
func TestDriftsApart(t *testing.T) {
	t.Parallel()
	var told []string
	s := &schema.Schema{Fields: map[string]schema.Kind{"id": schema.Number}, Closed: true, Changed: func(d schema.Drift) { told = append(told, d.String()) }}
	for i := range 3000 {
		require.NoError(t, s.Compare([]byte(fmt.Sprintf(`{"id":1,"k%d":1}`, i)), nil, nil))
	}
	require.Len(t, told, 1000)
	require.NoError(t, s.Compare([]byte(`{"k1":1}`), nil, nil))
	require.Equal(t, "missing id; unknown k1", told[len(told)-1])
	for i := range 10 {
		require.NoError(t, s.Compare([]byte(fmt.Sprintf(`{"k%d":1}`, i)), nil, nil))
	}
	require.Len(t, told, 1001)
	require.Equal(t, `a\.b is text`, compare(t, &schema.Schema{Fields: map[string]schema.Kind{`a\.b.c`: schema.Text}}, `{"a.b":"x"}`))
	require.Empty(t, compare(t, &schema.Schema{Fields: map[string]schema.Kind{`a\b.c`: schema.Text}, Closed: true}, `{"a\\b":{"c":"x"}}`))
}

// A large record costs time, and no memory beside it.
func TestLargeRecords(t *testing.T) { // not in parallel: it counts what all allocate
	record := []byte(`{"items":[` + strings.Repeat(`{},`, 500_000) + `{}]}`)
	s := &schema.Schema{Fields: map[string]schema.Kind{"items[].id": schema.Number | schema.Null, "x": schema.Text | schema.Null}, Closed: true}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	require.NoError(t, s.Compare(record, nil, nil))
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(100<<20))
}
