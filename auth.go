package belay

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"

	"github.com/belay-go/belay/internal/headers"
)

// Authenticator gives the credential for an attempt. It is asked once for each attempt, before the
// attempt waits for its turn, and may block; ctx is the call's. An error ends the call as ErrAuth.
// It must be safe for concurrent use. Where it is comparable, calls of one Authenticator share the
// pauses that the partner sets for a credential.
//
// An Authenticator may have more: [Refresher], [CredentialObserver], and a method Check() error that says why it cannot be used,
// which [WithAuth], [Auth] and [NewRotating] ask once.
type Authenticator interface {
	Credential(ctx context.Context) (Credential, error)
}

// Credential puts itself onto a request. The request is a clone that only this attempt uses, and it
// leads to the partner's own origin. It must be safe for concurrent use. It may be an [Expirer] too.
type Credential interface {
	Apply(req *http.Request) error
}

// Refresher is an [Authenticator] that can do something about a credential that the partner has answered with a
// 401. It is asked once for each call; the call is sent once more, whatever its method, as a 401 was not
// processed, and that attempt pays quota like any other. A second 401 is final. Without the layer of retries there
// is no second attempt.
type Refresher interface {
	// Reject says that the partner did not take c. It returns whether the next Credential will be another.
	// It must not block.
	Reject(ctx context.Context, c Credential) (retry bool)
}

// CredentialObserver is an [Authenticator] that is told what became of its credentials, after each attempt that the partner
// answered. Its methods must not block.
type CredentialObserver interface {
	// Accepted says that the partner took c: the attempt succeeded.
	Accepted(c Credential)
	// Rejected says that the partner answered c with a 401 where [Refresher] is not asked: for the second time in a call.
	Rejected(c Credential)
}

// Expirer is a [Credential] that ends. One that has expired while its call waited for its turn is replaced before it is sent.
type Expirer interface {
	Expired() bool
}

// Bearer sends "Authorization: Bearer" and the token (RFC 6750 section 2.1).
func Bearer(token Secret) Authenticator {
	return inHeader("Bearer", "Authorization", "Bearer "+token.Reveal(), token.Check())
}

// APIKey sends the key in a header, such as "X-Api-Key". Prefer it to [APIKeyQuery].
func APIKey(header string, key Secret) Authenticator {
	err := key.Check()
	switch {
	case err != nil:
	case header == "":
		err = errors.New("the name of the header is empty")
	case !headers.IsToken(header):
		err = fmt.Errorf("%q is not the name of a header", header)
	}
	return inHeader("APIKey", textproto.CanonicalMIMEHeaderKey(header), key.Reveal(), err)
}

// APIKeyQuery sends the key as a query parameter, for partners that take it nowhere else. It is put
// onto the wire only; errors, logs and events never hold it.
func APIKeyQuery(param string, key Secret) Authenticator {
	err := key.Check()
	if err == nil && param == "" {
		err = errors.New("the name of the parameter is empty")
	}
	pair := url.QueryEscape(param) + "=" + url.QueryEscape(key.Reveal())
	return &static{name: "APIKeyQuery", value: NewSecret(pair), err: err}
}

// Basic sends "Authorization: Basic" (RFC 7617). The user must not hold a colon; the password may be
// empty when the user is the secret, as some partners want it: Basic("", key) sends key as the user.
func Basic(user string, password Secret) Authenticator {
	err := password.Check()
	if err == nil && strings.ContainsAny(user, ":\r\n") {
		err = fmt.Errorf("the user %q has a colon or a line break", user)
	}
	pair := user + ":" + password.Reveal()
	if user == "" {
		pair = password.Reveal() + ":"
	}
	return inHeader("Basic", "Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(pair)), err)
}

func inHeader(name, header, value string, err error) Authenticator {
	return &static{name: name, header: header, value: NewSecret(value), err: err}
}

// static is a credential that does not change.
type static struct {
	name   string
	header string // empty: value belongs to the query
	value  Secret // all of what is sent
	err    error  // why it cannot be
}

func (s *static) Check() error {
	if s.err != nil {
		return fmt.Errorf("%s: %w", s.name, s.err)
	}
	return nil
}

// Credential returns itself.
func (s *static) Credential(context.Context) (Credential, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	return s, nil
}

// Apply puts the credential onto req.
func (s *static) Apply(req *http.Request) error {
	if s.header != "" {
		req.Header[s.header] = []string{s.value.Reveal()}
		return nil
	}
	u := *req.URL
	// Appended rather than parsed and encoded again: the partner's own query stays as it was.
	pair := s.value.Reveal()
	if u.RawQuery != "" {
		pair = u.RawQuery + "&" + pair
	}
	u.RawQuery = pair
	req.URL = &u
	return nil
}

func checkAuth(a Authenticator) error {
	if a == nil {
		return errors.New("the authenticator is nil")
	}
	if c, ok := a.(interface{ Check() error }); ok {
		return c.Check()
	}
	return nil
}

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

func (s *signer) Check() error {
	if s.f == nil {
		return errors.New("Sign: the function is nil")
	}
	return nil
}

func (s *signer) Credential(context.Context) (Credential, error) {
	if err := s.Check(); err != nil {
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
