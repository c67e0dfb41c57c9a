package partners

// All returns all partners, by name.
func All() []*Partner {
	return []*Partner{HubSpot, Stripe}
}
