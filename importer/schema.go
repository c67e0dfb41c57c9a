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

// SchemaMode decides the treatment of a record that differs from the schema.
type SchemaMode uint8

const (
	// SchemaReport saves the record, and reports the difference.
	SchemaReport SchemaMode = iota
	// SchemaReject rejects the record, and reports the difference.
	SchemaReject
	// SchemaFail reports the difference, and ends the run before the batch with that record is saved.
	SchemaFail
)

// Kind is the type of a JSON value. Kinds may be joined by |.
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
	// Null is null or a missing field.
	Null
	// Anything is any kind except Null, so the field must be present.
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

// Schema describes the expected records of a partner, and the treatment of records that differ, because
// partners change their schemas without notice.
type Schema struct {
	// Fields maps the name of each field of the record to its allowed kinds. It must not be empty.
	Fields map[string]Kind
	// Mode decides the treatment of a record that differs.
	Mode SchemaMode
	// Closed treats a field that Fields does not name as a difference too.
	Closed bool
	// Changed is called once for each difference, for 1,000 differences at most, on a worker's goroutine. Nil
	// reports nothing.
	Changed func(Drift)

	mu       sync.Mutex
	reported map[string]bool
}

// Drift is the difference between a record and the schema. It holds names and kinds, no values.
type Drift struct {
	// Missing and Unknown are names of fields, sorted. Retyped maps the name of a field to its kind in the
	// record.
	Missing, Unknown []string
	Retyped          map[string]Kind
}

// String returns the fields on one line.
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

// schemaError is the error of a record that differs from the schema.
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
	mostDrifts = 1000 // differences that are remembered as reported
	mostNames  = 20   // unknown fields in one Drift
)

// look compares a record with the schema, reports a new difference, to also too, and returns an error if the mode requires
// one. A record that is not an object is an error in every mode.
func (s *Schema) look(raw json.RawMessage, also func(Drift)) error {
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
	s.tell(text, d, also)
	if s.Mode == SchemaReport {
		return nil
	}
	return &schemaError{text}
}

func (s *Schema) tell(text string, d Drift, also func(Drift)) {
	s.mu.Lock()
	known := s.reported[text] || len(s.reported) >= mostDrifts
	if !known {
		if s.reported == nil {
			s.reported = make(map[string]bool)
		}
		s.reported[text] = true
	}
	s.mu.Unlock()
	if known {
		return
	}
	also(d)
	if s.Changed != nil {
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
