// Package attio is a driver for Attio, as an application would write it: people and companies of one workspace,
// asserted after their values were checked, and what has changed of them. What is known of Attio itself is in package
// partners.
package attio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/driver"
	"github.com/belay-go/belay/partners"
	"github.com/belay-go/belay/webhook"
)

// Driver is one workspace at Attio. It is safe for concurrent use.
type Driver struct {
	client *belay.Client
	writes bool
}

// Register adds Attio to a registry. The settings of an integration have its token as belay.Bearer. The label "writes"
// with the value "off" makes the integration read only, while a rollout is watched for example.
func Register(r *driver.Registry, opts ...belay.Option) (*driver.Factory[*Driver], error) {
	return driver.Register(r, driver.Partner{
		Name: partners.Attio.Name, BaseURL: partners.Attio.Base.URL, Options: append(partners.Attio.SharedOptions(), opts...),
		CustomerLimits: partners.Attio.CustomerLimits(),
	}, func(_ context.Context, i driver.Integration) (*Driver, error) {
		return &Driver{i.Client, i.Labels["writes"] != "off"}, nil
	})
}

// ErrReadOnly is the error of a write of an integration whose label "writes" is "off".
var ErrReadOnly = errors.New("attio: this integration is read only")

// Name implements [driver.Driver].
func (d *Driver) Name() string { return partners.Attio.Name }

// Check implements [driver.Driver] by asking whose token it is. Attio answers 200 for a token that is no longer one.
func (d *Driver) Check(ctx context.Context) error {
	self, err := belay.Get[struct {
		Active bool `json:"active"`
	}](ctx, d.client, "/v2/self")
	if err == nil && !self.Active {
		return fmt.Errorf("attio: the token is not active: %w", belay.ErrAuth)
	}
	return err
}

// Health returns the state of the workspace, as its calls show it.
func (d *Driver) Health() belay.Health { return d.client.Health() }

// Record is a record of an object, such as a person or a company.
type Record struct {
	ID struct {
		Record string `json:"record_id"`
	} `json:"id"`
	Created time.Time `json:"created_at"`
	// Values are the values of the attributes by their slugs, as Attio writes them.
	Values map[string]json.RawMessage `json:"values"`
}

// Query returns the records of an object that a filter selects, in Attio's form; nil selects all. It is a POST that
// reads, so that it counts as a read for the limits, and may be repeated.
func (d *Driver) Query(ctx context.Context, object string, filter any) iter.Seq2[Record, error] {
	body := map[string]any{"sorts": []map[string]string{{"attribute": "created_at", "direction": "asc"}}}
	if filter != nil {
		body["filter"] = filter
	}
	ctx = belay.CallContext(ctx, belay.ReadOnly(), belay.PathValue("object", object))
	return belay.Items[Record](ctx, d.client, "/v2/objects/{object}/records/query", partners.Attio.Page("records"), belay.PostBody(body))
}

// Get returns a record. One that was merged into another one is that one: its id differs. One that was deleted is
// belay.ErrNotFound.
func (d *Driver) Get(ctx context.Context, object, id string) (Record, error) {
	got, err := belay.Get[data[Record]](ctx, d.client, "/v2/objects/{object}/records/{id}",
		belay.PathValue("object", object), belay.PathValue("id", id))
	return got.Data, err
}

// data is the envelope of Attio's answers and requests.
type data[T any] struct {
	Data T `json:"data"`
}

// Assert creates a record, or updates the one whose attribute matching has the given value, and returns it. It may be
// repeated.
func (d *Driver) Assert(ctx context.Context, object, matching string, values map[string]any) (Record, error) {
	if !d.writes {
		return Record{}, ErrReadOnly
	}
	if values[matching] == nil {
		return Record{}, fmt.Errorf("attio: asserting a record of %s: there is no value of %s, by which it is matched", object, matching)
	}
	got, err := belay.Put[data[Record]](ctx, d.client, "/v2/objects/{object}/records", data[map[string]any]{map[string]any{"values": values}},
		belay.PathValue("object", object), belay.Query("matching_attribute", matching))
	return got.Data, err
}

// Person is a person to be asserted. Email is required; empty fields are left as they are.
type Person struct {
	Email, Name string
	// Phone is in any form that can be read in Country, such as "030 901820" in "DE"; it is sent in the form of E.164.
	Phone, Country string
	// Company is the domain of the company that the person works for, which is asserted as well.
	Company string
	// Owner is the record id of a person that looks after this one. It must exist.
	Owner string
}

// AssertPerson checks a person, asserts the company, and then the person by its e-mail address. Nothing is sent if a
// value is wrong: the error names the field, and is belay.ErrInvalid.
func (d *Driver) AssertPerson(ctx context.Context, p Person) (Record, error) {
	values, err := p.values()
	if err != nil {
		return Record{}, err
	}
	if p.Owner != "" { // Attio would take the id of a record that is gone
		owner, err := d.Get(ctx, "people", p.Owner)
		if err != nil {
			return Record{}, fmt.Errorf("attio: Person.Owner %s: %w", p.Owner, err)
		}
		values["owner"] = reference("people", owner.ID.Record) // the one that it was merged into
	}
	if p.Company != "" {
		domain, _ := checkDomain(p.Company)
		company, err := d.Assert(ctx, "companies", "domains", map[string]any{"domains": []string{domain}})
		if err != nil {
			return Record{}, fmt.Errorf("attio: the company %s: %w", domain, err)
		}
		values["company"] = reference("companies", company.ID.Record)
	}
	return d.Assert(ctx, "people", "email_addresses", values)
}

func reference(object, id string) map[string]string {
	return map[string]string{"target_object": object, "target_record_id": id}
}

// PushStatus implements [driver.StatusPusher]: it sets the attribute status of a person.
func (d *Driver) PushStatus(ctx context.Context, id, status string) error {
	if !d.writes {
		return ErrReadOnly
	}
	_, err := belay.Patch[belay.None](ctx, d.client, "/v2/objects/people/records/{id}",
		data[map[string]any]{map[string]any{"values": map[string]string{"status": status}}}, belay.PathValue("id", id), belay.Idempotent())
	return err
}

// ListResources implements [driver.ResourceLister] for objects such as "people" and "companies". Attio cannot say what
// has changed, so the whole list is read, and compared with the mark, which holds an id and a hash of each record. What
// is gone is asked for once more, because it may have been merged.
func (d *Driver) ListResources(ctx context.Context, kind, mark string) (delta driver.Delta, err error) {
	before, err := driver.OpenSnapshot(mark)
	if err != nil {
		return delta, err
	}
	now := driver.NewSnapshot()
	for one, err := range d.Query(ctx, kind, nil) {
		if err != nil {
			return driver.Delta{}, err
		}
		if err := now.Add(one.ID.Record, one.Values); err != nil {
			return driver.Delta{}, fmt.Errorf("attio: %s: %w: %w", kind, err, belay.ErrData)
		}
	}
	delta = now.Since(before)
	if err := now.Missing(ctx, before, &delta, func(ctx context.Context, id string) (string, error) {
		got, err := d.Get(ctx, kind, id)
		return got.ID.Record, err
	}); err != nil {
		return driver.Delta{}, err
	}
	delta.Mark, err = now.Mark()
	return delta, err
}

// NewVerifier returns the verifier of Attio's webhooks, for an inbox.Receiver.
func NewVerifier(secrets ...belay.Secret) (*webhook.Verifier, error) {
	scheme, err := partners.Attio.Webhook("")
	if err != nil {
		return nil, err
	}
	return webhook.NewVerifier(scheme, secrets...)
}
