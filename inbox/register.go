package inbox

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	neturl "net/url"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/origin"
)

// Registrar subscribes to a partner's webhooks through the partner's API, and unsubscribes. A driver
// implements it.
type Registrar interface {
	// Register subscribes url. It returns the subscription's ID, and the secret if the partner makes the
	// secret itself; in that case the secret in the arguments is ignored.
	Register(ctx context.Context, url string, secret belay.Secret) (id string, made belay.Secret, err error)
	// Unregister ends a subscription. A subscription that does not exist is not an error.
	Unregister(ctx context.Context, id string) error
	// Find returns the ID of url's subscription, or "" if there is none.
	Find(ctx context.Context, url string) (id string, err error)
}

// Tester is a [Registrar] whose partner sends a test event on request.
type Tester interface {
	// SendTest asks the partner to send a test event to a subscription.
	SendTest(ctx context.Context, id string) error
}

// Registration is a subscription in its stored form.
type Registration struct {
	// ID is the partner's ID of the subscription. It is empty while it is unknown whether the subscription
	// was made.
	ID  string
	URL string
	// Secret signs the subscription's deliveries. It prints as REDACTED, in JSON too: store the text that
	// Reveal returns, encrypted.
	Secret belay.Secret
	// Made is the time of the registration. Confirmed says that a delivery of the subscription has been
	// verified.
	Made      time.Time
	Confirmed bool
}

// Registrations stores one Registration for each integration. It must be safe for concurrent use.
type Registrations interface {
	// Load returns the integration's Registration, or the zero value if there is none.
	Load(ctx context.Context, integration string) (Registration, error)
	// Save stores r before it returns. If r is zero, Save deletes the stored one.
	Save(ctx context.Context, integration string, r Registration) error
}

// Register subscribes url to a partner's webhooks, and stores the subscription's ID and secret. If that has
// been done already, it does nothing more, so it can be called at every start. It saves the secret before it
// calls the partner: even if the process crashes, no subscription is left whose secret is lost. It first ends
// a subscription of url that is not stored here, and a stored subscription of another URL.
//
// If the partner is a [Tester] and confirm is not nil, Register then has a test event sent and calls confirm,
// which waits for the event; see [Arrivals]. An error of this step leaves the subscription as it is, not yet
// confirmed.
//
// Only one process at a time may register one integration.
func Register(
	ctx context.Context, partner Registrar, kept Registrations, integration, url string,
	confirm func(context.Context) error,
) (Registration, error) {
	fail := func(doing string, err error) (Registration, error) {
		return Registration{}, fmt.Errorf("inbox: Register %s: %s: %w", integration, doing, err)
	}
	if partner == nil || kept == nil || integration == "" || url == "" {
		return fail("arguments",
			errors.New("the partner and the store must not be nil, nor the integration or the URL empty"))
	}
	if u, err := neturl.Parse(url); err != nil || u.Host == "" || u.Scheme != "https" &&
		(u.Scheme != "http" || !origin.Loopback(u)) {
		return fail("arguments", errors.New("the URL must be https, or http on loopback: others could read the events"))
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
		for _, id := range []string{have.ID, there} { // their secret is unknown, or their URL is another one
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

// Unregister ends an integration's subscription, and then deletes its Registration with the secret.
func Unregister(ctx context.Context, partner Registrar, kept Registrations, integration string) error {
	have, err := kept.Load(ctx, integration)
	if err == nil && have.ID == "" && have.URL != "" { // an earlier Register was interrupted
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

// NewSigningSecret returns 32 random bytes in the form of a Standard Webhooks secret: "whsec_" and base64.
func NewSigningSecret() belay.Secret {
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // Read never fails
	return belay.NewSecret("whsec_" + base64.StdEncoding.EncodeToString(raw[:]))
}
