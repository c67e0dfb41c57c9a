package oauth

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/redact"
)

// Error is a token endpoint's answer without a token. It is the cause of a [belay.Error] whose message says
// how to correct it. The status is here and not in the belay.Error, because it says nothing about the
// resource of the call. Get it with errors.As.
type Error struct {
	// StatusCode is the status of the token endpoint's answer.
	StatusCode int
}

// Error returns the status as text, for example "status 400 Bad Request".
func (e *Error) Error() string {
	return strings.TrimSpace(fmt.Sprintf("status %d %s", e.StatusCode, http.StatusText(e.StatusCode)))
}

// repeated is the cause of a failure after which the token request was sent again, or could have been.
type repeated struct{ error }

func (r repeated) Unwrap() error { return r.error }

// TriedAgain tells the call that it need not ask again, see [belay.Authenticator].
func (repeated) TriedAgain() bool { return true }

// fail returns the error of a token request, which matches ErrAuth. Its message is action, which says how to
// correct it.
func (o *App) fail(key, code, action string, err error) *belay.Error {
	method := http.MethodPost
	if o.login != nil { // the request is the user's own
		method = ""
	}
	return &belay.Error{
		Partner: o.cfg.Name, Integration: key, Method: method, URL: redact.Line(o.endpoint(), 1024), Err: err,
		Verdict: belay.Verdict{Class: belay.ClassAuth, Scope: belay.ScopeCall, Code: code, Message: action},
	}
}

// failAs returns the error of a token request with the class and the wait of v.
func (o *App) failAs(v belay.Verdict, key, code, action string, err error) *belay.Error {
	e := o.fail(key, code, action, err)
	v.Code, v.Message = e.Code, e.Message
	e.Verdict = v
	return e
}

// endpoint returns the token endpoint's URL in the form that may be printed.
func (o *App) endpoint() string {
	if o.cfg.TokenURL == "" { // of a Login
		return ""
	}
	u, err := url.Parse(o.cfg.TokenURL)
	if err != nil {
		return ""
	}
	return redact.URL(u)
}

// storeError returns the error of a token store, without the tokens that a store may have put into its text. It is
// transient, unless a token's file cannot be read.
func (o *App) storeError(key string, err error, tokens ...Token) *belay.Error {
	var secrets []string
	for _, t := range tokens {
		secrets = append(secrets, t.Access.Reveal(), t.Refresh.Reveal())
		for _, extra := range t.Extra {
			secrets = append(secrets, extra.Reveal())
		}
	}
	err = redact.Error(err, slices.DeleteFunc(secrets, func(s string) bool { return len(s) < 6 }))
	if text := err.Error(); redact.Text(text) != text { // such as the address of a database, with its password
		err = redact.Hidden(err, redact.Text(text))
	}
	e := o.fail(key, "token_store", "the token store failed", err)
	if !errors.Is(err, ErrUnreadable) {
		e.Class = belay.ClassTransient
	}
	return e
}
