package belay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// An exchange that goes back to the pool takes nothing of what happened to the next call.
func TestRecycledCallsAreBlank(t *testing.T) {
	n, failures := 0, 0
	rt := transportFunc(func(req *http.Request) (*http.Response, error) {
		if n++; n <= failures {
			if n%2 == 0 {
				return nil, errors.New("reset")
			}
			return answer(503, "{}")(req)
		}
		return answer(200, "{}")(req)
	})
	kinds := map[string][]Option{
		"plain": nil, "auth": {WithAuth(Bearer(NewSecret("token")))}, "timeout": {WithTimeout(1e9)}, "no limits": {Without(LayerLimits)},
		"no retry": {Without(LayerRetry)}, "observed": {WithObserver(ObserverFunc(func(context.Context, Event) {}))},
		"classifier": {WithClassifier(func(a *Attempt) Verdict { return Classify(a) })}, "keys": {WithIdempotencyKeys("")},
		"slow": {WithRateLimit(Every(1, 1e9))}, "patient": nil,
	}
	for name, opts := range kinds {
		for _, fail := range []int{0, 1, 2, 8} {
			synctest.Test(t, func(t *testing.T) {
				c := clientOf(t, rt, opts...)
				n, failures = 0, fail
				for _, how := range []string{"do", "http", "typed", "none"} {
					ctx := t.Context()
					if name == "patient" {
						ctx = CallContext(ctx, Patience(1e12))
					}
					req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://partner.test/", nil)
					require.NoError(t, err)
					var resp *http.Response
					switch how {
					case "do":
						resp, err = c.Do(req)
					case "http":
						resp, err = c.HTTPClient().Do(req)
					case "typed":
						_, err = Get[map[string]any](ctx, c, "/")
					default:
						_, err = Get[None](ctx, c, "/")
					}
					if resp != nil {
						_ = resp.Body.Close()
					}
					_ = err // a failed call is left to the collector
					x := exchanges.Get().(*exchange)
					v := reflect.ValueOf(&x.hot).Elem()
					for i := range v.NumField() {
						if field := v.Type().Field(i).Name; !v.Field(i).IsZero() {
							t.Fatalf("%s, %d failures, by %s: %s is kept", name, fail, how, field)
						}
					}
					if x.spare != nil {
						require.True(t, reflect.ValueOf(x.spare).Elem().IsZero(), fmt.Sprint(name, how))
					}
					require.False(t, x.place.Returning, fmt.Sprint(name, how))
					require.Nil(t, x.place.Request)
					require.Nil(t, x.place.Notices)
					require.True(t, x.place.Free())
					*x = exchange{}
					exchanges.Put(x)
				}
			})
		}
	}
}

// A ticket that has held a store's permits owes it none in the next call.
func TestRecycledTicketsOweNoStore(t *testing.T) {
	refused := errors.New("refused")
	dials := func(*http.Request) (*http.Response, error) { return nil, &net.OpError{Op: "dial", Err: refused} }
	gives := quotaFunc(func(context.Context, int) (time.Duration, error) { return 0, nil })
	for range 20 { // the pool may keep what it gets for itself
		synctest.Test(t, func(t *testing.T) {
			b := clientOf(t, transportFunc(dials), WithRateLimit(PerSecond(1000)), Without(LayerRetry))
			_, err := b.HTTPClient().Get("https://partner.test/")
			require.ErrorIs(t, err, refused)
			n := 0
			a := clientOf(t, transportFunc(func(req *http.Request) (*http.Response, error) {
				if n++; n == 1 {
					return dials(req)
				}
				return answer(200, "{}")(req)
			}), WithRateLimit(PerSecond(1000).Shared(gives)), Without(LayerRetry))
			_, err = a.HTTPClient().Get("https://partner.test/")
			require.ErrorIs(t, err, refused)
			resp, err := a.HTTPClient().Get("https://partner.test/") // with the permit that the first gave back
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			_, err = b.HTTPClient().Get("https://partner.test/")
			require.ErrorIs(t, err, refused)
		})
	}
}
