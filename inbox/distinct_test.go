package inbox_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/inbox"
	"github.com/belay-go/belay/webhook"
)

// Events that say the same are several events, unless something tells that it is one that was sent again.
func TestEventsThatSayTheSame(t *testing.T) {
	t.Parallel()
	const ticket = `{"ticket_id":"35436"}`
	dropbox := webhook.Scheme{Name: "dropbox", Header: "X-Dropbox-Signature"}
	const changes = `{"list_folder":{"accounts":["dbid:AAH4f99T0taONIb-OurWxbNQ6ywGRopQngc"]},"delta":{"users":[12345678]}}`
	byBody := dropbox
	byBody.ID = "body"
	stamped := webhook.Scheme{
		Name: "stamped", Header: "X-Sig", Signed: "{timestamp}.{body}", Timestamp: "X-Time", Events: ".", ID: "json:id",
	}
	for name, c := range map[string]struct {
		scheme   webhook.Scheme
		data     string
		id       string // with the number of the delivery, empty for a random one
		every    time.Duration
		received int // of three deliveries
	}{
		"Zendesk, each with its own invocation": {webhook.Zendesk(), ticket, "", time.Second, 3},
		"Zendesk, one invocation":               {webhook.Zendesk(), ticket, "invocation", time.Second, 1},
		"Zendesk, no body":                      {webhook.Zendesk(), "", "", time.Second, 3},
		"Dropbox":                               {dropbox, changes, "", 0, 3},
		"Dropbox, told to go by the body":       {byBody, changes, "", 0, 1},
		"a ping without a body":                 {dropbox, "", "", 0, 3},
		"a ping with a time":                    {webhook.Calendly(), `{"event":"ping"}`, "", time.Second, 3},
		"sent again with its time":              {webhook.Calendly(), `{"event":"ping"}`, "", 0, 1},
		"elements without an id":                {stamped, `[{"type":"ping"}]`, "", time.Second, 3},
		"an id that is none":                    {webhook.Intercom(), `{"id":"None","n":1}`, "", 0, 3},
		"an id of zeros":                        {webhook.Intercom(), `{"id":"00000000-0000-0000-0000-000000000000"}`, "", 0, 3},
		"elements whose id is null, as a text":  {stamped, `[{"id":"null"}]`, "", time.Second, 3},
		"Standard Webhooks":                     {webhook.StandardWebhooks(), `{"type":"ping"}`, "", 0, 3},
		"Standard Webhooks, one id":             {webhook.StandardWebhooks(), `{"type":"ping"}`, "msg", 0, 1},
		"GitHub":                                {webhook.GitHub(), `{"zen":"x"}`, "", 0, 3},
		"a form":                                {webhook.Twilio(hookURL), `MessageStatus=sent`, "", 0, 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				secret := belay.NewSecret(plainSecret)
				if c.scheme.Base64Key {
					secret = belay.NewSecret(standardSecret)
				}
				v, err := webhook.NewVerifier(c.scheme, secret)
				require.NoError(t, err)
				w, err := inbox.Start(inbox.NewMemory(), func(context.Context, inbox.Item) error { return nil }, inbox.Config{})
				require.NoError(t, err)
				rc := &inbox.Receiver{Inbox: w, Verifier: func(*http.Request) (*webhook.Verifier, error) { return v, nil }}
				stored := 0
				for range 3 {
					req, err := webhook.SignTest(c.scheme, secret, belay.WebhookEvent{ID: c.id, Data: []byte(c.data)})
					require.NoError(t, err)
					answer := httptest.NewRecorder()
					rc.ServeHTTP(answer, req)
					require.Less(t, answer.Code, 300, "%s", answer.Body)
					time.Sleep(c.every)
				}
				stored = int(rc.Numbers().Stored)
				require.Equal(t, c.received, stored, fmt.Sprint(rc.Numbers()))
				require.NoError(t, w.Shutdown(t.Context()))
			})
		})
	}
}
