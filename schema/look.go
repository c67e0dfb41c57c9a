package schema

import (
	"encoding/json"
	"maps"
	"slices"
)

// look is one comparison.
type look struct {
	closed           bool
	missing, unknown map[string]bool
	retyped          map[string]Kind
}

const (
	mostNames   = 20  // of each kind in one Drift
	longestName = 100 // bytes of the name of a field that is not known
	deepest     = 8   // levels of an object that is not known
)

// in compares a value, which is of the kind of n, with what is expected in it. It returns false if the value is no JSON.
func (l *look) in(n *node, path string, value json.RawMessage) bool {
	if n.elements != nil {
		var elements []json.RawMessage
		if json.Unmarshal(value, &elements) != nil {
			return false
		}
		for _, e := range elements {
			if !l.at(n.elements, path+"[]", e, true) {
				return false
			}
		}
		return true
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(value, &fields) != nil {
		return false
	}
	for _, name := range n.order {
		v, there := fields[name]
		if !l.at(n.fields[name], join(path, name), v, there) {
			return false
		}
	}
	if l.closed {
		l.strangers(fields, n.fields, path, 1)
	}
	return true
}

// at compares a value with what is expected of its place.
func (l *look) at(n *node, path string, value json.RawMessage, there bool) bool {
	inner := n.fields != nil || n.elements != nil
	got := kindOf(value)
	switch {
	case !there, inner && !n.named && got == Null:
		if n.required() {
			l.absent(n, path)
		}
		return true
	case n.named && n.want&got == 0, inner && !n.named && got != n.kind():
		l.retyped = put(l.retyped, path, got)
		return true
	case inner && got == n.kind():
		return l.in(n, path, value)
	}
	return true
}

// absent notes the fields that are missing in a place that is.
func (l *look) absent(n *node, path string) {
	if n.named || n.fields == nil && n.elements == nil {
		l.missing = put(l.missing, path, true)
		return
	}
	for name, f := range n.fields {
		if f.required() {
			l.absent(f, join(path, name))
		}
	}
	if n.elements != nil && n.elements.required() {
		l.missing = put(l.missing, path, true) // without elements, none of them lacks a field
	}
}

// strangers notes the fields of an object that are not known, by the fields in them if they are objects.
func (l *look) strangers(fields map[string]json.RawMessage, known map[string]*node, path string, depth int) {
	for _, name := range slices.Sorted(maps.Keys(fields)) { // in order, because not all of them may be named
		if known[name] != nil {
			continue
		}
		if len(l.unknown) >= mostNames {
			return
		}
		at := join(path, name[:min(len(name), longestName)])
		var inner map[string]json.RawMessage
		if v := fields[name]; depth < deepest && kindOf(v) == Object && json.Unmarshal(v, &inner) == nil && len(inner) > 0 {
			l.strangers(inner, nil, at, depth+1)
		} else {
			l.unknown = put(l.unknown, at, true)
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
func (l *look) drift() Drift {
	d := Drift{Missing: names(l.missing), Unknown: names(l.unknown), Retyped: l.retyped}
	if len(d.Retyped) > mostNames {
		kept := make(map[string]Kind, mostNames)
		for _, name := range names(l.retyped) {
			kept[name] = l.retyped[name]
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

// kindOf returns the kind of a value, Null for none.
func kindOf(v json.RawMessage) Kind {
	for _, c := range v {
		switch c {
		case ' ', '\t', '\r', '\n':
			continue
		case '"':
			return Text
		case '{':
			return Object
		case '[':
			return Array
		case 't', 'f':
			return Bool
		case 'n':
			return Null
		}
		return Number
	}
	return Null
}
