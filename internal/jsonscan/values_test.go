package jsonscan

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestValues(t *testing.T) {
	t.Parallel()
	const text = ` {"id":"a","type":{"name":"b","of":[1]},"type.name":"c","n":1, "\u0069\u0064x":2, "x":{"y":{"z":null}}, "id":"last"} `
	paths := []string{"id", "type.name", "type", "n", "idx", "x.y.z", "gone", "x.y"}
	found := make([][]byte, len(paths))
	doc := New([]byte(text))
	require.NoError(t, doc.Values(paths, found))
	for i, want := range []string{`"last"`, `"c"`, `{"name":"b","of":[1]}`, "1", "2", "null", "", `{"z":null}`} {
		require.Equal(t, want, string(found[i]), paths[i])
		alone, err := doc.Value(paths[i])
		require.NoError(t, err)
		require.Equal(t, want, string(alone), paths[i])
	}
	for _, bad := range []string{
		"", "{", `{"id"`, `{"id":}`, `{"id":1,}`, `{"id":1}{}`, `{"id":"` + strings.Repeat("x", 200),
	} {
		doc := New([]byte(bad))
		require.ErrorIs(t, doc.Values(paths, found), ErrSyntax, bad)
	}
}

// Values finds what Value finds, and what encoding/json does.
func FuzzValues(f *testing.F) {
	f.Add([]byte(`{"a":{"b":"x","c":1},"d":"`+strings.Repeat("y", 100)+`\\\"z"}`), "a.b", "d")
	f.Add([]byte(`{"a":[1,{"a":2}],"":3,"a.b":4}`), "a", "")
	f.Fuzz(func(t *testing.T, data []byte, one, two string) {
		paths, found := []string{one, two}, make([][]byte, 2)
		doc := New(data)
		err := doc.Values(paths, found)
		if !json.Valid(data) || err != nil {
			return
		}
		for i, path := range paths {
			if path == "" || strings.HasSuffix(path, ".") {
				continue
			}
			alone, err := doc.Value(path)
			require.NoError(t, err)
			require.Equal(t, string(alone), string(found[i]), path)
		}
	})
}

// Text full of escapes takes time in proportion to its length, and names full of them no memory.
func TestEscapesAreLinear(t *testing.T) { // not parallel: it counts the work of the package
	defer func() { searched = nil }()
	for _, unit := range []string{`\\`, `\n` + strings.Repeat("x", 62), `\n`, strings.Repeat("y", 63) + `\"`} {
		work := func(n int) int {
			doc := New([]byte(`{"a":"` + strings.Repeat(unit, n/len(unit)) + `","b":1}`))
			count := 0
			searched = &count
			raw, err := doc.Value("b")
			require.NoError(t, err)
			require.Equal(t, "1", string(raw))
			return count
		}
		small, large := work(1<<17), work(1<<20)
		require.LessOrEqual(t, large, 9*small+4096, unit) // eight times as much; 64 times would be its square
		require.LessOrEqual(t, large, 32<<20, unit)
	}
}
