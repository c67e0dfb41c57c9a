package schema

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// node is what is expected at a place of a record.
type node struct {
	want     Kind
	named    bool // Fields names it
	fields   map[string]*node
	order    []string // of fields
	path     string   // as it is shown
	index    int      // in the order of its parent
	elements *node
}

// kind is Array for a place with elements, otherwise Object.
func (n *node) kind() Kind {
	if n.elements != nil {
		return Array
	}
	return Object
}

// required reports whether the place must be there.
func (n *node) required() bool {
	if n.named {
		return n.want&Null == 0
	}
	for _, f := range n.fields {
		if f.required() {
			return true
		}
	}
	return n.elements != nil && n.elements.required()
}

// compile returns the tree of a schema's paths.
func compile(s *Schema) (*node, error) {
	if len(s.Fields) == 0 {
		return nil, errors.New("schema: Schema.Fields is empty")
	}
	if s.Mode > Fail {
		return nil, fmt.Errorf("schema: Schema.Mode is %d, not known", s.Mode)
	}
	root := new(node)
	for path, kind := range s.Fields {
		switch {
		case kind == 0:
			return nil, fmt.Errorf("schema: Schema.Fields[%q] has no kind", path)
		case kind&^(Anything|Null) != 0:
			return nil, fmt.Errorf("schema: Schema.Fields[%q] has the unknown kind %d", path, kind)
		}
		at, err := root.at(path)
		if err != nil {
			return nil, err
		}
		at.want, at.named = kind, true
	}
	return root, root.check("")
}

// at returns the node of a path, and makes the ones on the way.
func (n *node) at(path string) (*node, error) {
	rest := path
	for first := true; ; first = false {
		name, after, more := segment(rest)
		elements := 0
		for strings.HasSuffix(name, "[]") {
			name = name[:len(name)-2]
			elements++
		}
		if name == "" && !(first && elements > 0) {
			return nil, fmt.Errorf("schema: Schema.Fields[%q] has a part without a name", path)
		}
		if name != "" {
			name = strings.ReplaceAll(name, `\.`, ".")
			if n.fields == nil {
				n.fields = make(map[string]*node)
			}
			if n.fields[name] == nil {
				n.fields[name] = new(node)
			}
			n = n.fields[name]
		}
		for range elements {
			if n.elements == nil {
				n.elements = new(node)
			}
			n = n.elements
		}
		if !more {
			return n, nil
		}
		rest = after
	}
}

// segment splits a path behind its first name.
func segment(path string) (name, rest string, more bool) {
	for i := 0; i < len(path); i++ {
		switch path[i] {
		case '\\':
			if strings.HasPrefix(path[i+1:], ".") {
				i++
			}
		case '.':
			return path[:i], path[i+1:], true
		}
	}
	return path, "", false
}

// check completes the places below one, and returns an error for a place that cannot be what is named in it.
func (n *node) check(path string) error {
	n.path = path
	if n.fields != nil && n.elements != nil {
		return fmt.Errorf("schema: Schema.Fields has names and elements in %q", path)
	}
	if n.fields == nil && n.elements == nil {
		return nil
	}
	if n.named && n.want&n.kind() == 0 {
		return fmt.Errorf("schema: Schema.Fields[%q] is %s, and has fields in it", path, n.want)
	}
	n.order = slices.Sorted(maps.Keys(n.fields))
	for i, name := range n.order {
		f := n.fields[name]
		f.index = i
		if err := f.check(join(path, name)); err != nil {
			return err
		}
	}
	if n.elements != nil {
		return n.elements.check(path + "[]")
	}
	return nil
}

// join returns the path of a field.
func join(path, name string) string {
	name = strings.ReplaceAll(name, ".", `\.`)
	if path == "" {
		return name
	}
	return path + "." + name
}
