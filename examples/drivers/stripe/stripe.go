// Package stripe is a driver for Stripe, as an application would write it: customers, what has changed of them,
// transactions and webhooks of one account. What is known of Stripe itself is in package partners.
package stripe

import (
	"context"
	"fmt"
	"iter"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/driver"
	"github.com/belay-go/belay/partners"
	"github.com/belay-go/belay/webhook"
)

// Driver is one account at Stripe. It is safe for concurrent use.
type Driver struct{ client *belay.Client }

// Register adds Stripe to a registry. The settings of an integration have its secret key as belay.Bearer.
func Register(r *driver.Registry, opts ...belay.Option) (*driver.Factory[*Driver], error) {
	return driver.Register(r, driver.Partner{
		Name: partners.Stripe.Name, BaseURL: partners.Stripe.Base.URL,
		Options:        append(append(partners.Stripe.SharedOptions(), belay.WithHeader("Stripe-Version", version)), opts...),
		CustomerLimits: partners.Stripe.CustomerLimits(),
	}, func(_ context.Context, i driver.Integration) (*Driver, error) { return &Driver{i.Client}, nil })
}

// version is the version of the API that this driver was written for: Stripe would choose the account's own.
const version = "2025-07-30.basil"

// Name implements [driver.Driver].
func (d *Driver) Name() string { return partners.Stripe.Name }

// Check implements [driver.Driver] by reading the balance.
func (d *Driver) Check(ctx context.Context) error {
	_, err := belay.Get[belay.None](ctx, d.client, "/v1/balance")
	return err
}

// Customer is a customer, with the fields that this driver reads.
type Customer struct {
	ID       string            `json:"id"`
	Email    string            `json:"email"`
	Name     string            `json:"name"`
	Metadata map[string]string `json:"metadata"`
	Deleted  bool              `json:"deleted"`
}

// CreateCustomer creates a customer. With the same key it is created once, however often it is called within a day.
func (d *Driver) CreateCustomer(ctx context.Context, key string, c Customer) (Customer, error) {
	form := url.Values{}
	for name, value := range map[string]string{"email": c.Email, "name": c.Name} {
		if value != "" {
			form.Set(name, value)
		}
	}
	for name, value := range c.Metadata {
		form.Set("metadata["+name+"]", value)
	}
	return belay.Post[Customer](ctx, d.client, "/v1/customers", form, belay.IdempotencyKey(key))
}

// Customer returns a customer. One that was deleted is belay.ErrNotFound.
func (d *Driver) Customer(ctx context.Context, id string) (Customer, error) {
	c, err := belay.Get[Customer](ctx, d.client, "/v1/customers/{id}", belay.PathValue("id", id))
	if err == nil && c.Deleted {
		return Customer{}, fmt.Errorf("stripe: the customer %s is deleted: %w", id, belay.ErrNotFound)
	}
	return c, err
}

// Search returns the customers that a query finds, in Stripe's query language, such as "email:'a@example.com'". What
// was created less than a minute ago may be missing.
func (d *Driver) Search(ctx context.Context, query string) iter.Seq2[Customer, error] {
	return belay.Items[Customer](belay.CallContext(ctx, belay.Query("query", query)), d.client, "/v1/customers/search",
		partners.Stripe.Page("search"))
}

// kinds are the kinds of records that ListResources knows, with the prefix of their events.
var kinds = map[string]string{"customers": "customer", "products": "product", "invoices": "invoice"}

// ListResources implements [driver.ResourceLister] for customers, products and invoices. What has changed is read from
// the events, which reach back 30 days: an older mark is an error that is ErrMarkTooOld.
func (d *Driver) ListResources(ctx context.Context, kind, mark string) (delta driver.Delta, err error) {
	name := kinds[kind]
	if name == "" {
		return delta, fmt.Errorf("stripe: the kind of records %q is not known", kind)
	}
	// The mark is a time before the list: what changes meanwhile comes twice, and nothing is missing.
	now := time.Now()
	if mark == "" {
		for one, err := range belay.Items[Customer](d.most(ctx), d.client, "/v1/"+kind, partners.Stripe.Page("list")) {
			if err != nil {
				return driver.Delta{}, err
			}
			delta.Updated = append(delta.Updated, one.ID)
		}
		delta.Mark = strconv.FormatInt(now.Unix(), 10)
		return delta, nil
	}
	since, err := strconv.ParseInt(mark, 10, 64)
	if err != nil {
		return delta, fmt.Errorf("stripe: the mark %q is not one of this driver", mark)
	}
	if now.Sub(time.Unix(since, 0)) > eventsReachBack {
		return delta, fmt.Errorf("%w: %s", ErrMarkTooOld, time.Unix(since, 0).UTC().Format(time.RFC3339))
	}
	if delta, err = d.changes(ctx, name, since); err == nil {
		delta.Mark = strconv.FormatInt(now.Unix(), 10)
	}
	return delta, err
}

// ErrMarkTooOld is the error of a mark that is older than Stripe's events: ask for everything, with an empty mark.
var ErrMarkTooOld = fmt.Errorf("stripe: the mark is older than the events")

// eventsReachBack is a day less than what Stripe promises.
const eventsReachBack = 29 * 24 * time.Hour

// overlap is how far a list of events looks back behind its mark: an event may appear a little after its time.
const overlap = time.Minute

// event is an event, of whose object only the id matters.
type event struct {
	Type string `json:"type"`
	Data struct {
		Object struct {
			ID string `json:"id"`
		} `json:"object"`
	} `json:"data"`
}

// changes returns what happened to the records of a kind since a time.
func (d *Driver) changes(ctx context.Context, name string, since int64) (delta driver.Delta, err error) {
	ctx = belay.CallContext(d.most(ctx), belay.Query("created[gte]", strconv.FormatInt(since-int64(overlap/time.Second), 10)),
		belay.Query("type", name+".*"))
	seen := make(map[string]bool)
	for e, err := range belay.Items[event](ctx, d.client, "/v1/events", partners.Stripe.Page("list")) {
		if err != nil {
			return driver.Delta{}, err
		}
		id := e.Data.Object.ID
		if id == "" || seen[id] { // the latest event comes first, and says what the record is now
			continue
		}
		switch seen[id] = true; strings.TrimPrefix(e.Type, name+".") {
		case "deleted":
			delta.Deleted = append(delta.Deleted, id)
		case "created":
			delta.Added = append(delta.Added, id)
		default:
			delta.Updated = append(delta.Updated, id)
		}
	}
	return delta, nil
}

// most asks for pages of the size that Stripe allows.
func (d *Driver) most(ctx context.Context) context.Context {
	return belay.CallContext(ctx, belay.Query("limit", "100"))
}

// ListTransactions implements [driver.TransactionLister] by the balance's transactions. Stripe has the newest ones
// first.
func (d *Driver) ListTransactions(ctx context.Context, since time.Time) iter.Seq2[driver.Transaction, error] {
	ctx = d.most(ctx)
	if !since.IsZero() {
		ctx = belay.CallContext(ctx, belay.Query("created[gte]", strconv.FormatInt(since.Unix(), 10)))
	}
	list := belay.Items[struct {
		ID       string `json:"id"`
		Amount   int64  `json:"amount"` // in the smallest unit
		Currency string `json:"currency"`
		Status   string `json:"status"`
		Created  int64  `json:"created"`
	}](ctx, d.client, "/v1/balance_transactions", partners.Stripe.Page("list"))
	return func(yield func(driver.Transaction, error) bool) {
		for one, err := range list {
			t := driver.Transaction{
				ID: one.ID, Amount: one.Amount, Currency: strings.ToUpper(one.Currency), Status: one.Status, Created: time.Unix(one.Created, 0),
			}
			if err != nil {
				t = driver.Transaction{}
			}
			if !yield(t, err) || err != nil {
				return
			}
		}
	}
}

// PushStatus implements [driver.StatusPusher]: it sets the status in a customer's metadata. Each call has an
// idempotency key of its own: with one made from the status, a status that comes back within a day would get the answer
// of the first time, and not be set.
func (d *Driver) PushStatus(ctx context.Context, id, status string) error {
	_, err := belay.Post[belay.None](ctx, d.client, "/v1/customers/{id}", url.Values{"metadata[status]": {status}},
		belay.PathValue("id", id))
	return err
}

// NewVerifier returns the verifier of Stripe's webhooks, for an inbox.Receiver. The secrets are those of the endpoint,
// the new one first while they are rotated.
func NewVerifier(secrets ...belay.Secret) (*webhook.Verifier, error) {
	scheme, err := partners.Stripe.Webhook("")
	if err != nil {
		return nil, err
	}
	return webhook.NewVerifier(scheme, secrets...)
}
