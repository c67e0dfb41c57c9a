package schema

import (
	"encoding/json"
	"errors"
	"slices"
)

// comparison is one record beside what is expected of it. It reads the record once, token by token, so that a large one
// takes no more memory than a small one.
type comparison struct {
	in               *json.Decoder
	closed           bool
	clean            func(name string) string // nil shows names as they are
	missing, unknown map[string]bool
	retyped          map[string]Kind
}

const (
	mostNames   = 20   // of each kind in one Drift
	mostUnknown = 1000 // of which those are the first by name
	longestName = 100  // bytes of the name of a field that is not known
	deepest     = 8    // levels of an object that is not known
)

var errOtherKind = errors.New("another kind of value")

// record compares a whole record.
func (c *comparison) record(root *node) error {
	t, err := c.in.Token()
	if err != nil {
		return err
	}
	if kindOf(t) != root.kind() {
		return errOtherKind
	}
	if err := c.inside(root); err != nil {
		return err
	}
	if c.in.More() {
		return errOtherKind
	}
	return nil
}

// inside compares what is in an object or an array, whose opening token has been read.
func (c *comparison) inside(n *node) error {
	if n.elements != nil {
		for c.in.More() {
			if err := c.value(n.elements); err != nil {
				return err
			}
		}
		_, err := c.in.Token()
		return err
	}
	seen := make([]bool, len(n.order))
	for c.in.More() {
		t, err := c.in.Token()
		if err != nil {
			return err
		}
		name, _ := t.(string)
		switch f := n.fields[name]; {
		case f != nil:
			seen[f.index] = true
			err = c.value(f)
		case c.closed && len(c.unknown) < mostUnknown:
			err = c.stranger(n.path, name, 1)
		default:
			err = c.skip()
		}
		if err != nil {
			return err
		}
	}
	for i, name := range n.order {
		if f := n.fields[name]; !seen[i] && f.required() {
			c.absent(f)
		}
	}
	_, err := c.in.Token()
	return err
}

// value compares the value at a place.
func (c *comparison) value(n *node) error {
	t, err := c.in.Token()
	if err != nil {
		return err
	}
	inner, got := n.fields != nil || n.elements != nil, kindOf(t)
	switch {
	case inner && !n.named && got == Null:
		if n.required() {
			c.absent(n)
		}
	case n.named && n.want&got == 0, inner && !n.named && got != n.kind():
		c.retyped = put(c.retyped, n.path, got)
	case inner && got == n.kind():
		return c.inside(n)
	}
	return c.skipRest(t)
}

// absent notes the fields that are missing in a place that is.
func (c *comparison) absent(n *node) {
	if n.named || n.elements != nil { // without elements, none of them lacks a field
		c.missing = put(c.missing, n.path, true)
		return
	}
	for _, f := range n.fields {
		if f.required() {
			c.absent(f)
		}
	}
}

// stranger notes a field that is not known, by the fields in it if it is an object.
func (c *comparison) stranger(path, name string, depth int) error {
	if c.clean != nil { // before it is cut, as the rest of a secret would not be found
		name = c.clean(name)
	}
	path = join(path, name[:min(len(name), longestName)])
	t, err := c.in.Token()
	if err != nil {
		return err
	}
	if t != json.Delim('{') || depth >= deepest || !c.in.More() {
		c.unknown = put(c.unknown, path, true)
		return c.skipRest(t)
	}
	for c.in.More() {
		t, err := c.in.Token()
		if err != nil {
			return err
		}
		inner, _ := t.(string)
		if len(c.unknown) < mostUnknown {
			err = c.stranger(path, inner, depth+1)
		} else {
			err = c.skip()
		}
		if err != nil {
			return err
		}
	}
	_, err = c.in.Token()
	return err
}

// skip reads over a value.
func (c *comparison) skip() error {
	t, err := c.in.Token()
	if err != nil {
		return err
	}
	return c.skipRest(t)
}

// skipRest reads over the rest of a value whose first token has been read.
func (c *comparison) skipRest(t json.Token) error {
	for depth := 0; ; {
		if d, ok := t.(json.Delim); ok {
			if d == '{' || d == '[' {
				depth++
			} else {
				depth--
			}
		}
		if depth == 0 {
			return nil
		}
		var err error
		if t, err = c.in.Token(); err != nil {
			return err
		}
	}
}

func put[V any](m map[string]V, path string, v V) map[string]V {
	if m == nil {
		m = make(map[string]V)
	}
	m[path] = v
	return m
}

// drift returns what differs, in an order.
func (c *comparison) drift() Drift {
	d := Drift{Missing: names(c.missing), Unknown: names(c.unknown), Retyped: c.retyped}
	if len(d.Retyped) > mostNames {
		kept := make(map[string]Kind, mostNames)
		for _, name := range names(c.retyped) {
			kept[name] = c.retyped[name]
		}
		d.Retyped = kept
	}
	return d
}

func names[V any](m map[string]V) []string {
	if len(m) == 0 {
		return nil
	}
	all := make([]string, 0, len(m))
	for name := range m {
		all = append(all, name)
	}
	slices.Sort(all)
	return all[:min(len(all), mostNames)]
}

// kindOf returns the kind of the value that begins with a token.
func kindOf(t json.Token) Kind {
	switch t := t.(type) {
	case nil:
		return Null
	case string:
		return Text
	case bool:
		return Bool
	case json.Delim:
		if t == '{' {
			return Object
		}
		return Array
	}
	return Number
}
