package belay_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

// inQuery signs in the query, in place.
func inQuery(n *atomic.Int32) func(*http.Request) {
	return func(req *http.Request) {
		q := req.URL.Query()
		q.Add("sig", fmt.Sprintf("signature-%d-secret", n.Add(1)))
		req.URL.RawQuery = q.Encode()
		req.Header.Add("X-Sig", "of "+req.URL.Path)
	}
}

// byOwn is an authenticator of the user's that changes a request in place.
type byOwn struct{ f func(*http.Request) }

func (b *byOwn) Credential(context.Context) (belay.Credential, error) { return b, nil }

func (b *byOwn) Apply(req *http.Request) error { b.f(req); return nil }

func inPlace() map[string]belay.Authenticator {
	var a, b atomic.Int32
	sign := inQuery(&a)
	return map[string]belay.Authenticator{
		"Sign": belay.Sign(func(req *http.Request, _ []byte) error { sign(req); return nil }),
		"own":  &byOwn{inQuery(&b)},
	}
}

// A credential that changes a request in place changes its attempt's alone: each is signed by itself, and the caller's stays.
func TestSignInPlace(t *testing.T) {
	t.Parallel()
	for name, auth := range inPlace() {
		testkit.Bubble(t, name, func(t *testing.T) {
			var seen []string
			d := &diary{}
			rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
				seen = append(seen, req.URL.RawQuery+" "+strings.Join(req.Header["X-Sig"], ","))
				if len(seen) < 3 {
					return testkit.Reply(503), nil
				}
				return testkit.JSONReply(400, map[string]string{"message": "bad signature " + req.URL.Query().Get("sig") + " at " + req.URL.String()}), nil
			})
			c := newClient(t, rt, belay.WithAuth(auth), belay.WithObserver(d))
			req, err := c.NewRequest(t.Context(), http.MethodGet, "/x?a=1", nil)
			require.NoError(t, err)
			_, err = c.Do(req)
			require.Equal(t, []string{
				"a=1&sig=signature-1-secret of /x", "a=1&sig=signature-2-secret of /x", "a=1&sig=signature-3-secret of /x",
			}, seen)
			require.Equal(t, "https://partner.test/x?a=1", req.URL.String())
			require.Empty(t, req.Header["X-Sig"])
			require.ErrorContains(t, err, "bad signature REDACTED")
			require.NotContains(t, shown(err)+d.text(), "-secret")
		})
	}
}

// Each hop of a redirect is signed by itself, and one that leads elsewhere is not.
func TestSignInPlaceAndRedirects(t *testing.T) {
	t.Parallel()
	for name, auth := range inPlace() {
		testkit.Bubble(t, name, func(t *testing.T) {
			var seen []string
			rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
				seen = append(seen, fmt.Sprint(req.URL, " ", strings.Join(req.Header["X-Sig"], ","), " ", req.Header.Get("Referer")))
				switch req.URL.Path {
				case "/a":
					return testkit.Reply(307, "Location", "/b?page=2"), nil
				case "/b":
					return testkit.Reply(302, "Location", "https://other.test/c?sig="+req.URL.Query().Get("sig")), nil
				}
				return testkit.Reply(200), nil
			})
			c := newClient(t, rt, belay.WithAuth(auth), belay.WithRedirects(belay.RedirectAny))
			require.NoError(t, get(t.Context(), c, "/a"))
			require.Equal(t, []string{
				"https://partner.test/a?sig=signature-1-secret of /a ",
				"https://partner.test/b?page=2&sig=signature-2-secret of /b https://partner.test/a",
				"https://other.test/c  ",
			}, seen)
		})
	}
}

// An answer that is told after a rotation does not show the credential of before.
func TestKeptAnswerShowsNoFormerCredential(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "rotated meanwhile", func(t *testing.T) {
		r, err := belay.NewRotating(belay.Bearer(belay.NewSecret("old-key-secret")))
		require.NoError(t, err)
		d := &diary{}
		rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
			require.NoError(t, r.Rotate(t.Context(), belay.Bearer(belay.NewSecret("new-key-secret")), nil))
			key := req.Header.Get("Authorization")
			resp := testkit.JSONReply(503, map[string]any{"errors": map[string]string{"auth": "saw " + key}, "message": "saw " + key})
			resp.Header.Set("X-Request-Id", "r-"+key)
			return resp, nil
		})
		opened := 0
		body := belay.StreamBody("text/plain", 1, func() (io.ReadCloser, error) {
			if opened++; opened > 1 {
				return nil, errors.New("the file is gone")
			}
			return io.NopCloser(strings.NewReader("x")), nil
		})
		_, err = belay.Put[belay.None](t.Context(), newClient(t, rt, belay.WithAuth(r), belay.WithObserver(d)), "/x", body)
		var e *belay.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, 503, e.StatusCode)
		require.ErrorContains(t, err, "the file is gone")
		require.NotContains(t, shown(err)+d.text(), "key-secret")
	})
}

// A signature is made of what is sent, anew for each attempt, after all waiting.
func TestSign(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "sign", func(t *testing.T) {
		var stamps []string
		n := 0
		rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
			n++
			mac := hmac.New(sha256.New, []byte("key"))
			data := make([]byte, 100)
			k, _ := req.Body.Read(data)
			fmt.Fprintf(mac, "%s %s %s %s", req.Method, req.URL.Path, req.Header.Get("X-Time"), data[:k])
			if req.Header.Get("X-Signature") != hex.EncodeToString(mac.Sum(nil)) {
				return testkit.Reply(400), nil
			}
			stamps = append(stamps, req.Header.Get("X-Time"))
			if n == 1 {
				return testkit.Reply(503, "Retry-After", "2"), nil
			}
			return testkit.Reply(200), nil
		})
		c := newClient(t, rt, belay.WithAuth(belay.Sign(func(req *http.Request, body []byte) error {
			now := fmt.Sprint(time.Now().UnixMilli())
			mac := hmac.New(sha256.New, []byte("key"))
			fmt.Fprintf(mac, "%s %s %s %s", req.Method, req.URL.Path, now, body)
			req.Header.Set("X-Time", now)
			req.Header.Set("X-Signature", hex.EncodeToString(mac.Sum(nil)))
			return nil
		})))
		_, err := belay.Put[belay.None](t.Context(), c, "/things", map[string]int{"a": 1})
		require.NoError(t, err)
		require.Len(t, stamps, 2)
		require.NotEqual(t, stamps[0], stamps[1], "fresh")
		// A body that can be read only once.
		_, err = belay.Put[belay.None](t.Context(), c, "/things", belay.ReaderBody("text/plain", io.LimitReader(strings.NewReader("x"), 1)))
		require.ErrorIs(t, err, belay.ErrInvalid)
		require.Len(t, stamps, 2)
		failing := newClient(t, rt, belay.WithAuth(belay.Sign(func(*http.Request, []byte) error { return errors.New("no key") })))
		require.ErrorContains(t, get(t.Context(), failing, "/"), "no key")
	})
	_, err := belay.New("https://partner.test", belay.WithAuth(belay.Sign(nil)))
	require.ErrorContains(t, err, "Sign")
}
