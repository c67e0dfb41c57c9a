// Package schema says which fields the answers of a partner are expected to have, because partners change them without
// notice. Give a [Schema] to an importer's Job for its records, and to a call for its answer (belay.Expect).
package schema

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Mode decides the treatment of a record that differs from the schema.
type Mode uint8

const (
	// Report takes the record, and reports the difference.
	Report Mode = iota
	// Reject rejects the record, and reports the difference. A call fails with belay.ErrData.
	Reject
	// Fail reports the difference, and ends an import before the batch with that record is saved. For a call it is Reject.
	Fail
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

// Schema describes the expected records of a partner, and the treatment of records that differ. It is safe for concurrent
// use, unless its fields are changed.
type Schema struct {
	// Fields maps the path of each field to its allowed kinds: "id", "address.full" for a field of an object, "lines[].price"
	// for a field of each element of an array, "[].id" where the record itself is an array. A dot that is part of a name is
	// written \. It must not be empty. What holds a field need not be named: it must be there if the field must.
	Fields map[string]Kind
	// Mode decides the treatment of a record that differs.
	Mode Mode
	// Closed treats a field that Fields does not name as a difference too, wherever Fields names another one of the same
	// object.
	Closed bool
	// Changed is called once for each difference, for 1,000 differences at most, on the goroutine that looks. Nil
	// reports nothing.
	Changed func(Drift)

	compiled atomic.Pointer[node]
	mu       sync.Mutex
	reported map[string]bool
}

// Drift is the difference between a record and the schema. It holds paths and kinds, no values.
type Drift struct {
	// Missing and Unknown are paths of fields, sorted. Retyped maps the path of a field to its kind in the record. At most
	// twenty of each are named.
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

// Error is the error of a record that differs from the schema.
type Error struct{ difference string }

// Error says what differs. It has names and kinds of fields, and no values.
func (e *Error) Error() string { return "the record's shape has changed: " + e.difference }

// Check returns an error that names the field of s that is out of range.
func (s *Schema) Check() error {
	root, err := compile(s)
	if err != nil {
		return err
	}
	s.compiled.Store(root)
	return nil
}

// mostDrifts is the number of differences that are remembered as reported.
const mostDrifts = 1000

// Look compares a record, which is JSON, with the schema, and reports a difference that is new to s.Changed and to also;
// nil is not called. It returns an *Error if the mode asks for one. A record that is neither an object nor an array is an
// error in every mode; so is an array where no path begins with [].
func (s *Schema) Look(record json.RawMessage, also func(Drift)) error {
	root := s.compiled.Load()
	if root == nil {
		if err := s.Check(); err != nil {
			return err
		}
		root = s.compiled.Load()
	}
	l := look{closed: s.Closed}
	if kind := kindOf(record); kind != root.kind() || !l.in(root, "", record) {
		return &Error{"it is no " + root.kind().String()}
	}
	d := l.drift()
	text := d.String()
	if text == "" {
		return nil
	}
	if s.first(text) {
		for _, f := range [...]func(Drift){also, s.Changed} {
			if f != nil {
				f(d)
			}
		}
	}
	if s.Mode == Report {
		return nil
	}
	return &Error{text}
}

// first reports whether a difference is new, and remembers it.
func (s *Schema) first(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reported[text] || len(s.reported) >= mostDrifts {
		return false
	}
	if s.reported == nil {
		s.reported = make(map[string]bool)
	}
	s.reported[text] = true
	return true
}
