package belay_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

// The text of an answer is what the partner wrote, in a call, on a page and in an error, or it is an error.
func TestTextOfAnswers(t *testing.T) {
	t.Parallel()
	type named struct{ Name string }
	for name, c := range map[string]struct{ contentType, body, want, fail string }{
		"ISO-8859-1":              {"application/json; charset=ISO-8859-1", "{\"name\":\"M\xfcller\"}", "Müller", ""},
		"windows-1252":            {"application/json;charset=Windows-1252", "{\"name\":\"\x80 5\"}", "€ 5", ""},
		"a default of the server": {"application/json; charset=iso-8859-1", `{"name":"Müller"}`, "Müller", ""},
		"another charset, UTF-8":  {"application/json; charset=gb2312", `{"name":"Müller"}`, "Müller", ""},
		"another charset":         {"application/json; charset=gb2312", "{\"name\":\"M\xfc\xa6ller\"}", "", `"gb2312"`},
		"no charset":              {"application/json", "{\"name\":\"M\xfcller\"}", "", "not UTF-8"},
		"declared UTF-8":          {"application/json; charset=UTF-8", "{\"name\":\"M\xfcller\"}", "", "not UTF-8"},
		"a byte order mark":       {"application/json", "\xef\xbb\xbf{\"name\":\"Müller\"}", "Müller", ""},
		"a mark and ISO-8859-1":   {"text/json; charset=latin1", "\xef\xbb\xbf{\"name\":\"M\xfcller\"}", "Müller", ""},
	} {
		t.Run(name, func(t *testing.T) {
			body := ""
			c2 := newClient(t, testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
				return testkit.Raw(200, c.contentType, body), nil
			}))
			check := func(got named, err error) {
				t.Helper()
				if c.fail != "" {
					require.ErrorIs(t, err, belay.ErrData)
					require.ErrorContains(t, err, c.fail)
					return
				}
				require.NoError(t, err)
				require.Equal(t, c.want, got.Name)
			}
			body = c.body
			check(belay.Get[named](t.Context(), c2, "/"))
			check(belay.Await[named](t.Context(), c2, "GET", "/", nil))
			check(belay.Poll(t.Context(), c2, "/", func(named) (bool, error) { return true, nil }))
			mark := ""
			if len(body) > 3 && body[:3] == "\xef\xbb\xbf" {
				mark, body = body[:3], body[3:]
			}
			body = mark + `{"next":null,"data":[{"name":"ok"},` + body + `]}`
			var last named
			var lastErr error
			for item, err := range belay.Items[named](t.Context(), c2, "/", cursors2) {
				last, lastErr = item, err
			}
			check(last, lastErr)
			if c.fail == "not UTF-8" { // whoever decodes by himself gets the bytes
				n := 0
				for item, err := range belay.Items[json.RawMessage](t.Context(), c2, "/", cursors2) {
					require.NoError(t, err)
					if n++; n == 2 {
						require.Equal(t, c.body, string(item))
					}
				}
				require.Equal(t, 2, n)
			}
		})
	}
	c := newClient(t, testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
		return testkit.Raw(422, "application/json", "\xef\xbb\xbf"+`{"error":{"code":"taken","message":"is taken"}}`), nil
	}))
	_, err := belay.Get[named](t.Context(), c, "/")
	var e *belay.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, "taken", e.Code)
}

var cursors2 = belay.CursorPages{Items: "data", Cursor: "next", Param: "cursor"}

// Null is no record: neither an item of a list nor the answer to a call.
func TestNullIsNoRecord(t *testing.T) {
	t.Parallel()
	body := ""
	c := newClient(t, testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
		return testkit.Raw(200, "application/json", body), nil
	}))
	type record struct{ ID int }
	for in, want := range map[string][]int{
		`[null]`:                          nil,
		`[{"id":1},null,{"id":3}]`:        {1, 3},
		`[null,{"id":2}, null ]`:          {2},
		`[{"id":1},{"id":null},{"id":3}]`: {1, 0, 3},
	} {
		body = `{"data":` + in + `}`
		var got []int
		for item, err := range belay.Items[record](t.Context(), c, "/", cursors2) {
			require.NoError(t, err)
			got = append(got, item.ID)
		}
		require.Equal(t, want, got, in)
		n := 0
		for item, err := range belay.Items[*record](t.Context(), c, "/", cursors2) {
			require.NoError(t, err)
			require.NotNil(t, item)
			n++
		}
		for item, err := range belay.Items[json.RawMessage](t.Context(), c, "/", cursors2) {
			require.NoError(t, err)
			require.NotEqual(t, "null", string(item))
			n--
		}
		for page, err := range belay.Pages[record](t.Context(), c, "/", cursors2) {
			require.NoError(t, err)
			require.Len(t, page.Items, len(want))
		}
		require.Zero(t, n)
	}
	body = " null\n"
	for _, get := range []func() error{
		func() error { _, err := belay.Get[record](t.Context(), c, "/"); return err },
		func() error { _, err := belay.Get[string](t.Context(), c, "/"); return err },
		func() error { _, err := belay.Get[int](t.Context(), c, "/"); return err },
		func() error { _, err := belay.Await[record](t.Context(), c, "GET", "/", nil); return err },
	} {
		require.ErrorIs(t, get(), belay.ErrData)
	}
	for _, get := range []func() error{
		func() error { _, err := belay.Get[*record](t.Context(), c, "/"); return err },
		func() error { _, err := belay.Get[any](t.Context(), c, "/"); return err },
		func() error { _, err := belay.Get[[]record](t.Context(), c, "/"); return err },
		func() error { _, err := belay.Get[map[string]int](t.Context(), c, "/"); return err },
		func() error { _, err := belay.Get[json.RawMessage](t.Context(), c, "/"); return err },
		func() error { _, err := belay.Get[belay.None](t.Context(), c, "/"); return err },
	} {
		require.NoError(t, get())
	}
}
