// Package jsonscan finds values in JSON by their path, and the elements of an array, without decoding what lies
// between. It checks no more of the JSON than it needs to find its way: what it returns is to be decoded by encoding/json, which
// checks the rest.
package jsonscan

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
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

// Array finds the array at path. It returns how many elements it has and the last of them. Ok is false when there is
// nothing there, or null; anything else that is no array is an error.
func (d *Doc) Array(path string) (count int, last []byte, ok bool, err error) {
	d.start, d.end, d.ends, d.counting, d.count, d.last, d.other = 0, 0, nil, true, 0, nil, 0
	var end int
	if path == "" {
		end, err = d.measure(d.space(0))
	} else {
		var none []byte
		end, err = d.find(d.space(0), path, &none)
	}
	if d.counting = false; err == nil && d.space(end) < len(d.data) {
		err = syntax(d.space(end)) // there is more than one document
	}
	switch {
	case err != nil:
		d.start, d.end, d.ends = 0, 0, nil
		return 0, nil, false, err
	case d.other != 0:
		return 0, nil, false, fmt.Errorf("not an array but %s", kind(d.other))
	}
	return d.count, d.last, d.end > 0, nil
}

// measure goes through the array at i, and returns where it ends.
func (d *Doc) measure(i int) (int, error) {
	d.start, d.end, d.ends, d.count, d.last, d.other = 0, 0, nil, 0, nil, 0
	if i >= len(d.data) || d.data[i] != '[' {
		end, err := d.skip(i)
		if err == nil && string(d.data[i:end]) != "null" {
			d.other = d.data[i]
		}
		return end, err
	}
	start, ends := i, make([]uint32, 0, 128)
	for i = d.space(i + 1); ; i = d.space(i + 1) {
		if i < len(d.data) && d.data[i] == ']' && d.count == 0 {
			break
		}
		begin := i
		var err error
		if i, err = d.skip(i); err != nil {
			return i, err
		}
		if d.last = d.data[begin:i]; d.count < mostEnds {
			ends = append(ends, uint32(i-start))
		}
		d.count++
		if i = d.space(i); i >= len(d.data) || d.data[i] != ',' && d.data[i] != ']' {
			return i, syntax(i)
		}
		if d.data[i] == ']' {
			break
		}
	}
	d.start, d.end, d.ends = start, i+1, ends
	return i + 1, nil
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
	return Elements{Doc{data: d.data[d.start:d.end]}, d.ends, min(1, d.end-d.start), 0}
}

// Elements goes through the elements of an array.
type Elements struct {
	doc  Doc
	ends []uint32
	pos  int
	n    int // elements so far
}

// Several returns the next elements, at most n and of some most bytes together, as an array of their own, and how many they
// are. It lies in the document's memory, of which two bytes are changed until done is called, before anything else is.
func (e *Elements) Several(n, most int) (array []byte, count int, done func()) {
	from := e.n
	to := min(from+n, len(e.ends))
	for to > from+1 && int(e.ends[to-1])-e.pos > most {
		to = from + (to-from)/2
	}
	if to <= from {
		return nil, 0, nil
	}
	data := e.doc.data
	begin, end := e.doc.space(e.pos), int(e.ends[to-1]) // the comma before
	if from == 0 {
		begin = 0 // the array's own bracket
	}
	first, last := data[begin], data[end]
	data[begin], data[end] = '[', ']'
	e.pos, e.n = end, to
	return data[begin : end+1], to - from, func() { data[begin], data[end] = first, last }
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
	var end int
	if e.n < len(e.ends) {
		end = int(e.ends[e.n])
	} else {
		var err error
		if end, err = d.skip(i); err != nil {
			return nil, false, err
		}
	}
	e.n++
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
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 't', 'f', 'n':
	default:
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
	data, depth := d.data, 0
	for i < len(data) {
		switch marks[data[i]] {
		case quote:
			i = closing(data, i+1)
		case opens:
			depth++
		case closes:
			if depth--; depth == 0 {
				return i + 1, nil
			}
		}
		i++
	}
	return len(data), syntax(len(data))
}

// marks says what a byte means outside strings.
var marks = [256]uint8{'"': quote, '{': opens, '[': opens, '}': closes, ']': closes}

const (
	quote = 1 + iota
	opens
	closes
)

// text returns where the string at i ends.
func (d *Doc) text(i int) (int, error) {
	if i = closing(d.data, i+1); i >= len(d.data) {
		return len(d.data), syntax(len(d.data))
	}
	return i + 1, nil
}

// closing returns where the quote is that ends the string whose text begins at i, or at least len(data) when there is none. It
// looks at eight bytes at a time, and at more where the text is long.
func closing(data []byte, i int) int {
	const (
		ones  = 0x0101010101010101
		highs = 0x8080808080808080

		window = 1024
	)
	for long := i + 64; i+8 <= len(data); {
		if i >= long {
			part := data[i:min(len(data), i+window)] // what is looked through for nothing is bounded so
			end := bytes.IndexByte(part, '"')
			if end < 0 {
				end = len(part)
			}
			if slash := bytes.IndexByte(data[i:i+end], '\\'); slash >= 0 {
				end = slash
			}
			if i += end; i >= len(data) || data[i] == '"' {
				return i
			}
			if data[i] == '\\' {
				i += 2
				long = i + 64
			}
			continue
		}
		w := binary.LittleEndian.Uint64(data[i:])
		quotes, slashes := w^('"'*ones), w^('\\'*ones)
		// The lowest bit that is set belongs to the first byte that is either.
		found := ((quotes-ones)&^quotes | (slashes-ones)&^slashes) & highs
		if found == 0 {
			i += 8
			continue
		}
		if i += bits.TrailingZeros64(found) >> 3; data[i] == '"' {
			return i
		}
		i += 2
	}
	for ; i < len(data); i++ {
		switch data[i] {
		case '"':
			return i
		case '\\':
			i++
		}
	}
	return i
}
