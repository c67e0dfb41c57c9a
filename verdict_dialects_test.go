package belay_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

// renewing is an authenticator whose credential can be replaced.
type renewing struct{ n, rejected int }

func (r *renewing) Credential(context.Context) (belay.Credential, error) { return numbered(r.n), nil }

func (r *renewing) Reject(context.Context, belay.Credential) bool {
	r.rejected++
	r.n++
	return true
}

type numbered int

func (n numbered) Apply(req *http.Request) error {
	req.Header.Set("Authorization", fmt.Sprintf("Bearer token-%d", int(n)))
	return nil
}

// A token that has ended is renewed, whichever way the partner says so, and a refusal of another kind renews nothing.
func TestTokenThatHasEnded(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]bool{
		`401{}`:                        true,
		`403{"error":"token_expired"}`: true,
		`403{"code":"TokenExpired","message":"x"}`:                                                                         true,
		`403{"message":"The access token has expired"}`:                                                                    true,
		`403{"message":"Your session has expired. Please log in again."}`:                                                  true,
		`403{"error":{"code":"invalid_token"}}`:                                                                            true,
		`403{"errors":[{"errorCode":"INVALID_SESSION_ID","message":"Session expired or invalid"}]}`:                        true,
		`400{"error":{"message":"Error validating access token: Session has expired","type":"OAuthException","code":190}}`: true,
		`400{"error":"invalid_token","error_description":"The access token expired"}`:                                      true,
		`422{"message":"JWT expired"}`:                                                                                     true,
		`498{}`:                                                                                                            true,
		`440{}`:                                                                                                            true,
		`419{"message":"access token is invalid"}`:                                                                         true,
		`403{}`: false,
		`403{"message":"You do not have permission"}`:                                            false,
		`403{"message":"The CSRF token has expired"}`:                                            false,
		`403{"message":"Verification token expired"}`:                                            false,
		`400{"message":"The page token has expired"}`:                                            false,
		`400{"message":"token is required"}`:                                                     false,
		`404{"message":"no such token"}`:                                                         false,
		`409{"message":"the access token expired"}`:                                              false,
		`422{"message":"the card token has expired"}`:                                            false,
		`404{"message":"session not found"}`:                                                     false,
		`403{"message":"Your token has been revoked"}`:                                           true,
		`403{"message":"invalid token"}`:                                                         true,
		`403{"__type":"ExpiredTokenException"}`:                                                  true,
		`400{"code":"AuthenticationTokenExpired"}`:                                               true,
		`400{"code":"INVALID_TOKEN","message":"Invalid page token"}`:                             false,
		`422{"message":"webhook url is invalid; the oauth token is fine"}`:                       false,
		`400{"message":"access token field is invalid: must be a string"}`:                       false,
		`400{"code":"session_expired","message":"This Checkout Session expired"}`:                false,
		`400{"code":"token_expired","message":"The card token has expired"}`:                     false,
		`400{"code":"invalid_token","message":"The device token is not valid"}`:                  false,
		`400{"error":{"code":"invalid_token","param":"reset_token","message":"is wrong"}}`:       false,
		`404{"code":"invalid_token","message":"no such invitation"}`:                             false,
		`403{"message":"The upload session has expired"}`:                                        false,
		`403{"message":"Sync token has expired"}`:                                                false,
		`403{"message":"Your trial has expired. Access token cannot be used"}`:                   false,
		`403{"message":"Access token does not have scope. Invalid permissions"}`:                 false,
		`403{"error":"insufficient_scope","error_description":"Access token has invalid scope"}`: false,
	} {
		testkit.Bubble(t, body, func(t *testing.T) {
			sent := 0
			rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
				if sent++; req.Header.Get("Authorization") != "Bearer token-0" {
					return testkit.Reply(200), nil
				}
				status := 0
				_, err := fmt.Sscanf(body, "%d", &status)
				require.NoError(t, err)
				return testkit.Raw(status, "application/json", body[3:]), nil
			})
			auth := &renewing{}
			_, err := belay.Post[belay.None](t.Context(), newClient(t, rt, belay.WithAuth(auth)), "/", map[string]int{"a": 1})
			if !want {
				require.Error(t, err)
				require.Zero(t, auth.rejected)
				require.Equal(t, 1, sent)
				return
			}
			require.NoError(t, err)
			require.Equal(t, 1, auth.rejected)
			require.Equal(t, 2, sent)
		})
	}
	// By a header, by a classifier at 403 and at 200; and what cannot be renewed is ErrAuth.
	for name, c := range map[string]struct {
		resp func() *http.Response
		opts []belay.Option
	}{
		"WWW-Authenticate": {func() *http.Response {
			return testkit.Reply(403, "Www-Authenticate", `Bearer realm="x", error="invalid_token"`)
		}, nil},
		"a classifier": {func() *http.Response { return testkit.Reply(403) }, []belay.Option{
			belay.WithClassifier(func(a *belay.Attempt) belay.Verdict {
				v := belay.Classify(a)
				v.Renew = a.Response.StatusCode == 403
				return v
			}),
		}},
		"a classifier at 200": {func() *http.Response { return testkit.Raw(200, "application/json", `{"ok":false}`) }, []belay.Option{
			belay.WithClassifier(func(a *belay.Attempt) belay.Verdict {
				if a.Response != nil && strings.Contains(string(a.Peek()), `"ok":false`) {
					return belay.Verdict{Class: belay.ClassAuth, Renew: true}
				}
				return belay.Classify(a)
			}),
		}},
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			always := false
			rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
				if req.Header.Get("Authorization") != "Bearer token-0" && !always {
					return testkit.Reply(200), nil
				}
				return c.resp(), nil
			})
			auth := &renewing{}
			cl := newClient(t, rt, append(c.opts, belay.WithAuth(auth))...)
			require.NoError(t, get(t.Context(), cl, "/"))
			require.Equal(t, 1, auth.rejected)
			always = true
			err := get(t.Context(), cl, "/")
			require.ErrorIs(t, err, belay.ErrAuth)
			require.NotErrorIs(t, err, belay.ErrForbidden)
		})
	}
}

// Limits that are told at 403 and 402, and by their headers alone.
func TestLimitsOfOtherStatuses(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]error{
		`403{"message":"You have triggered an abuse detection mechanism."}`:                        belay.ErrRateLimited,
		`403{"message":"API rate limit exceeded for 10.0.0.1."}`:                                   belay.ErrRateLimited,
		`403{"message":"Rate limit exceeded"}`:                                                     belay.ErrRateLimited,
		`403{"error":"Too many requests, please slow down"}`:                                       belay.ErrRateLimited,
		`403Too many requests`:                                                                     belay.ErrRateLimited,
		`403{"code":"THROTTLED"}`:                                                                  belay.ErrRateLimited,
		`403{"message":"The limit of seats is reached"}`:                                           belay.ErrForbidden,
		`402{"message":"pay"}`:                                                                     belay.ErrInvalid,
		`402{"message":"Rate limit exceeded"}`:                                                     belay.ErrRateLimited,
		`403{"code":"TOO_MANY_REQUESTS"}`:                                                          belay.ErrRateLimited,
		`403{"error":"over_rate_limit"}`:                                                           belay.ErrRateLimited,
		`403{"__type":"ThrottlingException"}`:                                                      belay.ErrRateLimited,
		`403{"message":"You've exceeded your rate limit"}`:                                         belay.ErrRateLimited,
		`403{"message":"API call rate limit reached"}`:                                             belay.ErrRateLimited,
		`403{"message":"Application request limit reached"}`:                                       belay.ErrRateLimited,
		`403{"message":"Out of call volume quota."}`:                                               belay.ErrRateLimited,
		`403Developer Over Qps`:                                                                    belay.ErrRateLimited,
		`403{"message":"You have been throttled"}`:                                                 belay.ErrRateLimited,
		`403{"message":"Your account was suspended because of too many requests for chargebacks"}`: belay.ErrForbidden,
		`403{"message":"Feature 'throttled delivery' is not enabled"}`:                             belay.ErrForbidden,
		`403{"message":"Your plan does not include more than 5 calls per second"}`:                 belay.ErrForbidden,
		`403{"message":"Only admins may see throttled users"}`:                                     belay.ErrForbidden,
		`403{"message":"You may not change the rate limited setting"}`:                             belay.ErrForbidden,
		`405{}`: belay.ErrInvalid,
		`406{}`: belay.ErrInvalid,
		`411{}`: belay.ErrInvalid,
		`416{}`: belay.ErrInvalid,
		`417{}`: belay.ErrInvalid,
		`421{}`: belay.ErrInvalid,
		`426{}`: belay.ErrInvalid,
		`431{}`: belay.ErrInvalid,
		`413{}`: belay.ErrInvalid,
		`414{}`: belay.ErrInvalid,
		`415{}`: belay.ErrInvalid,
		`428{}`: belay.ErrInvalid,
		`451{}`: belay.ErrInvalid,
	} {
		testkit.Bubble(t, body, func(t *testing.T) {
			status := 0
			_, err := fmt.Sscanf(body, "%d", &status)
			require.NoError(t, err)
			kind := "application/json"
			if body[3] != '{' {
				kind = "text/plain"
			}
			rt := testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
				return testkit.Raw(status, kind, body[3:]), nil
			})
			require.ErrorIs(t, get(t.Context(), newClient(t, rt), "/", belay.MaxAttempts(1)), want)
		})
	}
	testkit.Bubble(t, "Toggl", func(t *testing.T) {
		n := 0
		rt := testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
			if n++; n == 1 {
				return testkit.Reply(402, "X-Toggl-Quota-Remaining", "0", "X-Toggl-Quota-Resets-In", "20"), nil
			}
			return testkit.Reply(200), nil
		})
		began := time.Now()
		require.NoError(t, get(t.Context(), newClient(t, rt), "/"))
		require.GreaterOrEqual(t, time.Since(began), 20*time.Second)
	})
}

// A refusal that says when to come back is repeated then, if the call may be.
func TestRefusalsThatComeBack(t *testing.T) {
	t.Parallel()
	for _, status := range []int{413, 420, 423, 430} {
		for _, method := range []string{"GET", "PUT", "POST"} {
			for _, after := range []string{"20", ""} {
				testkit.Bubble(t, fmt.Sprint(status, method, after), func(t *testing.T) {
					n := 0
					rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
						if n++; n > 1 {
							return testkit.Reply(200), nil
						}
						resp := testkit.Reply(status)
						if after != "" {
							resp.Header.Set("Retry-After", after)
						}
						return resp, nil
					})
					c := newClient(t, rt)
					began := time.Now()
					_, err := belay.Send[belay.None](t.Context(), c, method, "/", nil)
					if after == "" || method == "POST" {
						require.Error(t, err)
						require.Equal(t, 1, n)
						return
					}
					require.NoError(t, err)
					require.Equal(t, 20*time.Second, time.Since(began))
					require.Empty(t, c.Health().Circuits)
				})
			}
		}
	}
	// A year is valid, and beyond every patience.
	testkit.Bubble(t, "a year", func(t *testing.T) {
		for _, v := range []string{"99999999999999999999", "99999999", "Fri, 31 Dec 9999 23:59:59 GMT"} {
			n := 0
			rt := testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
				n++
				return testkit.Reply(503, "Retry-After", v), nil
			})
			began := time.Now()
			c := newClient(t, rt)
			err := get(t.Context(), c, "/")
			require.ErrorIs(t, err, belay.ErrTransient)
			require.Zero(t, time.Since(began))
			require.Equal(t, 1, n)
			wait, ok := belay.RetryAfter(err)
			require.True(t, ok)
			require.Greater(t, wait, 300*24*time.Hour)
			resp, err := newClient(t, rt).HTTPClient().Get("https://partner.test/")
			require.NoError(t, err)
			require.Equal(t, 503, resp.StatusCode)
			require.NoError(t, resp.Body.Close())
		}
	})
}

// The partner's word on repeating a call counts, and makes no write be sent twice.
func TestShouldRetry(t *testing.T) {
	t.Parallel()
	for _, header := range []string{"Stripe-Should-Retry", "X-Should-Retry"} {
		for name, c := range map[string]struct {
			status int
			says   string
			method string
			opts   []belay.CallOption
			sent   int
		}{
			"500 and no":            {500, "false", "GET", nil, 1},
			"429 and no":            {429, "false", "GET", nil, 1},
			"503 and nothing":       {503, "", "GET", nil, 2},
			"400 and yes":           {400, "true", "GET", nil, 2},
			"409 and yes":           {409, "true", "PUT", nil, 2},
			"409, a POST":           {409, "true", "POST", nil, 1},
			"409, a POST with key":  {409, "true", "POST", []belay.CallOption{belay.IdempotencyKey("k")}, 2},
			"500, a POST":           {500, "true", "POST", nil, 1},
			"500, a POST with key":  {500, "true", "POST", []belay.CallOption{belay.IdempotencyKey("k")}, 2},
			"429, any POST":         {429, "true", "POST", nil, 2},
			"403 stays a 403":       {403, "true", "GET", nil, 1},
			"a word that is no one": {500, "maybe", "GET", nil, 2},
		} {
			testkit.Bubble(t, header+" "+name, func(t *testing.T) {
				sent := 0
				rt := testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
					if sent++; sent > 1 {
						return testkit.Reply(200), nil
					}
					return testkit.Reply(c.status, header, c.says), nil
				})
				_, err := belay.Send[belay.None](t.Context(), newClient(t, rt), c.method, "/", nil, c.opts...)
				require.Equal(t, c.sent, sent)
				require.Equal(t, c.sent > 1, err == nil, "%v", err)
			})
		}
	}
}

// A key that is in use is that of our own attempt before, which the partner still works on.
func TestIdempotencyKeyInUse(t *testing.T) {
	t.Parallel()
	for _, first := range []bool{true, false} {
		testkit.Bubble(t, fmt.Sprint(first), func(t *testing.T) {
			n := 0
			rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
				n++
				switch {
				case n == 1 && !first:
					<-req.Context().Done()
					return nil, req.Context().Err()
				case n < 4:
					return testkit.Raw(409, "application/json", `{"error":{"code":"idempotency_key_in_use"}}`), nil
				}
				return testkit.Reply(200), nil
			})
			c := newClient(t, rt, belay.WithAttemptTimeout(5*time.Second))
			_, err := belay.Post[belay.None](t.Context(), c, "/", nil, belay.IdempotencyKey("k"))
			if first { // somebody else's
				require.ErrorIs(t, err, belay.ErrConflict)
				require.Equal(t, 1, n)
				return
			}
			require.NoError(t, err)
			require.Equal(t, 4, n)
		})
	}
}

// The id to quote is the partner's own, and not that of a proxy before it.
func TestRequestIDsOfPartners(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		header []string
		body   string
		want   string
	}{
		{[]string{"X-Ep-Request-Uuid", "a"}, `{}`, "a"},
		{[]string{"Apim-Request-Id", "a"}, `{}`, "a"},
		{[]string{"X-Request-Id", "gateway", "X-Github-Request-Id", "a"}, `{}`, "a"},
		{[]string{"Cf-Ray", "proxy", "Request-Id", "a"}, `{}`, "a"},
		{[]string{"X-Trace", "proxy", "X-Hubspot-Correlation-Id", "a"}, `{}`, "a"},
		{[]string{"Cf-Ray", "proxy"}, `{"request_id":"a"}`, "a"},
		{[]string{"X-Trace", "proxy"}, `{"requestId":"a"}`, "a"},
		{[]string{"Cf-Ray", "proxy"}, `{}`, "proxy"},
		{[]string{"X-Request-Id", "b"}, `{"request_id":"a"}`, "b"},
	} {
		rt := testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
			resp := testkit.Reply(400, append(c.header, "Content-Type", "application/json")...)
			resp.Body = io.NopCloser(strings.NewReader(c.body))
			return resp, nil
		})
		var e *belay.Error
		require.ErrorAs(t, get(t.Context(), newClient(t, rt), "/"), &e)
		require.Equal(t, c.want, e.RequestID)
	}
}
