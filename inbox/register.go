package inbox

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/belay-go/belay"
)

// Registrar subscribes to a partner's webhooks and unsubscribes, by the partner's API. It is what a driver implements.
type Registrar interface {
	// Register subscribes url and returns the subscription's id, and the secret if the partner makes it itself; it then ignores the one
	// that it is given.
	Register(ctx context.Context, url string, secret belay.Secret) (id string, made belay.Secret, err error)
	// Unregister ends a subscription. One that is not there is no error.
	Unregister(ctx context.Context, id string) error
	// Find returns the id of the subscription of url, "" when there is none.
	Find(ctx context.Context, url string) (id string, err error)
}

// Tester is a [Registrar] whose partner sends an event when it is asked to.
type Tester interface {
	// SendTest has the partner send a test event to a subscription.
	SendTest(ctx context.Context, id string) error
}

// Registration is a subscription, as it is kept.
type Registration struct {
	// ID is the partner's name for it, empty while it is not known whether it was made.
	ID  string
	URL string
	// Secret signs what it sends. It prints as REDACTED, also as JSON: keep what Reveal returns, encrypted.
	Secret belay.Secret
	// Made is when it was made, and Confirmed whether a delivery of it has been verified.
	Made      time.Time
	Confirmed bool
}

// Registrations keeps them, by the integration that they are for. It must be safe for concurrent use.
type Registrations interface {
	// Load returns the zero Registration when there is none.
	Load(ctx context.Context, integration string) (Registration, error)
	// Save keeps r before it returns, and forgets what it has when r is zero.
	Save(ctx context.Context, integration string, r Registration) error
}

// Register subscribes url to a partner's webhooks and keeps its id and secret, and does nothing more when that has been done: it can be
// called at each start. The secret is saved before the partner is asked, so that no death of the process leaves a subscription whose
// secret nobody knows; a subscription of the URL that is not kept here, or of another URL that is, is ended first.
//
// Where the partner is a [Tester] and confirm is not nil, it then has a test event sent and calls confirm, which waits for it; see
// [Arrivals]. An error of that leaves the subscription as it is, not yet confirmed.
//
// Only one process at a time may register one integration.
func Register(ctx context.Context, partner Registrar, kept Registrations, integration, url string, confirm func(context.Context) error) (Registration, error) {
	fail := func(doing string, err error) (Registration, error) {
		return Registration{}, fmt.Errorf("inbox: Register %s: %s: %w", integration, doing, err)
	}
	if partner == nil || kept == nil || integration == "" || url == "" {
		return fail("arguments", errors.New("the partner and the store must not be nil, nor the integration or the URL empty"))
	}
	have, err := kept.Load(ctx, integration)
	if err != nil {
		return fail("loading", err)
	}
	there, err := partner.Find(ctx, url)
	if err != nil {
		return fail("asking the partner", err)
	}
	same := have.URL == url && have.Secret.Reveal() != ""
	if !same || there == "" || have.ID != there {
		for _, id := range []string{have.ID, there} { // of neither is the secret known, or it is of another URL
			if id != "" {
				if err := partner.Unregister(ctx, id); err != nil {
					return fail("ending the subscription before", err)
				}
			}
		}
		have = Registration{URL: url, Secret: NewSigningSecret(), Made: time.Now()}
		if err := kept.Save(ctx, integration, have); err != nil {
			return fail("saving the secret", err)
		}
		id, made, err := partner.Register(ctx, url, have.Secret)
		if err != nil {
			return fail("registering", err)
		}
		if have.ID = id; made.Reveal() != "" {
			have.Secret = made
		}
		if err := kept.Save(ctx, integration, have); err != nil {
			return fail("saving", err)
		}
	}
	tester, ok := partner.(Tester)
	if !ok || confirm == nil || have.Confirmed {
		return have, nil
	}
	if err := tester.SendTest(ctx, have.ID); err != nil {
		return have, fmt.Errorf("inbox: Register %s: sending a test event: %w", integration, err)
	}
	if err := confirm(ctx); err != nil {
		return have, fmt.Errorf("inbox: Register %s: waiting for the test event: %w", integration, err)
	}
	have.Confirmed = true
	if err := kept.Save(ctx, integration, have); err != nil {
		return fail("saving", err)
	}
	return have, nil
}

// Unregister ends an integration's subscription, and forgets its secret once that is done.
func Unregister(ctx context.Context, partner Registrar, kept Registrations, integration string) error {
	have, err := kept.Load(ctx, integration)
	if err == nil && have.ID == "" && have.URL != "" { // it died while it registered
		have.ID, err = partner.Find(ctx, have.URL)
	}
	if err == nil && have.ID != "" {
		err = partner.Unregister(ctx, have.ID)
	}
	if err == nil {
		err = kept.Save(ctx, integration, Registration{})
	}
	if err != nil {
		return fmt.Errorf("inbox: Unregister %s: %w", integration, err)
	}
	return nil
}

// NewSigningSecret returns 32 random bytes as Standard Webhooks write a secret: "whsec_" and base64.
func NewSigningSecret() belay.Secret {
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // it never fails
	return belay.NewSecret("whsec_" + base64.StdEncoding.EncodeToString(raw[:]))
}
