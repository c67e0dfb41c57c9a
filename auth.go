package belay

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"

	"github.com/belay-go/belay/internal/headers"
)

// Authenticator provides the credential for an attempt. It is asked once for each attempt, before the attempt
// waits for its turn, and may block; ctx is the context of the call. An error ends the call as ErrAuth, unless
// ctx has ended or the error is an [*Error] of another class than ClassClient. An Authenticator must be safe
// for concurrent use. The calls with the same Authenticator share the pauses that the partner asks for per credential.
// The same is one that is equal; a struct with a [Secret] in it cannot be compared, and is then the one of its client and
// of those made from it by [Client.With], or that of its CredentialID, see [Identified]. After a wait of the attempt
// it is asked again when the request goes out, unless its credential is an [Expirer]: it should keep what it has. An
// error with a method TriedAgain() bool that returns
// true says that the Authenticator has tried more than once by itself: the call does not try again then, unless it
// has [Patience].
//
// An Authenticator may implement more: [Refresher], [CredentialObserver], and a method Check() error, which
// says why it cannot be used. [WithAuth], [Auth], [NewRotating] and [Rotating.Rotate] call Check once.
type Authenticator interface {
	Credential(ctx context.Context) (Credential, error)
}

// Credential adds itself to a request. The request is a clone that only this attempt uses, and it goes to the
// partner's own origin. A Credential must be safe for concurrent use. It may also be an [Expirer].
type Credential interface {
	Apply(req *http.Request) error
}

// Refresher is an [Authenticator] that can replace a credential that the partner has refused: with a 401, or with an
// answer whose [Verdict] says Renew. It is asked once for each call, and again after each redirect that is followed. If
// another credential follows and the body can be sent again, the call is sent once more, regardless of its method,
// because the partner did not process the first attempt; the new attempt takes permits like any other. A second 401 is
// final. Without the retry layer there is no second attempt.
type Refresher interface {
	// Reject reports that the partner did not accept c. It returns whether the next Credential will be another
	// one. It must not block.
	Reject(ctx context.Context, c Credential) (retry bool)
}

// CredentialObserver is an [Authenticator] that learns how the partner answered its credentials. Its methods
// are called after an attempt, and must not block.
type CredentialObserver interface {
	// Accepted reports that the partner accepted c: the attempt succeeded.
	Accepted(c Credential)
	// Rejected reports that the partner answered c with a 401, and that [Refresher] is not asked: the
	// authenticator is none, or it has been asked in this call already.
	Rejected(c Credential)
}

// Expirer is a [Credential] that expires. If it has expired while its call waited for its turn, it is replaced
// before the call is sent.
type Expirer interface {
	Expired() bool
}

// Bearer returns an authenticator that sends "Authorization: Bearer" and the token (RFC 6750 section 2.1).
func Bearer(token Secret) Authenticator {
	return inHeader("Bearer", "Authorization", "Bearer "+token.Reveal(), token.Check())
}

// APIKey returns an authenticator that sends the key in a header, such as "X-Api-Key". Prefer it to
// [APIKeyQuery].
func APIKey(header string, key Secret) Authenticator {
	err := key.Check()
	switch {
	case err != nil:
	case header == "":
		err = errors.New("the name of the header is empty")
	case !headers.IsToken(header):
		err = fmt.Errorf("%s is not the name of a header", shownName(header))
	}
	return inHeader("APIKey", textproto.CanonicalMIMEHeaderKey(header), key.Reveal(), err)
}

// APIKeyQuery returns an authenticator that sends the key as a query parameter, for partners that accept it
// nowhere else. The key is added only to the request on the wire. Errors, logs and events never hold it.
func APIKeyQuery(param string, key Secret) Authenticator {
	err := key.Check()
	if err == nil && param == "" {
		err = errors.New("the name of the parameter is empty")
	}
	pair := url.QueryEscape(param) + "=" + url.QueryEscape(key.Reveal())
	return &static{name: "APIKeyQuery", value: NewSecret(pair), err: err}
}

// Basic returns an authenticator that sends "Authorization: Basic" (RFC 7617). The user must not hold a colon
// or a line break. Some partners want the secret as the user, with an empty password: Basic("", key) sends it
// that way.
func Basic(user string, password Secret) Authenticator {
	err := password.Check()
	if err == nil && strings.ContainsAny(user, ":\r\n") {
		err = errors.New("the user has a colon or a line break")
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
	header string // if empty, value goes into the query
	value  Secret // the whole value of the header, or the parameter's name=value
	err    error  // why the credential cannot be used; nil if it can
}

func (s *static) Check() error {
	if s.err != nil {
		return fmt.Errorf("%s: %w", s.name, s.err)
	}
	return nil
}

// CredentialID implements [Identified].
func (s *static) CredentialID() string {
	sum := sha256.Sum256([]byte(s.name + "\x00" + s.header + "\x00" + s.value.Reveal()))
	return hex.EncodeToString(sum[:16])
}

// Credential returns s itself.
func (s *static) Credential(context.Context) (Credential, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	return s, nil
}

// Apply adds the credential to req.
func (s *static) Apply(req *http.Request) error {
	if s.header != "" {
		req.Header[s.header] = []string{s.value.Reveal()}
		return nil
	}
	u := *req.URL
	// The pair is appended to the raw query: parsing it and encoding it again could change the partner's own
	// parameters.
	pair := s.value.Reveal()
	if u.RawQuery != "" {
		pair = u.RawQuery + "&" + pair
	}
	u.RawQuery = pair
	req.URL = &u
	return nil
}

// headerOf returns the header that the credentials of a go into: Authorization unless a tells another, empty for none.
func headerOf(a Authenticator) string {
	if h, ok := a.(interface{ usesHeader() string }); ok {
		return h.usesHeader()
	}
	return "Authorization"
}

func (s *static) usesHeader() string { return s.header }

// shownName returns a name that is wrong as errors show it. A long one, or one with a digit, may be a credential that
// stands in its place.
func shownName(name string) string {
	if len(name) > 24 || strings.ContainsAny(name, "0123456789") {
		return fmt.Sprintf("a text of %d bytes", len(name))
	}
	return strconv.Quote(name)
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

// maxSignedBody is the largest body that a signer gets, in bytes.
const maxSignedBody = 64 << 20

// Sign returns an authenticator that computes the credential by f from the request and its body, for example a
// signature over method, path, time and body. f runs once for each attempt, after all waiting, so that a
// timestamp is fresh. Its request is a clone that only this attempt uses; its body is nil if the request has
// none. A body that can be read only once, or above 64 MiB, cannot be signed; the call fails as ErrInvalid. f
// must be safe for concurrent use and must not keep the body. A nil f is an error.
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

// signedBody returns the body that the request will send, nil for none.
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
