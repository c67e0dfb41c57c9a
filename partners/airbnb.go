package partners

// Airbnb is a marketplace of lodgings. Its documentation is open to approved partners only.
var Airbnb = &Partner{
	Name: "airbnb", Title: "Airbnb", Tier: 3,
	Docs: "https://developer.withairbnb.com", Seen: "2026-11-28",
	Sources: map[string]string{
		"1":  "https://www.airbnb.com/help/article/2973",
		"2":  "https://www.airbnb.com/help/article/2958",
		"3":  "https://docs.channex.io/channel-api-examples/airbnb (third party)",
		"4":  "https://docs.channex.io/api-v.1-documentation/airbnb-api (third party)",
		"5":  "https://wiki.beds24.com, Connect_Airbnb_Account (third party)",
		"6":  "https://homstar.zendesk.com, article 360015525014 (third party)",
		"7":  "https://repull.dev/docs/oauth-connect (third party)",
		"8":  "https://academy.stays.net, article 36000112397 (third party)",
		"10": "https://github.com/api-evangelist/airbnb (third party, generated)",
	},
	Auth: []Auth{{Kind: "oauth", Text: "a page of consent, which joins one host's account; listings are mapped one by one", From: "3 7"}},
	OAuth: OAuth{Notes: []Fact{
		{"Only one software can be connected to a host; an older one has to be removed first.", "6"},
		{"A co-host cannot connect, only the host.", "5"},
		{"One vendor offers two grants: full access, and reading only.", "7"},
		{"The host takes the access back on a page of the account.", "2 6"},
	}},
	Changes: []Fact{{"What a host has changed on Airbnb stays as it is: later updates do not overwrite it until the host permits that.", "1"}},
	Webhooks: Webhooks{Notes: []Fact{
		{"Connected software handles inquiries, reservations and requests to alter them.", "4"},
	}},
	Quirks: []Fact{
		{"A generated catalog says that the partner's agreement sets the limits; no public figure was seen.", "10"},
		{"Through one channel manager a connection begins inactive: map each listing to a rate plan, then activate it.", "3"},
		{"A listing is connected in full, or for prices and availability only.", "8"},
		{
			"In one channel manager's API, publishing and unpublishing a listing are calls of their own, which may be " +
				"repeated.",
			"4",
		},
		{"In some cities the API is closed; there is iCal, for calendars only.", "5"},
		{
			"To change software, a host disconnects each listing, removes the app, and connects the other one at once, or " +
				"unlists or snoozes the listing meanwhile.",
			"2",
		},
	},
	Unknown: []string{
		"addresses of the API and of OAuth (third parties guess them)",
		"client authentication, PKCE, scopes, lifetimes and rotation of tokens",
		"limits and how they are told", "the shape of errors", "idempotency", "paging", "updates since a time",
		"signature, retries and answers of webhooks",
	},
}
