package belay_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

// The new secret arrives by webhook: it is tried, taken, tried again, and the old one taken back if that fails.
func ExampleRotating() {
	partner := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
		if req.Header.Get("Authorization") == "Bearer typo" {
			return testkit.Reply(401), nil
		}
		return testkit.Reply(200), nil
	})
	key, _ := belay.NewRotating(belay.Bearer(belay.NewSecret("old")), belay.RotationOverlap(time.Hour))
	client, _ := belay.New("https://partner.test", belay.WithTransport(partner), belay.WithAuth(key))

	onWebhook := func(ctx context.Context, secret string) error {
		return key.Rotate(
			ctx,
			belay.Bearer(belay.NewSecret(secret)),
			func(ctx context.Context, a belay.Authenticator) error {
				_, err := belay.Get[belay.None](ctx, client, "/me", belay.Auth(a))
				return err
			},
		)
	}
	fmt.Println(onWebhook(context.Background(), "typo"))
	fmt.Println(onWebhook(context.Background(), "new"))
	// Output:
	// belay: the new credential was not taken, as it does not work: belay: partner.test: GET https://partner.test/me: 401 Unauthorized
	// <nil>
}

// A signature over method, path, time and the body's hash.
func ExampleSign() {
	key := belay.NewSecret("shared with the partner")
	signature := belay.Sign(func(req *http.Request, body []byte) error {
		now := fmt.Sprint(time.Now().Unix())
		hash := sha256.Sum256(body)
		mac := hmac.New(sha256.New, []byte(key.Reveal()))
		fmt.Fprintf(mac, "%s\n%s\n%s\n%x", req.Method, req.URL.EscapedPath(), now, hash)
		req.Header.Set("X-Timestamp", now)
		req.Header.Set("X-Signature", hex.EncodeToString(mac.Sum(nil)))
		return nil
	})
	partner := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
		fmt.Println(len(req.Header.Get("X-Signature")), "hexadecimal digits")
		return testkit.Reply(200), nil
	})
	client, _ := belay.New("https://partner.test", belay.WithTransport(partner), belay.WithAuth(signature))
	_, err := belay.Post[belay.None](context.Background(), client, "/orders", map[string]int{"amount": 100})
	fmt.Println(err)
	// Output:
	// 64 hexadecimal digits
	// <nil>
}
