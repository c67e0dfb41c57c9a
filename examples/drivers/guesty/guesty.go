// Package guesty is a driver for Guesty's Open API, as an application would write it: listings with their photos, and
// reservations, read only where they have changed, within the few tokens and calls that Guesty gives. What is known of
// Guesty itself is in package partners.
package guesty

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/driver"
	"github.com/belay-go/belay/oauth"
	"github.com/belay-go/belay/partners"
	"github.com/belay-go/belay/webhook"
)

// NewApp returns the source of tokens of one API key. Guesty gives five tokens in 24 hours for a key, so the store must
// outlive the process and be shared by all: an oauth.FileStore, or the tokens of package belaysql. Make one App for
// each key. A nil transport is a usual one.
func NewApp(clientID string, clientSecret belay.Secret, store oauth.Store, transport http.RoundTripper) (*oauth.App, error) {
	if store == nil {
		return nil, errors.New("guesty: NewApp: the store is nil: tokens must outlive the process")
	}
	cfg, err := partners.Guesty.OAuthConfig(clientID, clientSecret)
	if err != nil {
		return nil, err
	}
	cfg.Scopes, cfg.Store, cfg.Transport = []string{"open-api"}, store, transport
	return oauth.New(cfg)
}

// The versions of the adapter: the old list of reservations, which ends on 2027-03-01, and the search that replaces it.
const (
	V1 = "v1"
	V2 = "v2"
)

// Rollout begins with one customer, by name; raise Percent to 10, 50 and 100 by [driver.Factory.SetRollout].
func Rollout(first string) driver.Rollout {
	return driver.Rollout{Stable: V1, Next: V2, Override: map[string]string{first: V2}}
}

// Register adds Guesty to a registry. The settings of an integration have App.ClientCredentials as Auth. Each account has
// the three tiers of limits for itself.
func Register(r *driver.Registry, rollout driver.Rollout, opts ...belay.Option) (*driver.Factory[*Driver], error) {
	return driver.Register(r, driver.Partner{
		Name: partners.Guesty.Name, BaseURL: partners.Guesty.Base.URL, Options: append(partners.Guesty.SharedOptions(), opts...),
		CustomerLimits: partners.Guesty.CustomerLimits(), Rollout: rollout,
	}, func(_ context.Context, i driver.Integration) (*Driver, error) {
		d := &Driver{client: i.Client, reservations: oldReservations{}}
		if i.Version == V2 {
			d.reservations = searchedReservations{}
		}
		return d, nil
	})
}

// Driver is one account at Guesty. It is safe for concurrent use.
type Driver struct {
	client       *belay.Client
	reservations adapter
}

// Name implements [driver.Driver].
func (d *Driver) Name() string { return partners.Guesty.Name }

// Check implements [driver.Driver] by asking for one listing.
func (d *Driver) Check(ctx context.Context) error {
	_, err := belay.Get[json.RawMessage](ctx, d.client, "/listings", belay.Query("limit", "1"), belay.Query("fields", "_id"))
	return err
}

// Authenticate implements [driver.Authenticator]: a call gets a token, from the store if it has one that has not ended.
func (d *Driver) Authenticate(ctx context.Context) error { return d.Check(ctx) }

// Health returns the state of the account, as its calls show it.
func (d *Driver) Health() belay.Health { return d.client.Health() }

// Listing is a property. Photos are as Guesty writes them, with the addresses of the pictures.
type Listing struct {
	ID     string            `json:"_id"`
	Photos []json.RawMessage `json:"pictures"`
}

var listings = belay.OffsetPages{Items: "results", Limit: 100, OffsetParam: "skip", Total: "count"}

// Listings returns all listings with their photos.
func (d *Driver) Listings(ctx context.Context) iter.Seq2[Listing, error] {
	ctx = belay.CallContext(ctx, belay.Query("fields", "_id pictures"), belay.Query("sort", "_id"))
	return belay.Items[Listing](ctx, d.client, "/listings", listings)
}

// Listing returns a listing, or belay.ErrNotFound.
func (d *Driver) Listing(ctx context.Context, id string) (Listing, error) {
	return belay.Get[Listing](ctx, d.client, "/listings/{id}", belay.PathValue("id", id), belay.Query("fields", "_id pictures"))
}

// Reservation is a stay, in the application's own form, whichever endpoint it is from.
type Reservation struct {
	ID, Listing, Status string
	// CheckIn and CheckOut are days at the listing, as 2026-01-15.
	CheckIn, CheckOut string
	Created           time.Time
}

// adapter reads reservations in the way of one endpoint.
type adapter interface {
	list(ctx context.Context, c *belay.Client) iter.Seq2[Reservation, error]
}

// Reservations returns all reservations, oldest first.
func (d *Driver) Reservations(ctx context.Context) iter.Seq2[Reservation, error] {
	return d.reservations.list(ctx, d.client)
}

// oldReservations is GET /reservations.
type oldReservations struct{}

func (oldReservations) list(ctx context.Context, c *belay.Client) iter.Seq2[Reservation, error] {
	ctx = belay.CallContext(ctx, belay.Query("fields", "_id listingId status checkIn checkOut createdAt"), belay.Query("sort", "_id"))
	return adapted(belay.Items[reservation](ctx, c, "/reservations", partners.Guesty.Page("reservations")))
}

// searchedReservations is GET /reservations-v3/search. That its items are results was not seen: if they are not, a list
// is belay.ErrData, and the rollout stops at its first customer.
type searchedReservations struct{}

var searched = belay.OffsetPages{Items: "results", Limit: 100, OffsetParam: "skip", More: "pagination.hasMore"}

func (searchedReservations) list(ctx context.Context, c *belay.Client) iter.Seq2[Reservation, error] {
	ctx = belay.CallContext(ctx, belay.Query("sort", "_id"))
	return adapted(belay.Items[reservation](ctx, c, "/reservations-v3/search", searched))
}

// reservation is a reservation as Guesty writes it: the old list has times, the search days.
type reservation struct {
	ID       string          `json:"_id"`
	Listing  string          `json:"listingId"`
	Status   string          `json:"status"`
	CheckIn  string          `json:"checkIn"`
	CheckOut string          `json:"checkOut"`
	Created  driver.FlexTime `json:"createdAt"`
}

func adapted(list iter.Seq2[reservation, error]) iter.Seq2[Reservation, error] {
	return func(yield func(Reservation, error) bool) {
		for r, err := range list {
			var out Reservation
			if err == nil {
				out = Reservation{r.ID, r.Listing, r.Status, day(r.CheckIn), day(r.CheckOut), r.Created.Time}
			}
			if !yield(out, err) || err != nil {
				return
			}
		}
	}
}

// day returns the day of a time or a day.
func day(text string) string { return text[:min(len(text), len(time.DateOnly))] }

// usualCalls is the most calls of one ListResources: with the account's 5,000 an hour, sixteen customers of one key, or
// as many looks.
const usualCalls = 301

// ListResources implements [driver.ResourceLister] for "listings", which have changed if their photos have, and
// "reservations". It sends at most 301 requests; an account with more records than fit into them is an error that is
// belay.ErrCallBudget, not a shorter list. What is gone is asked for once more: it may have been merged, and answers
// under its new id then.
func (d *Driver) ListResources(ctx context.Context, kind, mark string) (delta driver.Delta, err error) {
	before, err := driver.OpenSnapshot(mark)
	if err != nil {
		return delta, err
	}
	ctx = belay.BudgetContext(ctx, usualCalls)
	now := driver.NewSnapshot()
	switch kind {
	case "listings":
		for one, err := range d.Listings(ctx) {
			if err == nil {
				err = now.Add(one.ID, one.Photos)
			}
			if err != nil {
				return driver.Delta{}, err
			}
		}
	case "reservations":
		for one, err := range d.Reservations(ctx) {
			if err == nil {
				err = now.Add(one.ID, one)
			}
			if err != nil {
				return driver.Delta{}, err
			}
		}
	default:
		return delta, fmt.Errorf("guesty: the kind of records %q is not known", kind)
	}
	delta = now.Since(before)
	if kind == "listings" {
		if err := now.Missing(ctx, before, &delta, func(ctx context.Context, id string) (string, error) {
			got, err := d.Listing(ctx, id)
			return got.ID, err
		}); err != nil {
			return driver.Delta{}, err
		}
	}
	delta.Mark, err = now.Mark()
	return delta, err
}

// IDs maps ids that were merged to those in which they went on, over any number of merges. It is not safe for
// concurrent use.
type IDs map[string]string

// Add adds the merges of a Delta.
func (m IDs) Add(merged map[string]string) {
	for old, to := range merged {
		m[old] = to
	}
}

// Now returns the present id of what had an id.
func (m IDs) Now(id string) string {
	for range len(m) { // a circle ends, too
		to, merged := m[id]
		if !merged {
			break
		}
		id = to
	}
	return id
}

// NewVerifier returns the verifier of Guesty's webhooks, for an inbox.Receiver. Svix sends them; each address has a
// secret of its own.
func NewVerifier(secrets ...belay.Secret) (*webhook.Verifier, error) {
	scheme, err := partners.Guesty.Webhook("")
	if err != nil {
		return nil, err
	}
	return webhook.NewVerifier(scheme, secrets...)
}
