// Package schema says which fields the answers of a partner are expected to have, because partners change them without
// notice. Give a [Schema] to an importer's Job for its records, and to a call for its answer (belay.Expect).
package schema

import (
	"bytes"
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
	// Report accepts the record, and reports the difference.
	Report Mode = iota
	// Reject rejects the record, and reports the difference. A call fails with belay.ErrData.
	Reject
	// Fail reports the difference, and ends an import before the batch with that record is saved. For a call it is the
	// same as Reject.
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

// Schema describes the expected records of a partner, and the treatment of records that differ. Make it once and share
// it: it remembers which differences it has reported. Its fields must not change after its first use. It is safe for
// concurrent use.
type Schema struct {
	// Fields maps the path of each field to its allowed kinds: "id", "address.full" for a field of an object,
	// "lines[].price" for a field of each element of an array, "[].id" where the record itself is an array. Write a dot
	// inside a name as `\.`. Objects and arrays on the way need not be listed: they must be present if a required field is
	// inside. It must not be empty.
	Fields map[string]Kind
	// Mode decides the treatment of a record that differs.
	Mode Mode
	// Closed also reports fields that Fields does not name, in each object of which Fields names at least one field.
	Closed bool
	// Changed is called once for each difference, for 2,000 differences at most, on the goroutine that calls Compare. A
	// panic of it is contained. Nil means no function.
	Changed func(Drift)

	compiled atomic.Pointer[node]
	mu       sync.Mutex
	reported map[string]bool
	strange  map[string]bool // reported names that are not known
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

// mostDrifts is the number of differences that are remembered as reported, of names that are not known and of others.
const mostDrifts = 1000

// Compare compares a record, which is JSON, with the schema. A difference that was not seen before is passed to
// s.Changed and to onNew, which may be nil. It returns an *Error if the record differs and Mode is not Report, and if
// it is not the object or the array that Fields describes; and the error of Check. clean returns the name of a field
// that is not known as it may be shown; nil shows it as it is. s must not be nil.
func (s *Schema) Compare(record json.RawMessage, clean func(string) string, onNew func(Drift)) error {
	root := s.compiled.Load()
	if root == nil {
		if err := s.Check(); err != nil {
			return err
		}
		root = s.compiled.Load()
	}
	c := comparison{in: json.NewDecoder(bytes.NewReader(record)), closed: s.Closed, clean: clean}
	c.in.UseNumber()
	if c.record(root) != nil {
		return &Error{"it is no " + root.kind().String()}
	}
	d := c.drift()
	text := d.String()
	if text == "" {
		return nil
	}
	if s.first(d) {
		for _, f := range [...]func(Drift){onNew, s.Changed} {
			if f != nil {
				tell(f, d)
			}
		}
	}
	if s.Mode == Report {
		return nil
	}
	return &Error{text}
}

// tell calls f, and contains a panic of it.
func tell(f func(Drift), d Drift) {
	defer func() { _ = recover() }()
	f(d)
}

// first reports whether a difference is new, and remembers it. Names that are not known, which the partner makes up,
// have a bound of their own, so that they use up no other's.
func (s *Schema) first(d Drift) bool {
	unknown := Drift{Unknown: d.Unknown}.String()
	d.Unknown = nil
	s.mu.Lock()
	defer s.mu.Unlock()
	a := remember(&s.reported, d.String())
	b := remember(&s.strange, unknown)
	return a || b
}

func remember(known *map[string]bool, text string) bool {
	if text == "" || (*known)[text] || len(*known) >= mostDrifts {
		return false
	}
	*known = put(*known, text, true)
	return true
}
