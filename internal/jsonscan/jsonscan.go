// Package jsonscan finds values in JSON by their path, and the elements of an array, without decoding what lies
// between. It checks no more of the JSON than it needs to find its way: what it returns is decoded by encoding/json, which
// checks the rest.
package jsonscan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// ErrSyntax is JSON that ends too early or is none.
var ErrSyntax = errors.New("malformed JSON")

func syntax(at int) error { return fmt.Errorf("%w at byte %d", ErrSyntax, at) }

// Doc is a document, and where its items are once Array has found them.
type Doc struct {
	data       []byte
	start, end int // of the array
}

// New returns the document in data, which must not change while it is used.
func New(data []byte) Doc { return Doc{data: data} }

// Value returns the value at path, in which names are joined by dots; a name may hold dots itself. Nil is none. Of
// several of one name the last counts, as in encoding/json. An empty path is the document.
func (d *Doc) Value(path string) ([]byte, error) {
	i := d.space(0)
	if path == "" {
		end, err := d.skip(i)
		return d.data[i:max(i, end)], err
	}
	var found []byte
	_, err := d.find(i, path, &found)
	return found, err
}

// find looks for path in the value at i, and returns where that ends.
func (d *Doc) find(i int, path string, found *[]byte) (int, error) {
	if i >= len(d.data) || d.data[i] != '{' {
		return d.skip(i)
	}
	for i = d.space(i + 1); ; {
		if i < len(d.data) && d.data[i] == '}' {
			return i + 1, nil
		}
		if i >= len(d.data) || d.data[i] != '"' {
			return i, syntax(i)
		}
		end, err := d.text(i)
		if err != nil {
			return i, err
		}
		name := d.data[i+1 : end-1]
		if i = d.space(end); i >= len(d.data) || d.data[i] != ':' {
			return i, syntax(i)
		}
		i = d.space(i + 1)
		begin := i
		rest, exact, inside := match(name, path)
		if inside {
			i, err = d.find(i, rest, found)
		} else {
			i, err = d.skip(i)
		}
		if err != nil {
			return i, err
		}
		if exact {
			*found = d.data[begin:i]
		}
		if i = d.space(i); i >= len(d.data) || d.data[i] != ',' && d.data[i] != '}' {
			return i, syntax(i)
		}
		if d.data[i] == ',' {
			i = d.space(i + 1)
		}
	}
}

// match reports whether name is path, or path goes on inside it with rest.
func match(name []byte, path string) (rest string, exact, inside bool) {
	if bytes.IndexByte(name, '\\') >= 0 {
		var plain string
		if json.Unmarshal([]byte(`"`+string(name)+`"`), &plain) != nil {
			return "", false, false
		}
		name = []byte(plain)
	}
	if len(name) > len(path) || path[:len(name)] != string(name) {
		return "", false, false
	}
	if len(name) == len(path) {
		return "", true, false
	}
	return strings.TrimPrefix(path[len(name):], "."), false, path[len(name)] == '.'
}

// Array finds the array at path. It returns how many elements it has and the last of them. Ok is false when there is
// nothing there, or null; anything else that is no array is an error.
func (d *Doc) Array(path string) (count int, last []byte, ok bool, err error) {
	v, err := d.Value(path)
	if err != nil || len(v) == 0 || string(v) == "null" {
		return 0, nil, false, err
	}
	if v[0] != '[' {
		return 0, nil, false, fmt.Errorf("not an array but %s", kind(v[0]))
	}
	// v is a part of data: its beginning is as far from the end as their capacities say.
	d.start = cap(d.data) - cap(v)
	d.end = d.start + len(v)
	for it := d.Elements(); ; count++ {
		e, more, err := it.Next()
		if err != nil {
			return 0, nil, false, err
		}
		if !more {
			return count, last, true, nil
		}
		last = e
	}
}

func kind(c byte) string {
	switch c {
	case '{':
		return "an object"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	}
	return "a number"
}

// Elements returns the elements of the array that Array has found.
func (d *Doc) Elements() Elements {
	return Elements{Doc{data: d.data[d.start:d.end]}, min(1, d.end-d.start)}
}

// Elements goes through the elements of an array.
type Elements struct {
	doc Doc
	pos int
}

// Next returns the next element, or false behind the last.
func (e *Elements) Next() ([]byte, bool, error) {
	d := &e.doc
	i := d.space(e.pos)
	switch {
	case i >= len(d.data) && e.pos == 0: // no array at all
		return nil, false, nil
	case i >= len(d.data):
		return nil, false, syntax(i)
	case d.data[i] == ']':
		return nil, false, nil
	case d.data[i] == ',' && e.pos > 1:
		i = d.space(i + 1)
	case e.pos > 1:
		return nil, false, syntax(i)
	}
	end, err := d.skip(i)
	if err != nil {
		return nil, false, err
	}
	e.pos = end
	return d.data[i:end], true, nil
}

// space returns where the white space at i ends.
func (d *Doc) space(i int) int {
	for i < len(d.data) && (d.data[i] == ' ' || d.data[i] == '\n' || d.data[i] == '\r' || d.data[i] == '\t') {
		i++
	}
	return i
}

// skip returns where the value at i ends.
func (d *Doc) skip(i int) (int, error) {
	if i >= len(d.data) {
		return i, syntax(i)
	}
	if i == d.start && d.end > d.start { // known already
		return d.end, nil
	}
	switch c := d.data[i]; c {
	case '"':
		return d.text(i)
	case '{', '[':
		return d.nested(i)
	case ',', ':', '}', ']':
		return i, syntax(i)
	}
	for j := i; j < len(d.data); j++ {
		switch d.data[j] {
		case ',', '}', ']', ' ', '\n', '\r', '\t', ':', '"', '{', '[':
			return j, nil
		}
	}
	return len(d.data), nil
}

// nested returns where the object or array at i ends. It counts brackets without telling their kinds apart, which
// encoding/json does later.
func (d *Doc) nested(i int) (int, error) {
	depth := 0
	for i < len(d.data) {
		switch d.data[i] {
		case '"':
			end, err := d.text(i)
			if err != nil {
				return i, err
			}
			i = end
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1, nil
			}
		}
		i++
	}
	return i, syntax(i)
}

// text returns where the string at i ends.
func (d *Doc) text(i int) (int, error) {
	for from := i + 1; ; {
		n := bytes.IndexByte(d.data[from:], '"')
		if n < 0 {
			return len(d.data), syntax(len(d.data))
		}
		end := from + n
		escapes := 0
		for k := end - 1; k > i && d.data[k] == '\\'; k-- {
			escapes++
		}
		if escapes%2 == 0 {
			return end + 1, nil
		}
		from = end + 1
	}
}
