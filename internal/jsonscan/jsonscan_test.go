package jsonscan

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestValue(t *testing.T) {
	doc := `{"a":1,"b.c":"dots","@odata.nextLink":"https://x","data":{"results":[1,{"x":"]"}, "a\"]b" ,[[]]],"next":null,"esc":3},"x":{"a":true},"x":{"a":false}, "num":-1.5e3 }`
	d := New([]byte(doc))
	for path, want := range map[string]string{
		"a": "1", "b.c": `"dots"`, "@odata.nextLink": `"https://x"`,
		"data.next": "null", "data.esc": "3", "x.a": "false", "num": "-1.5e3",
		"none": "", "data.none": "", "a.b": "", "data.results.x": "", "data.results": `[1,{"x":"]"}, "a\"]b" ,[[]]]`, "": doc,
	} {
		for range 2 { // before and after the array is known
			got, err := d.Value(path)
			require.NoError(t, err, path)
			require.Equal(t, want, string(got), path)
			n, last, ok, err := d.Array("data.results")
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, 4, n)
			require.Equal(t, "[[]]", string(last))
		}
	}
	var got []string
	for it := d.Elements(); ; {
		e, ok, err := it.Next()
		require.NoError(t, err)
		if !ok {
			break
		}
		got = append(got, string(e))
	}
	require.Equal(t, []string{"1", `{"x":"]"}`, `"a\"]b"`, "[[]]"}, got)
	for _, none := range []string{`{"data":null}`, `{}`, `{"data":{"results":null}}`, `{"data":[]}`} {
		d := New([]byte(none))
		_, _, ok, err := d.Array("data.results")
		require.NoError(t, err)
		require.False(t, ok, none)
	}
	for bad, says := range map[string]string{
		`{"r":{}}`:   "an object",
		`{"r":"x"}`:  "a string",
		`{"r":5}`:    "a number",
		`{"r":true}`: "a boolean",
	} {
		d := New([]byte(bad))
		_, _, _, err := d.Array("r")
		require.ErrorContains(t, err, says)
	}
	for _, bad := range []string{
		`{"r":[1,2`, `{"r"`, `{"r":[1 2]}`, `{"r":["a]}`, `{"r":[,]}`, ``, `{`, `[`, `{"r":[1,]`, `{r:1}`, `{"a":"\"}`,
	} {
		d := New([]byte(bad))
		_, _, ok, err := d.Array("r")
		require.True(t, err != nil || !ok, bad)
		if bad == "" || strings.Contains(bad, "[") && bad != "[" {
			require.ErrorIs(t, err, ErrSyntax, bad)
		}
	}
	top := New([]byte(` [ 1 , 2 ] `))
	n, _, ok, err := top.Array("")
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, 2, n)
}

// FuzzScan: nothing panics, and of valid JSON the elements are what encoding/json finds.
func FuzzScan(f *testing.F) {
	for _, s := range []string{
		`{"data":{"items":[1,"a\\",{"b":[]}],"next":"x"}}`, `[1,2,3]`, `{"data":null}`,
		`{"data":{"items":[[[[`, `{"\u0064ata":{"items":[]}}`, "\"", `{"data":{"items":5}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d := New(data)
		n, _, ok, err := d.Array("data.items")
		got := []json.RawMessage{}
		if ok {
			for it := d.Elements(); ; {
				e, more, err := it.Next()
				if err != nil || !more {
					break
				}
				got = append(got, e)
			}
			require.Len(t, got, n)
		}
		_, _ = d.Value("data.next")
		if !json.Valid(data) {
			return
		}
		require.True(t, err == nil || strings.HasPrefix(err.Error(), "not an array"), "%v", err)
		var want struct {
			Data struct{ Items json.RawMessage }
		}
		var top map[string]json.RawMessage
		if json.Unmarshal(data, &top) != nil {
			return
		}
		var inner map[string]json.RawMessage
		raw, has := top["data.items"]
		if !has && json.Unmarshal(top["data"], &inner) == nil {
			raw = inner["items"]
		} else if has {
			return // several ways to read the path
		}
		want.Data.Items = raw
		var items []json.RawMessage
		if json.Unmarshal(raw, &items) != nil || items == nil {
			return
		}
		if !ok || len(items) != len(got) {
			// An object that stands twice is merged by neither: ours looks into both.
			if strings.Count(string(data), "data") > 1 || strings.Contains(string(data), `\u`) {
				return
			}
			t.Fatalf("%d elements, want %d", len(got), len(items))
		}
		for i := range items {
			require.Equal(t, string(items[i]), string(got[i]))
		}
	})
}
