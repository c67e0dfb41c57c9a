// Package jsonscan finds values in JSON by their path, and the elements of an array, without decoding what lies
// between. It checks no more of the JSON than it needs to find its way: what it returns is to be decoded by encoding/json, which
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
	start, end int      // of the array
	ends       []uint32 // of its first elements, from start

	counting bool // while the array is looked for
	count    int
	last     []byte
	other    byte // what is there in its place begins with, 0 for nothing
}

// mostEnds is how many ends are kept, so that elements need not be looked for again.
const mostEnds = 4096

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

// name returns the name of the member at i, and where its value begins.
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

// after returns where the next member begins, or the brace that ends the object.
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

// MaxPaths is how many paths Values takes.
const MaxPaths = 8

// Values leaves in found what stands at each of the paths, in one pass; nil where there is nothing. It is Value for several,
// at most MaxPaths, none of which ends in a dot.
func (d *Doc) Values(paths []string, found [][]byte) error {
	var rest [MaxPaths]string
	clear(found)
	end, err := d.findAll(d.space(0), rest[:copy(rest[:], paths)], found)
	if err == nil && d.space(end) < len(d.data) {
		err = syntax(d.space(end)) // there is more than one document
	}
	return err
}

// findAll looks for the paths that are not empty in the value at i, and returns where that ends.
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

// match reports whether name is path, or path goes on inside it with rest.
func match(name []byte, path string) (rest string, exact, inside bool) {
	if bytes.IndexByte(name, '\\') >= 0 {
		if len(name) > 6*len(path) { // the longest that a byte can be written
			return "", false, false
		}
		var plain string
		var first byte // of the name; 0 for one that has to be decoded to be known
		switch {
		case name[0] != '\\':
			first = name[0]
		case len(name) > 1 && name[1] != 'u':
			first = name[1] // a control character, a quote or a slash: of these, only the last two can be in a path
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
