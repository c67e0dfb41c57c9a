package jsonscan

import (
	"fmt"
)

// Array finds the array at path. It returns the number of its elements and the last one that is not null. Ok is false
// if there is nothing at path, or null; any other value that is not an array is an error.
func (d *Doc) Array(path string) (count int, last []byte, ok bool, err error) {
	d.start, d.end, d.ends, d.counting, d.count, d.nulls, d.last, d.other = 0, 0, nil, true, 0, 0, nil, 0
	var end int
	if path == "" {
		end, err = d.measure(d.space(0))
	} else {
		var none []byte
		end, err = d.find(d.space(0), path, &none)
	}
	if d.counting = false; err == nil && d.space(end) < len(d.data) {
		err = syntax(d.space(end)) // the data holds more than one document
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

// measure scans the array at i, records its elements, and returns the index after it.
func (d *Doc) measure(i int) (int, error) {
	d.start, d.end, d.ends, d.count, d.nulls, d.last, d.other = 0, 0, nil, 0, 0, nil, 0
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
		if d.data[begin] == 'n' {
			d.nulls++
		} else {
			d.last = d.data[begin:i]
		}
		if d.count < mostEnds {
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

// Nulls returns the number of elements that are null in the array that Array found.
func (d *Doc) Nulls() int { return d.nulls }

// Raw returns the array that Array found.
func (d *Doc) Raw() []byte { return d.data[d.start:d.end] }

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

// Elements returns an iterator over the elements of the array that Array found.
func (d *Doc) Elements() Elements {
	return Elements{Doc{data: d.data[d.start:d.end]}, d.ends, min(1, d.end-d.start), 0}
}

// Elements iterates over the elements of a JSON array in a Doc.
type Elements struct {
	doc  Doc
	ends []uint32
	pos  int
	n    int // number of elements returned so far
}

// Several returns the next elements as an array of their own, and their number: at most n elements, of about
// most bytes together. The array lies in the document's memory, of which two bytes are changed. Done restores
// them; call it before any other method. Count is 0 and done is nil if the end of the next element is not
// known (see mostEnds).
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
	begin, end := e.doc.space(e.pos), int(e.ends[to-1]) // the comma before the first element
	if from == 0 {
		begin = 0 // the array's own bracket
	}
	first, last := data[begin], data[end]
	data[begin], data[end] = '[', ']'
	e.pos, e.n = end, to
	return data[begin : end+1], to - from, func() { data[begin], data[end] = first, last }
}

// Next returns the next element, or false after the last one.
func (e *Elements) Next() ([]byte, bool, error) {
	d := &e.doc
	i := d.space(e.pos)
	switch {
	case i >= len(d.data) && e.pos == 0: // there is no array
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
