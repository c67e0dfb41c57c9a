package oauth

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/oauth2"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/headers"
)

// Token is what a token endpoint gave. Its secrets do not print.
type Token struct {
	// Access is sent with calls. Refresh gets the next one; empty when there is none, as some partners
	// never expire a token.
	Access, Refresh belay.Secret
	// Type is how Access is sent; empty means Bearer.
	Type string
	// Obtained is when it was asked for, and Expiry when it ends; zero when the partner does not say.
	Obtained, Expiry time.Time
}

// maxToken is how long a token may be. Headers of more are refused by most servers.
const maxToken = 64 << 10

// check returns why t cannot be used.
func (t Token) check() error {
	if err := checkToken(t.Access); err != nil {
		return fmt.Errorf("the access token: %w", err)
	}
	if t.Refresh.Reveal() != "" {
		if err := checkToken(t.Refresh); err != nil {
			return fmt.Errorf("the refresh token: %w", err)
		}
	}
	if t.Type != "" && !headers.IsToken(t.Type) {
		return errors.New("its type is not a token of HTTP")
	}
	return nil
}

func checkToken(s belay.Secret) error {
	if n := len(s.Reveal()); n > maxToken {
		return fmt.Errorf("it has %d bytes, above %d", n, maxToken)
	}
	if !utf8.ValidString(s.Reveal()) {
		return errors.New("it is not UTF-8")
	}
	return s.Check()
}

// empty reports whether there is no token.
func (t Token) empty() bool { return t.Access.Reveal() == "" && t.Refresh.Reveal() == "" }

// same reports whether both hold the same access token, sameGrant whether the same refresh token too.
func (t Token) same(o Token) bool { return t.Access.Reveal() == o.Access.Reveal() }

func (t Token) sameGrant(o Token) bool { return t.same(o) && t.Refresh.Reveal() == o.Refresh.Reveal() }

const never = time.Duration(math.MaxInt64)

// earliest is how long before its end a token is refreshed at the most.
const earliest = 5 * time.Minute

// lasts returns how long t can still be used, and how long until it should be refreshed; both are very long when it
// does not say when it ends.
func (t Token) lasts(now time.Time) (use, fresh time.Duration) {
	if t.Expiry.IsZero() {
		return never, never
	}
	use = t.Expiry.Sub(now)
	ahead := earliest
	if !t.Obtained.IsZero() {
		ahead = min(ahead, t.Expiry.Sub(t.Obtained)/10)
	}
	return use, use - ahead
}

func tokenOf(raw *oauth2.Token, asked time.Time) Token {
	t := Token{Access: belay.NewSecret(raw.AccessToken), Refresh: belay.NewSecret(raw.RefreshToken), Type: raw.TokenType, Obtained: asked}
	// An end that has passed already, by a zero or negative expires_in, is none that the partner means.
	if raw.Expiry.After(time.Now()) {
		t.Expiry = raw.Expiry
	}
	if strings.EqualFold(t.Type, "bearer") {
		t.Type = ""
	}
	return t
}

// issued is the credential of an attempt: the token that was good when it was asked for.
type issued struct{ token Token }

// Expired reports whether it has ended since, as a wait in line may take long.
func (i issued) Expired() bool {
	if i.token.Expiry.IsZero() {
		return false
	}
	use, _ := i.token.lasts(time.Now())
	return use <= 0
}

func (i issued) Apply(req *http.Request) error {
	kind := i.token.Type
	if kind == "" {
		kind = "Bearer"
	}
	req.Header["Authorization"] = []string{kind + " " + i.token.Access.Reveal()}
	return nil
}
