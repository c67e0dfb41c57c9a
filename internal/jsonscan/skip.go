package jsonscan

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// space returns the index after the white space at i.
func (d *Doc) space(i int) int {
	for i < len(d.data) && (d.data[i] == ' ' || d.data[i] == '\n' || d.data[i] == '\r' || d.data[i] == '\t') {
		i++
	}
	return i
}

// skip returns the index after the value at i.
func (d *Doc) skip(i int) (int, error) {
	if i >= len(d.data) {
		return i, syntax(i)
	}
	if i == d.start && d.end > d.start { // the array that Array found
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

// nested returns the index after the object or array at i. It counts brackets without distinguishing their
// kinds; encoding/json does that later.
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

// marks has the meaning of each byte outside strings.
var marks = [256]uint8{'"': quote, '{': opens, '[': opens, '}': closes, ']': closes}

const (
	quote = 1 + iota
	opens
	closes
)

// text returns the index after the string at i.
func (d *Doc) text(i int) (int, error) {
	if i = closing(d.data, i+1); i >= len(d.data) {
		return len(d.data), syntax(len(d.data))
	}
	return i + 1, nil
}

// searched counts the bytes that closing searches in windows, for a test of how its work grows; nil counts nothing.
var searched *int

// closing returns the index of the quote that ends the string whose text begins at i, or at least len(data)
// if there is none. It examines eight bytes at a time, and more at a time once the text is long.
func closing(data []byte, i int) int {
	const (
		ones  = 0x0101010101010101
		highs = 0x8080808080808080

		window = 1024
	)
	for long := i + 64; i+8 <= len(data); {
		if i >= long {
			part := data[i:min(len(data), i+window)] // bounds the bytes that are searched in vain
			if searched != nil {
				*searched += len(part)
			}
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
		// The lowest bit set in found belongs to the first quote or backslash.
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
