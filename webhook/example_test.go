package webhook_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/webhook"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// stripeHandler takes Stripe's webhooks.
func stripeHandler(v *webhook.Verifier) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d, err := v.VerifyRequest(r)
		switch {
		case errors.Is(err, belay.ErrBodyTooLarge):
			http.Error(w, "too large", http.StatusRequestEntityTooLarge)
		case errors.Is(err, belay.ErrData):
			http.Error(w, "signed, but unreadable", http.StatusBadRequest)
		case err != nil:
			http.Error(w, "not believed", http.StatusUnauthorized)
		default:
			for _, e := range d.Events {
				fmt.Println(d.Partner, e.ID, e.Type)
			}
		}
	})
}

// A handler of Stripe's webhooks, and a request as Stripe would send it.
func ExampleNewVerifier() {
	secret := belay.NewSecret("whsec_from_your_dashboard")
	verifier, err := webhook.NewVerifier(webhook.Stripe(), secret) // and the one before, while it is rolled
	check(err)

	req, err := webhook.SignTest(webhook.Stripe(), secret, belay.WebhookEvent{
		Data: []byte(`{"id":"evt_1","type":"customer.created","created":1700000000}`),
	})
	check(err)
	answer := httptest.NewRecorder()
	stripeHandler(verifier).ServeHTTP(answer, req)
	fmt.Println(answer.Code)
	// Output:
	// stripe evt_1 customer.created
	// 200
}

// A partner that is not among those that come ready: its documentation says that X-Acme-Signature is "v1=" and
// the hex of the HMAC-SHA256 of X-Acme-Time, a dot and the body.
func ExampleScheme() {
	acme := webhook.Scheme{
		Name: "acme", Header: "X-Acme-Signature", Prefix: "v1=",
		Signed: "{timestamp}.{body}", Timestamp: "X-Acme-Time",
		ID: "json:event.id", Type: "json:event.kind",
	}
	verifier, err := webhook.NewVerifier(acme, belay.NewSecret("s3cret"))
	check(err)

	// What acme does.
	body := `{"event":{"id":"42","kind":"order.paid"}}`
	now := strconv.FormatInt(time.Now().Unix(), 10)
	mac := hmac.New(sha256.New, []byte("s3cret"))
	mac.Write([]byte(now + "." + body))
	header := http.Header{}
	header.Set("X-Acme-Time", now)
	header.Set("X-Acme-Signature", "v1="+hex.EncodeToString(mac.Sum(nil)))

	d, err := verifier.Verify(header, []byte(body))
	check(err)
	fmt.Println(d.Partner, d.Events[0].ID, d.Events[0].Type)
	_, err = verifier.Verify(header, []byte(strings.Replace(body, "42", "43", 1)))
	fmt.Println(err)
	// Output:
	// acme 42 order.paid
	// belay: webhook signature does not match
}

// A test of one's own handler: what is signed well, by somebody else, and an hour ago.
func ExampleSignTest() {
	current := belay.NewSecret("current")
	verifier, err := webhook.NewVerifier(webhook.Stripe(), current)
	check(err)
	handler := stripeHandler(verifier)
	data := []byte(`{"id":"evt_2","type":"invoice.paid"}`)
	for _, x := range []struct {
		secret belay.Secret
		at     time.Time
	}{
		{current, time.Now()},
		{belay.NewSecret("stranger's"), time.Now()},
		{current, time.Now().Add(-time.Hour)},
	} {
		req, err := webhook.SignTest(webhook.Stripe(), x.secret, belay.WebhookEvent{Time: x.at, Data: data})
		check(err)
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, req)
		fmt.Println(answer.Code)
	}
	// Output:
	// stripe evt_2 invoice.paid
	// 200
	// 401
	// 401
}
