package webhook_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/webhook"
)

// reasons are all the errors that a delivery may get.
var reasons = []error{
	belay.ErrNoSignature, belay.ErrMalformedSignature, belay.ErrBadSignature,
	belay.ErrTooOld, belay.ErrTooNew, belay.ErrBodyTooLarge, belay.ErrData,
}

func reasonOf(err error) error {
	for _, r := range reasons {
		if errors.Is(err, r) {
			return r
		}
	}
	return nil
}

// FuzzWebhookSignature: a partner's delivery on which somebody has laid hands never panics, and is accepted only
// when all that is signed is as it was. In what is fuzzed, $sig, $t, $id and $body stand for what was signed;
// empty leaves it as it was.
func FuzzWebhookSignature(f *testing.F) {
	webhooks := partnerWebhooks(f)
	verifiers := make([]*webhook.Verifier, len(webhooks))
	for i, w := range webhooks {
		verifiers[i] = mustVerifier(f, w.scheme, w.another, w.proves)
		for _, header := range []string{
			"", "$sig", "t=$t,v1=$sig", "t=$t,v1=$sig,v1=$sig,v0=", "v1,$sig v1a,$sig", "v1,$sig ", "sha256=$sig",
			"sha1=$sig", "v0=$sig", "$sig=", ",,,,", "   ", "t=,v1=", "t=1,v1=$sig", "t=$t,t=1,v1=$sig",
		} {
			f.Add(uint8(i), header, "", "", []byte(nil))
		}
		f.Add(uint8(i), "", "", "", []byte(" $body"))
		f.Add(uint8(i), "", "", "", []byte("$body "))
		f.Add(uint8(i), "", "", "", []byte(`{"signature":{"signature":"$sig","timestamp":"$t","token":"$id"}}`))
		f.Add(uint8(i), "", "", "", []byte(`{"signature":{"signature":"$sig","timestamp":"$t$id"}}`))
		f.Add(uint8(i), "", "", "", []byte("&&&"))
		f.Add(uint8(i), "", "", "", []byte("\xef\xbb\xbf$body"))
		for _, at := range []string{"0", "-1", "+5", "$t0", " $t", "0$t", "253402300799", "9999-12-31T23:59:59Z"} {
			f.Add(uint8(i), "", at, "", []byte(nil))
		}
		f.Add(uint8(i), "", "", "$id$id", []byte(nil))
		f.Add(uint8(i), "", "", "$id.$t", []byte(nil))
	}
	f.Fuzz(func(t *testing.T, which uint8, header, timestamp, id string, body []byte) {
		w, v := webhooks[int(which)%len(webhooks)], verifiers[int(which)%len(webhooks)]
		s := w.scheme
		req := mustSign(t, s, w.signs, w.data) // anew, so that it is never too old
		signed := requestBody(t, req)
		h := req.Header.Clone()
		first := func(place string) string { name, _, _ := strings.Cut(place, "|"); return name }
		sig, at, known := h.Get(first(s.Header)), h.Get(first(s.Timestamp)), signedID
		if s.Timestamp == "t=" {
			at = strings.TrimPrefix(sig[:strings.IndexByte(sig, ',')], "t=")
		}
		if s.Name == "mailgun" {
			sig, at, known = mailgunSignature(signed)
		}
		bare := sig
		if s.Algorithm != webhook.PlainToken {
			bare = sig[strings.LastIndexAny(strings.TrimRight(sig, "="), "=,")+1:]
		}
		fill := strings.NewReplacer("$sig", bare, "$t", at, "$id", known, "$body", string(signed))
		put := func(place, value string) {
			if value != "" && place != "" && !strings.HasPrefix(place, "json:") && !strings.HasSuffix(place, "=") {
				h[http.CanonicalHeaderKey(place)] = []string{fill.Replace(value)}
			}
		}
		put(first(s.Header), header)
		put(first(s.Timestamp), timestamp)
		put(first(s.ID), id)
		sent := signed
		if len(body) > 0 {
			sent = []byte(fill.Replace(string(body)))
		}

		d, err := v.Verify(h, sent)
		same := func() bool {
			signature := h.Get(first(s.Header))
			isSigned := func(place string) bool { return h.Get(first(place)) == req.Header.Get(first(place)) }
			switch {
			case s.PerItem:
				was, is := itemFields(signed), itemFields(sent)
				return is != "" && strings.Count(is, was)*len(was) == len(is)
			case s.Algorithm == webhook.PlainToken:
				return signature == sig
			case s.Name == "mailgun":
				nowSig, nowAt, nowToken := mailgunSignature(sent)
				return strings.EqualFold(nowSig, sig) && nowAt+nowToken == at+known
			case s.Name == "twilio":
				return signature == sig &&
					(bytes.Equal(sent, signed) || w.data[0] != '{' && formFields(sent) == formFields(signed))
			case s.Separator != "":
				return strings.Contains(strings.ToLower(signature), strings.ToLower(bare)) && isSigned(s.ID) &&
					isSigned(s.Timestamp) &&
					bytes.Equal(sent, signed) &&
					(s.Timestamp != "t=" || strings.Contains(signature, "t="+at))
			case s.Encoding == webhook.Hex:
				return strings.EqualFold(signature, sig) && isSigned(s.Timestamp) && bytes.Equal(sent, signed)
			}
			return signature == sig && isSigned(s.Timestamp) && bytes.Equal(sent, signed)
		}
		if err == nil {
			require.True(t, same(), "%s accepts %v %q, signed was %v %q", w.name, h, sent, req.Header, signed)
			require.True(t, d.Answer != nil || len(d.Events) > 0 || s.Events != "")
			return
		}
		require.NotNil(t, reasonOf(err), "%v", err)
		require.Empty(t, d)
		// The body of Linear and Mailgun is read before it is believed.
		if !strings.HasPrefix(s.Timestamp, "json:") &&
			(errors.Is(err, belay.ErrData) || errors.Is(err, belay.ErrTooOld) || errors.Is(err, belay.ErrTooNew)) {
			require.True(t, same(), "%s: who cannot sign learns %v", w.name, err)
		}
	})
}

// itemFields returns what is signed of each item of a delivery whose items are signed one by one.
func itemFields(body []byte) (all string) {
	var adyen struct {
		Items []struct {
			Item struct {
				PspReference, OriginalReference, MerchantAccountCode, MerchantReference, EventCode, Success any
				Amount                                                                                      map[string]any
				AdditionalData                                                                              map[string]any
			} `json:"NotificationRequestItem"`
		} `json:"notificationItems"`
		Value []struct{ ClientState any }
	}
	if json.Unmarshal(body, &adyen) != nil {
		return ""
	}
	for _, i := range adyen.Items {
		all += fmt.Sprintf("%+v", i.Item)
	}
	for _, v := range adyen.Value {
		all += fmt.Sprint(v.ClientState)
	}
	return all
}

func mailgunSignature(body []byte) (signature, timestamp, token string) {
	var m struct {
		Signature map[string]json.RawMessage
	}
	_ = json.Unmarshal(body, &m)
	text := func(name string) string { return strings.Trim(string(m.Signature[name]), `"`) }
	return text("signature"), text("timestamp"), text("token")
}

// formFields are a form's fields as Twilio signs them.
func formFields(body []byte) string {
	fields, err := url.ParseQuery(string(body))
	if err != nil {
		return "no form"
	}
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	var b strings.Builder
	for _, name := range names {
		values := fields[name]
		slices.Sort(values)
		for _, value := range slices.Compact(values) {
			b.WriteString(name + value)
		}
	}
	return b.String()
}

// FuzzWebhookFields: whatever body is signed, it never panics, is refused only for what it is, and of what is
// accepted each event has an id of a bounded size and data that lies in the body.
func FuzzWebhookFields(f *testing.F) {
	for _, body := range []string{
		`{"id":"evt_1","type":"a","created":1700000000}`, `{"id":"a","id":"b","i\u0064":"c"}`,
		`{"id":{"id":1},"type":null,"created":"x"}`, `{"id":1e400,"type":-5}`,
		`[{"subscriptionId":1,"objectId":2,"occurredAt":1700000000000,"eventId":3,"subscriptionType":"x"},{}]`,
		`[1,"a",null,[],{}]`, `[]`, ` [ ]`, `[{},]`,
		`{"events":[{"event_type":"a"},{"event_type":"b"}],"webhook_id":"w"}`,
		`{"events":[]}`, `{"events":null}`, `{"events":{}}`, `{"events":"x"}`,
		`{"type":"url_verification","challenge":"x"}`,
		`{"type":"event_callback","event_id":"Ev1","event_time":1,"event":{"type":"t"}}`, `{"event":{"event":{"type":1}}}`,
		"\xef\xbb\xbf{}", "", " ", "payload=%7B%7D&a=b", `{"id":"`, `{"id"`, `{`, `[`, `{"a":[}]}`,
		`"x"`, "{}{}", `{"":{"":{}}}`, `{"id":"\ud800","type":"\u0000"}`, strings.Repeat(`{"id":`, 100),
		`{"id":"` + strings.Repeat("x", 513) + `"}`, `{"id":"` + strings.Repeat("x", 512) + `"}`,
		`{"created":"2023-11-14T22:13:20Z"}`, `{"created":1e308}`, `{"created":-1}`,
	} {
		f.Add([]byte(body))
	}
	var webhooks []partnerWebhook
	var verifiers []*webhook.Verifier
	for _, w := range partnerWebhooks(f) {
		if slices.Contains([]string{"GitHub", "Stripe", "HubSpotV1", "Slack", "Attio"}, w.name) {
			webhooks, verifiers = append(webhooks, w), append(verifiers, mustVerifier(f, w.scheme, w.proves))
		}
	}
	require.Len(f, webhooks, 5)
	f.Fuzz(func(t *testing.T, body []byte) {
		valid := json.Valid(body)
		for i, w := range webhooks {
			req, err := webhook.SignTest(w.scheme, belay.NewSecret(w.signs), belay.WebhookEvent{Data: body})
			require.NoError(t, err)
			sent := requestBody(t, req)
			require.Equal(t, string(body), string(sent))
			d, err := verifiers[i].Verify(req.Header, sent)
			if err != nil {
				if len(body) > 1<<20 {
					require.ErrorIs(t, err, belay.ErrBodyTooLarge)
				} else {
					require.ErrorIs(t, err, belay.ErrData)
				}
				require.Less(t, len(err.Error()), 300)
				require.Empty(t, d)
				continue
			}
			if d.Answer != nil {
				require.Equal(t, "slack", w.scheme.Name)
				require.Empty(t, d.Events)
				continue
			}
			require.NotEmpty(t, d.ID)
			require.True(t, len(d.Events) > 0 || w.scheme.Events != "")
			for _, e := range d.Events {
				require.NotEmpty(t, e.ID)
				require.LessOrEqual(t, len(e.ID), 512+16)
				require.LessOrEqual(t, len(e.Type), 512)
				require.True(t, within(e.Data, sent), "%q is not of the body", e.Data)
				if valid && e.Data != nil {
					require.True(t, json.Valid(e.Data), "%q", e.Data)
				}
			}
			compareWithJSON(t, w.name, d, body)
		}
	})
}

// compareWithJSON reads the id and counts the events by encoding/json.
func compareWithJSON(t *testing.T, name string, d belay.Delivery, body []byte) {
	if !utf8.Valid(body) {
		return // encoding/json writes it anew
	}
	switch name {
	case "Stripe":
		var all map[string]json.RawMessage
		var id string
		if json.Unmarshal(body, &all) == nil && json.Unmarshal(all["id"], &id) == nil && id != "" {
			require.Equal(t, id, d.Events[0].ID)
		}
	case "HubSpotV1":
		var all []json.RawMessage
		if json.Unmarshal(body, &all) == nil {
			require.Len(t, d.Events, len(all))
			for i, e := range d.Events {
				require.Equal(t, string(all[i]), string(e.Data))
			}
		}
	}
}
