package webhook_test

import "github.com/belay-go/belay/webhook"

// recipes are deliveries of partners that publish no example with its secret. OpenSSL has signed them as the partner's guide
// says, so what this package takes for good is held against something else than itself. For example:
//
//	printf '%s' "$signed" | openssl dgst -sha256 -mac HMAC -macopt key:"$secret" -binary | base64
//	openssl pkeyutl -sign -rawin -inkey ed25519.pem -in signed | xxd -p
func recipes() []vector {
	const secret = "a secret of 2025"
	return []vector{
		{
			"Airtable", webhook.Airtable(), "AQID/v8gYSBrZXkgb2YgYWlydGFibGU=",
			[]string{
				"X-Airtable-Content-MAC", "hmac-sha256=e5041ad3292b2808f692c8308d42d6df3d523ed552335ac0a9dfde9f9b14a382",
			},
			`{"timestamp":"2025-06-15T15:06:40.000Z","base":{"id":"app1"},"webhook":{"id":"ach1"}}`,
			[]string{"X-Airtable-Content-MAC"},
			0, "", "",
		},
		{
			"Asana", webhook.Asana(), secret,
			[]string{
				"X-Hook-Signature", "4abfa0189e9b5e78055661bd9eee23155e63d9fc3f992ba9a2d57c8c052aea1e",
			},
			`{"events":[{"action":"changed","created_at":"2025-06-15T15:06:40.000Z","resource":{"gid":"1","resource_type":"task"}}]}`,
			[]string{"X-Hook-Signature"},
			0, "", "changed",
		},
		{
			"Attio", webhook.Attio(), secret,
			[]string{
				"Attio-Signature", "360be990f167f01e85010a75f9aebdaeaf77460e68ad02dbdb84a80f3ced79fb",
				"Idempotency-Key", "k1",
			},
			`{"webhook_id":"w","events":[{"event_type":"record.updated","id":{"record_id":"r"}}]}`,
			[]string{"Attio-Signature"},
			0, "", "record.updated",
		},
		{
			"Box, by its second key", webhook.Box(), secret,
			[]string{
				"BOX-DELIVERY-TIMESTAMP", "2025-06-15T08:06:40-07:00",
				"BOX-SIGNATURE-PRIMARY", "hGRofN1d1U7luit4sOja4T5a8maHoAsteYZrpa09ERo=",
				"BOX-SIGNATURE-SECONDARY", "f0bGs5xSr/dqXw2Ost4e/+PTIYm5jBPXSuAS1z2170A=",
				"BOX-SIGNATURE-ALGORITHM", "HmacSHA256",
				"BOX-SIGNATURE-VERSION", "1",
			},
			`{"id":"b1","trigger":"FILE.UPLOADED","created_at":"2025-06-15T08:06:40-07:00"}`,
			[]string{"BOX-DELIVERY-TIMESTAMP", "BOX-SIGNATURE-SECONDARY"},
			1750000000, "b1", "FILE.UPLOADED",
		},
		{
			"Calendly", webhook.Calendly(), secret,
			[]string{
				"Calendly-Webhook-Signature", "t=1750000000,v1=284fed81d26c4c3803cd1ec03e5a0dc7fc9cd1fa7da662eccd0fc45655a6795b",
			},
			`{"event":"invitee.created","created_at":"2025-06-15T15:06:40.000000Z","payload":{"name":"Zoë"}}`,
			[]string{"Calendly-Webhook-Signature"},
			1750000000, "", "invitee.created",
		},
		{
			"Discord", webhook.Discord(), "83979979efa8a9e653d7bea5b4dec6a966b49e7662aa01b78f528fc91ff38834",
			[]string{
				"X-Signature-Timestamp", "1750000000",
				"X-Signature-Ed25519", "e9e8f84681e636498c8aab2d2fea68cfd7c9570a0988ace6fbf75e45043d3824b093d40ad1c2a2a4d4c989c7805ae53f45d3cdcbee8ec58b8c5a15be64a0f409",
			},
			`{"version":1,"application_id":"1","type":1,"event":{"type":"APPLICATION_AUTHORIZED","timestamp":"2025-06-15T15:06:40.000000","data":{}}}`,
			[]string{"X-Signature-Timestamp", "X-Signature-Ed25519"},
			1750000000, "", "APPLICATION_AUTHORIZED",
		},
		{
			"Dropbox", webhook.Dropbox(), secret,
			[]string{
				"X-Dropbox-Signature", "ce1caf9c8e8a482efa882be311fa47cb4ed70e96bed8ff6b36afc8e8b81be592",
			},
			`{"list_folder":{"accounts":["dbid:1"]},"delta":{"users":[1]}}`,
			[]string{"X-Dropbox-Signature"},
			0, "", "",
		},
		{
			"Gitea", webhook.Gitea(), secret,
			[]string{
				"X-Gitea-Signature", "09660ff6f69798f2670b20f016597067917b70320ca760fa407c1ffabe37700d",
				"X-Gitea-Delivery", "g1",
				"X-Gitea-Event", "push",
			},
			`{"ref":"refs/heads/main"}`,
			[]string{"X-Gitea-Signature"},
			0, "g1", "push",
		},
		{
			"Intercom", webhook.Intercom(), secret,
			[]string{
				"X-Hub-Signature", "sha1=efdfaa375324d92416b467c93d275b66f2f99f20",
			},
			`{"object":"webhook_notification","id":"notif_1","topic":"user.created","created_at":1750000000}`,
			[]string{"X-Hub-Signature"},
			0, "notif_1", "user.created",
		},
		{
			"Jira", webhook.Jira(), secret,
			[]string{
				"X-Hub-Signature", "sha256=f21154b324bc6c967d8610d16ef190c66bba41d839d5f343b8cefc280248f0c2",
				"X-Atlassian-Webhook-Identifier", "j1",
			},
			`{"timestamp":1750000000000,"webhookEvent":"jira:issue_updated","issue":{"id":"1"}}`,
			[]string{"X-Hub-Signature"},
			0, "j1", "jira:issue_updated",
		},
		{
			"Klaviyo", webhook.Klaviyo(), secret,
			[]string{
				"Klaviyo-Timestamp", "Sun, 15 Jun 2025 15:06:40 GMT",
				"Klaviyo-Signature", "f1a57aceacff8e3936e52e996f60d6332be3875d4e3b8e9bb112d2b9681b2d05",
			},
			`{"data":[{"external_id":"e1","topic":"event:klaviyo.opened_email","payload":{}}]}`,
			[]string{"Klaviyo-Timestamp", "Klaviyo-Signature"},
			1750000000, "e1", "event:klaviyo.opened_email",
		},
		{
			"Linear", webhook.Linear(), secret,
			[]string{
				"Linear-Signature", "3c472d9a611aac386bb2dc1b77127371e5c9dda8380d72991e8adc9492d3f923",
				"Linear-Delivery", "d1",
				"Linear-Event", "Issue",
			},
			`{"action":"update","type":"Issue","createdAt":"2025-06-15T15:06:40.000Z","webhookTimestamp":1750000000123,"data":{"id":"l1"}}`,
			[]string{"Linear-Signature"},
			1750000000, "", "Issue",
		},
		{
			"Mailchimp", webhook.Mailchimp(), secret,
			[]string{
				"Content-Type", "application/x-www-form-urlencoded",
				"X-Mailchimp-Signature", "t=1750000000,v1=47bf7d282409f433b098378bbb6fa43159c9bb3bc0d7f1973f1740dbe35047c9",
			},
			"type=subscribe&fired_at=2025-06-15+15%3A06%3A40&data%5Bid%5D=m1&data%5Bemail%5D=a%40b.example",
			[]string{"X-Mailchimp-Signature"},
			1750000000, "", "",
		},
		{
			"Mailgun", webhook.Mailgun(), secret,
			[]string{},
			`{"signature":{"timestamp":"1750000000","token":"a8ce0edb2dd8301dee6c2405235584e45aa91d1e9f979f3de0","signature":"31a9edef6eb46b88644f97b16721966311e60bc93262ee4a9c3079f19fad19c0"},"event-data":{"event":"opened","timestamp":1750000000.25,"id":"x"}}`,
			nil,
			1750000000, "a8ce0edb2dd8301dee6c2405235584e45aa91d1e9f979f3de0", "opened",
		},
		{
			"Notion", webhook.Notion(), secret,
			[]string{
				"X-Notion-Signature", "sha256=7f03c396f99e0d62a2a76004d447f0ab36038a791c82ba74b4518f7b6be4e58e",
			},
			`{"id":"n1","timestamp":"2025-06-15T15:06:40.000Z","type":"page.created","entity":{"id":"p"}}`,
			[]string{"X-Notion-Signature"},
			0, "n1", "page.created",
		},
		{
			"PagerDuty, by the second of two secrets", webhook.PagerDuty(), secret,
			[]string{
				"X-PagerDuty-Signature", "v1=6c29694a6ae814e9fa63ed96d44ff5258d2da8ee38c00ec32552bd5f4a3a9cf1,v1=921018f78338c998fbcc8c81ed5437d5e1a759b7887c2b533cec3b9893d124f8",
			},
			`{"event":{"id":"p1","event_type":"incident.triggered","occurred_at":"2025-06-15T15:06:40.000Z"}}`,
			nil,
			0, "p1", "incident.triggered",
		},
		{
			"QuickBooks", webhook.QuickBooks(), secret,
			[]string{
				"intuit-signature", "7KgeAp7YdVNxef515O1uRL3OcP6iRWDZ3EVWKicTrUM=",
			},
			`[{"specversion":"1.0","id":"q1","type":"qbo.customer.updated.v1","time":"2025-06-15T15:06:40Z","data":{}}]`,
			[]string{"intuit-signature"},
			0, "q1", "qbo.customer.updated.v1",
		},
		{
			"Shopify", webhook.Shopify(), secret,
			[]string{
				"X-Shopify-Hmac-Sha256", "e0PnucvLzU5BArKU/Zt8OxLEmmori3h8q6xjzua5cmI=",
				"X-Shopify-Webhook-Id", "s1",
				"X-Shopify-Topic", "products/update",
			},
			`{"id":1,"title":"caf\u00e9"}`,
			[]string{"X-Shopify-Hmac-Sha256"},
			0, "s1", "products/update",
		},
		{
			"Shopify, Events", webhook.ShopifyEvents(), secret,
			[]string{
				"shopify-hmac-sha256", "e0PnucvLzU5BArKU/Zt8OxLEmmori3h8q6xjzua5cmI=",
				"shopify-webhook-id", "s2",
				"shopify-topic", "Product",
			},
			`{"id":1,"title":"caf\u00e9"}`,
			[]string{"shopify-hmac-sha256"},
			0, "s2", "Product",
		},
		{
			"Typeform", webhook.Typeform(), secret,
			[]string{
				"Typeform-Signature", "sha256=/uQOvsSCgPRLzm8KLt8P2qMatwT8R1FnXqabnpCx+B4=",
			},
			`{"event_id":"t1","event_type":"form_response","form_response":{"submitted_at":"2025-06-15T15:06:40Z"}}`,
			[]string{"Typeform-Signature"},
			0, "t1", "form_response",
		},
		{
			"Xero", webhook.Xero(), secret,
			[]string{
				"X-Xero-Signature", "AJvMT/Vx9kFnB3uQ1vc3Pl0uF4fakZAhIyaLdyngnJI=",
			},
			`{"events":[{"resourceId":"r","eventDateUtc":"2025-06-15T15:06:40.000","eventType":"UPDATE","eventCategory":"CONTACT","tenantId":"x"}],"firstEventSequence":1,"lastEventSequence":1,"entropy":"E"}`,
			[]string{"X-Xero-Signature"},
			0, "", "UPDATE",
		},
		{
			"Zoom", webhook.Zoom(), secret,
			[]string{
				"x-zm-request-timestamp", "1750000000",
				"x-zm-signature", "v0=b0652178d53690531bcf81c51d4ac73805892aed0b92e1c526514f55f8702701",
			},
			`{"event":"meeting.started","event_ts":1750000000123,"payload":{"object":{"id":"z"}}}`,
			[]string{"x-zm-request-timestamp", "x-zm-signature"},
			1750000000, "", "meeting.started",
		},
		{
			"MessageBird", webhook.MessageBird("https://us.example/hook?a=1&b=2"), secret,
			[]string{
				"MessageBird-Request-Timestamp", "1750000000",
				"MessageBird-Signature", "ZVZ9nNN90hQ2auC/5DINLewxzzcGT5p0t7sISHMqrms=",
			},
			`{"event":"message.created","id":"mb"}`,
			[]string{"MessageBird-Request-Timestamp", "MessageBird-Signature"},
			1750000000, "", "message.created",
		},
	}
}
