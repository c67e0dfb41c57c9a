package partners

// All returns all partners, by name.
func All() []*Partner {
	return []*Partner{
		Airbnb, Airtable, Asana, Attio, Booking, Box, Calendly, Cloudbeds, Discord, Dropbox, Eventbrite, Freshdesk,
		GitHub, GitLab, Google, Guesty, Hostaway, HubSpot, Intercom, Jira, Klaviyo, Linear, Lodgify, Mailchimp,
		Mailgun, Mews, MicrosoftGraph, Monday, Notion, Okta, PagerDuty, Pipedrive, QuickBooks, Salesforce, SendGrid,
		Shopify, Slack, Square, Stripe, Twilio, Typeform, Xero, Zendesk, Zoom,
	}
}
