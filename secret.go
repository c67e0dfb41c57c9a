package belay

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
)

const redacted = "REDACTED"

// Secret holds a credential and does not print it: not with fmt in any verb, not as JSON or text, not in
// slog, and not from an unexported field of a struct. Only [Secret.Reveal] returns the credential. The zero
// value is the empty secret. It is safe for concurrent use. To compare two Secrets, compare their revealed
// texts.
type Secret struct {
	reveal func() string // a func, because fmt prints it as an address even where it cannot call methods
}

// NewSecret returns a Secret that holds s.
func NewSecret(s string) Secret { return Secret{func() string { return s }} }

// Reveal returns the credential, "" for the zero value.
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

// LogValue returns "REDACTED" for slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns "REDACTED", for JSON too.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// UnmarshalText makes text the secret, so that configuration can hold one. The text "REDACTED" is an error:
// MarshalText has written it, and the secret is lost.
func (s *Secret) UnmarshalText(text []byte) error {
	if string(text) == redacted {
		return errors.New("belay: the secret was written as " + redacted + ", and is lost; write what Reveal returns")
	}
	*s = NewSecret(string(text))
	return nil
}

// Check returns an error if s cannot be sent in a header: it is empty, it was written as "REDACTED", or it
// has a line break or another control character. Otherwise it returns nil.
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
