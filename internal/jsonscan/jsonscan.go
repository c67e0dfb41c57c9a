// Package jsonscan finds values in JSON by their path, and the elements of an array, without decoding the
// rest. It checks no more of the JSON than it needs to find its way. Its results must be decoded by
// encoding/json, which checks them.
package jsonscan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// ErrSyntax means that the JSON ends too early or is malformed.
var ErrSyntax = errors.New("malformed JSON")

func syntax(at int) error { return fmt.Errorf("%w at byte %d", ErrSyntax, at) }

// Doc is a JSON document, with the positions of an array's elements once Array has found the array.
type Doc struct {
	data       []byte
	start, end int      // the array that Array found
	ends       []uint32 // the ends of its first elements, counted from start

	counting bool // true while Array looks for the array
	count    int
	nulls    int    // elements of the array that are null
	last     []byte // the last element that is not null
	other    byte   // first byte of the value found instead of an array, 0 if there is none
}

// mostEnds is the number of elements whose ends are kept, so that Elements need not scan them again.
const mostEnds = 4096

// New returns the document in data, which must not change while the document is used.
func New(data []byte) Doc { return Doc{data: data} }

// Value returns the value at path, or nil if there is none. Dots join the names in path; a name may hold dots
// itself. If several members have one name, the last one counts, as in encoding/json. An empty path is the
// whole document.
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

// find looks for path in the value at i, stores the value at path in found, and returns the index after the
// value at i.
func (d *Doc) find(i int, path string, found *[]byte) (int, error) {
	if i >= len(d.data) || d.data[i] != '{' {
		return d.skip(i)
	}
	for i = d.space(i + 1); ; {
		if i < len(d.data) && d.data[i] == '}' {
			return i + 1, nil
		}
		name, at, err := d.name(i)
		if err != nil {
			return i, err
		}
		i = at
		begin := i
		rest, exact, inside := match(name, path)
		switch {
		case inside:
			i, err = d.find(i, rest, found)
		case exact && d.counting:
			i, err = d.measure(i)
		default:
			i, err = d.skip(i)
		}
		if err != nil {
			return i, err
		}
		if exact {
			*found = d.data[begin:i]
		}
		if i, err = d.after(i); err != nil {
			return i, err
		}
	}
}

// name returns the name of the member at i, and the index at which its value begins.
func (d *Doc) name(i int) (name []byte, value int, err error) {
	if i >= len(d.data) || d.data[i] != '"' {
		return nil, i, syntax(i)
	}
	end, err := d.text(i)
	if err != nil {
		return nil, i, err
	}
	name = d.data[i+1 : end-1]
	if i = d.space(end); i >= len(d.data) || d.data[i] != ':' {
		return nil, i, syntax(i)
	}
	return name, d.space(i + 1), nil
}

// after returns the index at which the next member begins, or the index of the brace that ends the object.
func (d *Doc) after(i int) (int, error) {
	if i = d.space(i); i >= len(d.data) || d.data[i] != ',' && d.data[i] != '}' {
		return i, syntax(i)
	}
	if d.data[i] == ',' {
		if i = d.space(i + 1); i < len(d.data) && d.data[i] == '}' {
			return i, syntax(i)
		}
	}
	return i, nil
}

// MaxPaths is the most paths that Values takes.
const MaxPaths = 8

// Values leaves the value at each of the paths in found, in one pass; nil for a path without a value. There
// may be at most MaxPaths paths. They are as for Value, but none may end in a dot, and an empty path has no
// value.
func (d *Doc) Values(paths []string, found [][]byte) error {
	var rest [MaxPaths]string
	clear(found)
	end, err := d.findAll(d.space(0), rest[:copy(rest[:], paths)], found)
	if err == nil && d.space(end) < len(d.data) {
		err = syntax(d.space(end)) // the data holds more than one document
	}
	return err
}

// findAll looks for the paths that are not empty in the value at i, and returns the index after that value.
func (d *Doc) findAll(i int, paths []string, found [][]byte) (int, error) {
	if i >= len(d.data) || d.data[i] != '{' {
		return d.skip(i)
	}
	var rest [MaxPaths]string
	for i = d.space(i + 1); ; {
		if i < len(d.data) && d.data[i] == '}' {
			return i + 1, nil
		}
		name, at, err := d.name(i)
		if err != nil {
			return i, err
		}
		within, here := false, uint(0) // here has a bit for each path that ends with this name
		escaped := bytes.IndexByte(name, '\\') >= 0
		for k, path := range paths {
			rest[k] = ""
			if path == "" || !escaped && (len(path) < len(name) || len(name) > 0 && path[0] != name[0]) {
				continue
			}
			more, exact, inside := match(name, path)
			if inside {
				rest[k], within = more, true
			}
			if exact {
				here |= 1 << k
			}
		}
		if within {
			i, err = d.findAll(at, rest[:len(paths)], found)
		} else {
			i, err = d.skip(at)
		}
		if err != nil {
			return i, err
		}
		for k := 0; here != 0; k, here = k+1, here>>1 {
			if here&1 != 0 {
				found[k] = d.data[at:i]
			}
		}
		if i, err = d.after(i); err != nil {
			return i, err
		}
	}
}

// match compares name with path. Exact means that name is the whole path; inside means that path continues
// with rest in the value of name.
func match(name []byte, path string) (rest string, exact, inside bool) {
	if bytes.IndexByte(name, '\\') >= 0 {
		if len(name) > 6*len(path) { // an escape takes at most six bytes for one byte
			return "", false, false
		}
		var plain string
		var first byte // first byte of the decoded name; 0 if only decoding shows it
		switch {
		case name[0] != '\\':
			first = name[0]
		case len(name) > 1 && name[1] != 'u':
			first = name[1] // an escaped control character, quote or slash; a path holds no control characters
		}
		if len(path) > 0 && first != 0 && first != path[0] || json.Unmarshal([]byte(`"`+string(name)+`"`), &plain) != nil {
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
