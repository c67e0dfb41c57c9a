package webhook

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/belay-go/belay"
)

// zoomChallenge returns the answer to Zoom's endpoint.url_validation, which is its token and the token signed. It
// returns nil for any other body.
func zoomChallenge(g Greeting) *belay.Answer {
	if !bytes.Contains(g.Body, []byte("endpoint.url_validation")) {
		return nil
	}
	var m struct {
		Event   string
		Payload struct{ PlainToken string }
	}
	token := &m.Payload.PlainToken
	if json.Unmarshal(g.Body, &m) != nil || m.Event != "endpoint.url_validation" || *token == "" || len(*token) > maxEcho ||
		strings.Contains(*token, ":") { // with colons it could be the signed text of a delivery
		return nil
	}
	return answerJSON(struct {
		PlainToken     string `json:"plainToken"`
		EncryptedToken string `json:"encryptedToken"`
	}{*token, g.Sign(*token)})
}

// oktaChallenge returns the answer to the request by which Okta verifies an event hook, and nil for any other request.
func oktaChallenge(g Greeting) *belay.Answer {
	challenge := g.Header.Get("X-Okta-Verification-Challenge")
	if challenge == "" || len(challenge) > maxEcho || len(g.Body) > 0 {
		return nil
	}
	return answerJSON(struct {
		Verification string `json:"verification"`
	}{challenge})
}

func answerJSON(v any) *belay.Answer {
	body, _ := json.Marshal(v) // of texts, which always can be written
	return &belay.Answer{Status: http.StatusOK, ContentType: "application/json", Body: body}
}

// slackChallenge returns the answer to Slack's url_verification request, which is its challenge. It returns
// nil for any other body.
func slackChallenge(g Greeting) *belay.Answer {
	if !bytes.Contains(g.Body, []byte("url_verification")) {
		return nil
	}
	var m struct{ Type, Challenge string }
	if json.Unmarshal(g.Body, &m) != nil || m.Type != "url_verification" || len(m.Challenge) > maxEcho {
		return nil
	}
	return &belay.Answer{Status: http.StatusOK, ContentType: "text/plain; charset=utf-8", Body: []byte(m.Challenge)}
}

// discordPing returns the answer to a ping, which has type 0 from Webhook Events and type 1 from
// Interactions. It returns nil for any other body.
func discordPing(g Greeting) *belay.Answer {
	var m struct {
		Type  *int
		Event json.RawMessage
	}
	switch err := json.Unmarshal(g.Body, &m); {
	case err != nil || m.Type == nil || m.Event != nil:
	case *m.Type == 0:
		return &belay.Answer{Status: http.StatusNoContent}
	case *m.Type == 1:
		return &belay.Answer{Status: http.StatusOK, ContentType: "application/json", Body: []byte(`{"type":1}`)}
	}
	return nil
}
