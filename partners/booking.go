package partners

import "time"

// Booking is Booking.com, a marketplace of lodgings: its connectivity APIs, for software of properties.
var Booking = &Partner{
	Name: "booking", Title: "Booking.com", Tier: 3,
	Docs: "https://developers.booking.com/connectivity/docs", Seen: "2026-11-28",
	Sources: map[string]string{
		"1":  "https://developers.booking.com/connectivity/docs/token-based-authentication",
		"2":  "https://developers.booking.com/connectivity/docs/authentication",
		"3":  "https://developers.booking.com/connectivity/docs/authentication-best-practices",
		"4":  "https://developers.booking.com/connectivity/docs/reservations-api/retrieving-new-reservations-ota",
		"5":  "https://developers.booking.com/connectivity/docs/reservations-api/retrieving-modifcancel-reservations-ota",
		"7":  "https://developers.booking.com/connectivity/docs/reservations-api/managing-reservations-bxml",
		"8":  "https://developers.booking.com/connectivity/docs/reservations-api/reservations-troubleshooting",
		"9":  "https://developers.booking.com/connectivity/docs/reservations-flow-control-api/recovering-reservations",
		"10": "https://developers.booking.com/connectivity/docs/con-faq-reservations-missing-res-messages",
		"11": "https://connect.booking.com/user_guide/site/en-US/reservations_best_practices (older)",
		"12": "https://connect.booking.com/user_guide/site/en-US/request-to-book/rateLimiting (older)",
		"13": "https://developers.booking.com/connectivity/docs/messaging-api/managing-messages",
		"14": "https://developers.booking.com/connectivity/docs/connections-api/troubleshooting-connections-api",
		"15": "https://developers.booking.com/connectivity/docs/notification-service/authentication",
		"16": "https://developers.booking.com/connectivity/docs/notification-service/managing-notifications",
		"18": "https://developers.booking.com/connectivity/docs/openapispecs/contracting-api",
		"19": "https://developers.booking.com/connectivity/docs/reporting-api/reporting-troubleshooting",
		"20": "https://github.com/api-evangelist/booking-com (third party)",
		"21": "https://developers.booking.com/connectivity/docs/messaging-api/messaging-troubleshooting",
		"22": "https://developers.booking.com/connectivity/docs/connections-api/mapping-connections",
	},
	Base: Base{URL: "https://supply-xml.booking.com", From: "13 18"},
	Auth: []Auth{{
		Kind: "header", Name: "Authorization",
		Text: "the jwt of POST https://connectivity-authentication.booking.com/token-based-authentication/exchange", From: "1 2 18",
	}},
	OAuth: OAuth{
		Access: time.Hour, From: "1 3",
		Limits: []Limit{{N: 30, Per: time.Hour, Where: "tokens of the exchange", From: "1"}},
		Notes: []Fact{
			{
				"This is no OAuth: client_id and client_secret of a machine account are sent as JSON or XML, and the answer " +
					"is jwt and ruid.",
				"1 2",
			},
			{"There is no refresh token: exchange again before the end of the hour, which the jwt's exp tells.", "1 3"},
			{"Instead of scopes, a property grants types of connection, and each endpoint is enabled for the account.", "22"},
		},
	},
	Limits: []Limit{
		{
			N: 200, Per: time.Minute, For: "provider", Where: "request-to-book, by a page of 2023; it warns from 170 on",
			From: "12",
		},
	},
	Waits: []Fact{
		{
			"Booking.com advises one read of reservations every 20 seconds at each endpoint, and with B.XML no calls side " +
				"by side.",
			"4 5 7",
		},
		{"Messaging answers 429 without a figure: try later.", "21"},
		{"Wait 5 seconds between acknowledging reservations and the next read.", "4 5"},
		{"An answer to questions asks for a read of reservations every 30 seconds, not 20.", "10"},
		{"Retry-After was found in the definition of one other API only.", "20"},
		{"Limits may change without notice, and be set for an account.", "12"},
	},
	Errors: Errors{
		RequestID: "meta.ruid", From: "13 20",
		Notes: []Fact{
			{"The JSON APIs answer with meta, data, warnings and errors.", "13 20"},
			{
				"The connections API has codes of OTA: 320 for a wrong value, 448 for a fault (500), 450 if it cannot " +
					"process, 497 without the right.",
				"14",
			},
			{
				"A 400 may be an acknowledgement of a message that is no longer the newest, a 403 a property that is not " +
					"connected.",
				"8",
			},
			{"A 401 is a bad or missing credential; no sign of one that has ended was seen.", "19 21"},
			{"Come back after a 429 and after 5xx.", "8 11 19"},
		},
	},
	Idempotency: Idempotency{Notes: []Fact{
		{"Instead of a key: repeat an acknowledgement until its answer is no 5xx; a read is repeated by the next one.", "11"},
	}},
	Webhooks: Webhooks{Notes: []Fact{
		{"No signature was seen: Booking.com gets a token from an OAuth endpoint of yours, and sends it as Bearer.", "15"},
		{"A body has metadata, with uuid and type, and a payload; it is an alert, so read the data.", "15 16"},
		{"Reservations are not sent, but new messages and changes of payouts and cards are.", "10 16"},
	}},
	Changes: []Fact{
		{
			"Reservations are a queue: a read gives those that are not acknowledged, the changed and the cancelled at an " +
				"endpoint of their own.",
			"4 5",
		},
		{
			"What is not fetched (B.XML) or acknowledged (OTA) in 30 minutes is sent by e-mail; with recovery switched on the e-mail " +
				"comes after 24 hours, but still after 30 minutes for a check-in within 48 hours.",
			"9",
		},
		{
			"With recovery switched on, read GET /reservations-flow-control/missed-reservations at least every 30 minutes; " +
				"last_change is an error then. A reservation that was answered with an error does not come again.",
			"9",
		},
		{"A change before the acknowledgement comes as a new reservation.", "5"},
	},
	Quirks: []Fact{
		{"Reservations are at https://secure-supply-xml.booking.com, as XML.", "4 5 7"},
		{
			"GET /messages/latest gives at most 100; confirm them by PUT /messages, and read until there are none. It is " +
				"to be deprecated in favor of notifications.",
			"13",
		},
		{"Two accounts of one property can double messages, and confirmed ones may come again.", "13"},
		{"Basic authentication was to end on 2025-12-31.", "2"},
	},
	Unknown: []string{
		"the word before the JWT in Authorization", "most limits, and headers of them", "what is in errors",
		"the names of the connections API's cursor",
		"the exchange's error after 30 tokens", "retries of notifications, and the answer that they want",
		"times in reservations",
		"errors inside a 200 of OTA",
	},
}
