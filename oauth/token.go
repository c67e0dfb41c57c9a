package oauth

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/oauth2"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/headers"
	"github.com/belay-go/belay/internal/redact"
)

// Token is an access token and the refresh token for the next one, as a token endpoint issued them. Its
// secrets are not printed.
type Token struct {
	// Access is sent with calls. Refresh is exchanged for the next token; it is empty if there is none,
	// because some partners never expire a token.
	Access, Refresh belay.Secret
	// Type is the scheme in which Access is sent; empty means Bearer. A kind that a token endpoint names and Belay does
	// not understand has "?" before it: such a token is kept, but not used (RFC 6749 section 7.1).
	Type string
	// Obtained is when the token was requested, and Expiry when it ends. Zero means that it is not known,
	// because the partner does not say, by expires_in or, without it, by a time in expires_at.
	Obtained, Expiry time.Time
	// Extra holds the other fields of the answers, by name, such as instance_url or api_domain: a text as it is, any
	// other value as JSON. They are secrets because some of them are, such as an id_token. Nil if there are none.
	Extra map[string]belay.Secret
}

// RefreshExpiry returns when the refresh token ends unless it is used before, counted from Obtained. It is the zero
// time if the partner does not say, or says 0, which stands for never. The fields of the answer are
// refresh_token_expires_in (GitHub, Shopify, Zendesk), refresh_expires_in (Keycloak, Airtable) and
// x_refresh_token_expires_in (QuickBooks), in seconds.
func (t Token) RefreshExpiry() time.Time {
	for _, name := range [...]string{"refresh_token_expires_in", "refresh_expires_in", "x_refresh_token_expires_in"} {
		n, err := strconv.ParseFloat(t.Extra[name].Reveal(), 64)
		if err == nil && n > 0 && n < 100*365*24*3600 && !t.Obtained.IsZero() && t.Refresh.Reveal() != "" {
			return t.Obtained.Add(time.Duration(n * float64(time.Second)))
		}
	}
	return time.Time{}
}

// maxToken is the most bytes of a token. Most servers refuse longer headers.
const maxToken = 64 << 10

// check returns the reason why t cannot be used, or nil.
func (t Token) check() error {
	if err := checkToken(t.Access); err != nil {
		return fmt.Errorf("the access token: %w", err)
	}
	if err := checkRefresh(t.Refresh); err != nil {
		return fmt.Errorf("the refresh token: %w", err)
	}
	if t.Type != "" && t.understood() && !headers.IsToken(t.Type) {
		return errors.New("its type is not a token of HTTP")
	}
	return nil
}

// understood reports whether t can be sent as its type says.
func (t Token) understood() bool { return !strings.HasPrefix(t.Type, unknownKind) }

// checkRefresh returns the reason why a refresh token cannot be used, or nil. It is sent in a body, which takes any
// text.
func checkRefresh(s belay.Secret) error {
	switch text := s.Reveal(); {
	case len(text) > maxToken:
		return fmt.Errorf("it has %d bytes, above %d", len(text), maxToken)
	case text == s.String():
		return s.Check() // it was written down and is lost
	case !utf8.ValidString(text):
		return errors.New("it is not UTF-8")
	}
	return nil
}

const (
	unknownKind = "?" // before a kind that is not understood
	maxKind     = 60  // bytes of it that are kept
)

// keeping returns t with what is to be kept of got, which came with an error: its refresh token may be the only valid
// one. It returns false if there is nothing to keep.
func (t Token) keeping(got Token) (Token, bool) {
	refresh := got.Refresh.Reveal()
	if refresh == "" || refresh == t.Refresh.Reveal() || checkRefresh(got.Refresh) != nil {
		return t, false
	}
	if got.check() == nil {
		return got, true
	}
	t.Refresh = got.Refresh
	return t, true
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

// empty reports whether t holds no token.
func (t Token) empty() bool { return t.Access.Reveal() == "" && t.Refresh.Reveal() == "" }

// same reports whether t and o hold the same access token.
func (t Token) same(o Token) bool { return t.Access.Reveal() == o.Access.Reveal() }

// sameGrant reports whether t and o hold the same access token and the same refresh token.
func (t Token) sameGrant(o Token) bool { return t.same(o) && t.Refresh.Reveal() == o.Refresh.Reveal() }

// never is the remaining time of a token that does not expire.
const never = time.Duration(math.MaxInt64)

// earliest is the longest time before its end at which a token is refreshed.
const earliest = 5 * time.Minute

// lasts returns how long t can still be used, and how long until it should be refreshed. Both are never if t
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

// tokenOf returns the token in the answer to a request that was made at asked.
func tokenOf(raw *oauth2.Token, asked time.Time, secrets []string) Token {
	t := Token{
		Access: belay.NewSecret(raw.AccessToken), Refresh: belay.NewSecret(raw.RefreshToken),
		Type: kindOf(redact.Values(raw.TokenType, append(slices.Clip(secrets), raw.AccessToken, raw.RefreshToken))), Obtained: asked,
	}
	// A zero or negative expires_in does not mean that the token has ended already, so it counts as no end.
	if raw.Expiry.After(time.Now()) {
		t.Expiry = raw.Expiry
	}
	return t
}

// endAt returns the time that expires_at tells, by RFC 3339 (Square, "Obtain Token") or in seconds since 1970. One that
// is no such time, or has passed, is no end: the zero time.
func endAt(text string) time.Time {
	end, err := time.Parse(time.RFC3339, text)
	if err != nil {
		seconds, err := strconv.ParseFloat(text, 64)
		if err != nil || !(seconds > 0 && seconds < math.MaxInt32*5) { // below the year 2310: those above count milliseconds
			return time.Time{}
		}
		end = time.Unix(int64(seconds), 0)
	}
	if !end.After(time.Now()) {
		return time.Time{}
	}
	return end
}

// plainWords are the words of which partners make a token_type that means Bearer, such as eBay's "User Access Token"
// and Slack's "bot".
var plainWords = map[string]bool{
	"user": true, "application": true, "app": true, "access": true, "token": true, "bot": true, "oauth": true,
	"oauth2": true, "api": true, "tenant": true, "jwt": true,
}

// boundWords are the words of a token_type whose token needs more than to be sent.
var boundWords = map[string]bool{"dpop": true, "mac": true, "pop": true, "hok": true}

// kindOf returns the Type for a token_type.
func kindOf(told string) string {
	// The URI says which kind of token it is, and not how to send it (RFC 8693 section 3).
	plainly := strings.TrimPrefix(strings.ToLower(told), "urn:ietf:params:oauth:token-type:")
	words := strings.FieldsFunc(plainly, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	plain, bearer := true, false
	for _, w := range words {
		if boundWords[w] {
			return unknownKind + redact.Line(told, maxKind)
		}
		bearer = bearer || strings.Contains(w, "bearer")
		plain = plain && plainWords[w]
	}
	if plain || bearer {
		return ""
	}
	return unknownKind + redact.Line(told, maxKind)
}

// issued is the credential of an attempt: the token that was good when the attempt asked for it.
type issued struct{ token Token }

// Expired reports whether the token has ended since. A wait in the queue may take long.
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
