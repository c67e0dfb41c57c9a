package belay_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

// tokenPartner answers token requests, and says which token calls came with.
var tokenPartner = testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
	if req.URL.Path == "/oauth/token" {
		resp := testkit.Reply(200, "Content-Type", "application/json")
		resp.Body = io.NopCloser(strings.NewReader(`{"access_token":"fresh","refresh_token":"next","expires_in":3600}`))
		return resp, nil
	}
	fmt.Println("called with", req.Header.Get("Authorization"))
	return testkit.Reply(200), nil
})

// An app and its customers: one OAuth2 for all, one credential for each.
func ExampleOAuth2_RefreshToken() {
	app, err := belay.NewOAuth2(belay.OAuth2Config{
		TokenURL: "https://partner.test/oauth/token", ClientID: "my-app", ClientSecret: belay.NewSecret("s3cret"),
		Transport: tokenPartner, // yours leave this out
	})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	// What Exchange does after the consent.
	_ = app.Put(ctx, "customer-7", belay.Token{Access: belay.NewSecret("old"), Refresh: belay.NewSecret("first"), Expiry: time.Now()})

	client, _ := belay.New("https://partner.test", belay.WithTransport(tokenPartner))
	customer, _ := client.With(belay.WithIntegration("customer-7"), belay.WithAuth(app.RefreshToken("customer-7")))
	_, err = belay.Get[belay.None](ctx, customer, "/contacts")
	fmt.Println(err)
	// Output:
	// called with Bearer fresh
	// <nil>
}

// The app's own token. Guesty gives five a day: keep it in a store that the processes share, and tell the limit.
func ExampleOAuth2_ClientCredentials() {
	dir, _ := os.MkdirTemp("", "tokens")
	defer os.RemoveAll(dir)
	store, err := belay.NewFileStore(dir, belay.NewSecret("0123456789abcdef0123456789abcdef")) // from your secret manager
	if err != nil {
		panic(err)
	}
	app, _ := belay.NewOAuth2(belay.OAuth2Config{
		TokenURL: "https://partner.test/oauth/token", ClientID: "my-app", ClientSecret: belay.NewSecret("s3cret"),
		Store: store, Limits: []belay.Limit{belay.PerDay(5)}, Transport: tokenPartner,
	})
	client, _ := belay.New("https://partner.test", belay.WithTransport(tokenPartner), belay.WithAuth(app.ClientCredentials("")))
	_, err = belay.Get[belay.None](context.Background(), client, "/listings")
	fmt.Println(err)
	// Output:
	// called with Bearer fresh
	// <nil>
}

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
		return key.Rotate(ctx, belay.Bearer(belay.NewSecret(secret)), func(ctx context.Context, a belay.Authenticator) error {
			_, err := belay.Get[belay.None](ctx, client, "/me", belay.Auth(a))
			return err
		})
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
