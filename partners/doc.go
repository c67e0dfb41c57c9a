// Package partners has what is publicly known of some forty partners, as values with their sources: where they are, how they
// authenticate, what they allow, how their lists go on, how they say what went wrong, how they sign webhooks.
//
//	c, err := partners.HubSpot.Client(belay.WithAuth(belay.Bearer(token)))
//	…
//	for contact, err := range belay.Items[Contact](ctx, c, "/crm/v3/objects/contacts", partners.HubSpot.Page("")) {
//
// Each value says where it is from, and when that was read: partners change. A zero value means that it is not known;
// nothing is guessed. What is known but is no value of this package is a Fact. docs/partners.md shows all of it.
//
// Values are for reading: do not change them. The package has no state, and imports nothing of a partner's own.
package partners
