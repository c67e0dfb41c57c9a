package belay

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
)

const redacted = "REDACTED"

// Secret holds a credential that does not print: not by fmt in any verb, not as JSON or text, not in
// slog, not from an unexported field of some struct. [Secret.Reveal] is the one way to it. The zero
// value is the empty secret. It is safe for concurrent use; compare Secrets by what they reveal.
type Secret struct {
	reveal func() string // a func prints as an address, also where fmt cannot call methods
}

// NewSecret returns a Secret of s.
func NewSecret(s string) Secret { return Secret{func() string { return s }} }

// Reveal returns what the secret holds, "" for the zero value.
func (s Secret) Reveal() string {
	if s.reveal == nil {
		return ""
	}
	return s.reveal()
}

// Format writes "REDACTED" for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// String returns "REDACTED".
func (s Secret) String() string { return redacted }

// LogValue logs "REDACTED".
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText writes "REDACTED", in JSON too.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// UnmarshalText takes text as the secret, so that configuration can hold one. What MarshalText wrote is an error: it is lost.
func (s *Secret) UnmarshalText(text []byte) error {
	if string(text) == redacted {
		return errors.New("belay: the secret was written as " + redacted + ", and is lost; write what Reveal returns")
	}
	*s = NewSecret(string(text))
	return nil
}

// Check returns why s cannot be sent in a header: it is empty, or has a line break or another control character. It is nil where s
// can be sent.
func (s Secret) Check() error {
	v := s.Reveal()
	switch v {
	case "":
		return errors.New("the secret is empty")
	case redacted:
		return errors.New("the secret was written as " + redacted + ", and is lost")
	}
	for i := range len(v) {
		if v[i] < ' ' || v[i] == 0x7f {
			return fmt.Errorf("the secret has a control character at byte %d (a line break at the end of a file?)", i)
		}
	}
	return nil
}
