package importer

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// SchemaMode says what becomes of a record that does not look as expected.
type SchemaMode uint8

const (
	// SchemaReport saves the record, and tells of it.
	SchemaReport SchemaMode = iota
	// SchemaReject sets the record aside, and tells of it.
	SchemaReject
	// SchemaFail ends the run before the batch with that record is saved.
	SchemaFail
)

// Kind is what a JSON value is. Kinds may be joined by |.
type Kind uint8

const (
	// Text is a JSON string.
	Text Kind = 1 << iota
	// Number is a JSON number.
	Number
	// Bool is true or false.
	Bool
	// Object is a JSON object.
	Object
	// Array is a JSON array.
	Array
	// Null is null, and a field that is missing.
	Null
	// Anything is any of them, but not missing.
	Anything = Text | Number | Bool | Object | Array
)

// String returns the kinds' names, joined by "or".
func (k Kind) String() string {
	var names []string
	for i, name := range [...]string{"text", "number", "bool", "object", "array", "null"} {
		if k>>i&1 != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, " or ")
}

// Schema is what a partner's records are expected to look like, and what happens when they do not: partners change their schemas
// without a word.
type Schema struct {
	// Fields are the record's own, by name, and what each may be.
	Fields map[string]Kind
	// Mode says what becomes of a record that differs.
	Mode SchemaMode
	// Closed counts fields that Fields does not name as a difference too.
	Closed bool
	// Changed is told of each difference once, on a worker's goroutine. Nil tells nobody.
	Changed func(Drift)

	mu   sync.Mutex
	told map[string]bool
}

// Drift is how a record differs from the schema. It holds names and kinds, no values.
type Drift struct {
	// Missing and Unknown are names of fields, sorted. Retyped say what a field is now.
	Missing, Unknown []string
	Retyped          map[string]Kind
}

// String names the fields in one line.
func (d Drift) String() string {
	var parts []string
	if len(d.Missing) > 0 {
		parts = append(parts, "missing "+strings.Join(d.Missing, ", "))
	}
	for _, name := range slices.Sorted(maps.Keys(d.Retyped)) {
		parts = append(parts, fmt.Sprintf("%s is %s", name, d.Retyped[name]))
	}
	if len(d.Unknown) > 0 {
		parts = append(parts, "unknown "+strings.Join(d.Unknown, ", "))
	}
	return strings.Join(parts, "; ")
}

// schemaError is a record that does not look as expected.
type schemaError struct{ text string }

func (e *schemaError) Error() string { return "importer: the record's shape has changed: " + e.text }

func (s *Schema) check() error {
	switch {
	case len(s.Fields) == 0:
		return errors.New("importer: Schema.Fields is empty")
	case s.Mode > SchemaFail:
		return fmt.Errorf("importer: Schema.Mode is %d, not known", s.Mode)
	}
	for name, kind := range s.Fields {
		if kind == 0 {
			return fmt.Errorf("importer: Schema.Fields[%q] has no kind", name)
		}
	}
	return nil
}

const (
	mostDrifts = 1000 // that are remembered as told
	mostNames  = 20   // of unknown fields in one
)

// look compares a record, tells of what is new, and returns an error where the mode wants one.
func (s *Schema) look(raw json.RawMessage) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return &schemaError{"it is no object"}
	}
	d := Drift{}
	for name, want := range s.Fields {
		v, there := fields[name]
		if got := kindOf(v); !there && want&Null == 0 {
			d.Missing = append(d.Missing, name)
		} else if there && got&want == 0 {
			if d.Retyped == nil {
				d.Retyped = make(map[string]Kind)
			}
			d.Retyped[name] = got
		}
	}
	if s.Closed {
		for name := range fields {
			if _, known := s.Fields[name]; !known {
				d.Unknown = append(d.Unknown, name[:min(len(name), 100)])
			}
		}
	}
	slices.Sort(d.Missing)
	slices.Sort(d.Unknown)
	d.Unknown = d.Unknown[:min(len(d.Unknown), mostNames)]
	text := d.String()
	if text == "" {
		return nil
	}
	s.tell(text, d)
	if s.Mode == SchemaReport {
		return nil
	}
	return &schemaError{text}
}

func (s *Schema) tell(text string, d Drift) {
	s.mu.Lock()
	known := s.told[text] || len(s.told) >= mostDrifts
	if !known {
		if s.told == nil {
			s.told = make(map[string]bool)
		}
		s.told[text] = true
	}
	s.mu.Unlock()
	if !known && s.Changed != nil {
		s.Changed(d)
	}
}

func kindOf(v json.RawMessage) Kind {
	if len(v) == 0 {
		return Null
	}
	switch v[0] {
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
