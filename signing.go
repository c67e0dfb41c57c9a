package belay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// maxSignedBody is how much of a body a signer gets.
const maxSignedBody = 64 << 20

// Sign returns a credential that f computes from the request and its body: a signature over method, path, time and body, say.
// It runs once for each attempt, when all waiting is over, so that a timestamp is fresh, on a clone that only this
// attempt uses. The body is nil where there is none; one that can be read only once, or above 64 MiB, cannot be signed and
// fails the call as ErrInvalid. F must be safe for concurrent use and not keep the body. Nil is an error.
func Sign(f func(req *http.Request, body []byte) error) Authenticator { return &signer{f} }

type signer struct {
	f func(*http.Request, []byte) error
}

func (s *signer) check() error {
	if s.f == nil {
		return errors.New("Sign: the function is nil")
	}
	return nil
}

func (s *signer) Credential(context.Context) (Credential, error) {
	if err := s.check(); err != nil {
		return nil, invalid("%w", err)
	}
	return s, nil
}

func (s *signer) Apply(req *http.Request) error {
	data, err := signedBody(req)
	if err != nil {
		return err
	}
	if err := s.f(req, data); err != nil {
		return fmt.Errorf("signing: %w", err)
	}
	return nil
}

// signedBody returns what the request will send.
func signedBody(req *http.Request) ([]byte, error) {
	if req.Body == nil || req.Body == http.NoBody {
		return nil, nil
	}
	if req.GetBody == nil {
		return nil, invalid("Sign: the body can be read only once, so it cannot be signed")
	}
	rc, err := req.GetBody()
	if err != nil {
		return nil, invalid("Sign: GetBody: %w", err)
	}
	defer rc.Close()
	data, err := io.ReadAll(io.LimitReader(rc, maxSignedBody+1))
	if err != nil {
		return nil, invalid("Sign: reading the body: %w", err)
	}
	if len(data) > maxSignedBody {
		return nil, invalid("Sign: the body is above %d bytes", maxSignedBody)
	}
	return data, nil
}
