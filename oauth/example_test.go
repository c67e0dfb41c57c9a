package oauth_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
	"github.com/belay-go/belay/oauth"
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

// An app and its customers: one App for all, one credential for each.
func ExampleApp_RefreshToken() {
	app, err := oauth.New(oauth.Config{
		TokenURL: "https://partner.test/oauth/token", ClientID: "my-app", ClientSecret: belay.NewSecret("s3cret"),
		Transport: tokenPartner, // yours leave this out
	})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	// What Exchange does after the consent.
	_ = app.Put(
		ctx,
		"customer-7",
		oauth.Token{Access: belay.NewSecret("old"), Refresh: belay.NewSecret("first"), Expiry: time.Now()},
	)

	client, _ := belay.New("https://partner.test", belay.WithTransport(tokenPartner))
	customer, _ := client.With(belay.WithIntegration("customer-7"), belay.WithAuth(app.RefreshToken("customer-7")))
	_, err = belay.Get[belay.None](ctx, customer, "/contacts")
	fmt.Println(err)
	// Output:
	// called with Bearer fresh
	// <nil>
}

// The app's own token. Guesty gives five a day: keep it in a store that the processes share, and tell the limit.
func ExampleApp_ClientCredentials() {
	dir, _ := os.MkdirTemp("", "tokens")
	defer os.RemoveAll(dir)
	store, err := oauth.NewFileStore(
		dir,
		belay.NewSecret("0123456789abcdef0123456789abcdef"),
	) // from your secret manager
	if err != nil {
		panic(err)
	}
	app, _ := oauth.New(oauth.Config{
		TokenURL: "https://partner.test/oauth/token", ClientID: "my-app", ClientSecret: belay.NewSecret("s3cret"),
		Store: store, Limits: []belay.Limit{belay.PerDay(5)}, Transport: tokenPartner,
	})
	client, _ := belay.New(
		"https://partner.test",
		belay.WithTransport(tokenPartner),
		belay.WithAuth(app.ClientCredentials("")),
	)
	_, err = belay.Get[belay.None](context.Background(), client, "/listings")
	fmt.Println(err)
	// Output:
	// called with Bearer fresh
	// <nil>
}
