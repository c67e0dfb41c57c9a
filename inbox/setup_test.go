package inbox_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/inbox"
	"github.com/belay-go/belay/webhook"
)

// The requests by which partners find out whether an endpoint is ours get the answer that they want.
func TestRequestsThatSetUp(t *testing.T) {
	t.Parallel()
	answer := func(s webhook.Scheme, secret string, req *http.Request) *httptest.ResponseRecorder {
		v, err := webhook.NewVerifier(s, belay.NewSecret(secret))
		require.NoError(t, err)
		kept := &box{}
		rc := &inbox.Receiver{Inbox: kept, Verifier: func(*http.Request) (*webhook.Verifier, error) { return v, nil }}
		w := httptest.NewRecorder()
		rc.ServeHTTP(w, req)
		require.Len(t, kept.got, map[bool]int{true: 1}[w.Code == 200 && strings.Contains(w.Body.String(), "accepted")])
		return w
	}
	empty, err := webhook.SignTest(webhook.Xero(), belay.NewSecret(plainSecret), belay.WebhookEvent{Data: []byte(`{"events":[]}`)})
	require.NoError(t, err)
	require.Equal(t, 200, answer(webhook.Xero(), plainSecret, empty).Code)
	empty.Body = http.NoBody
	require.Equal(t, 401, answer(webhook.Xero(), plainSecret, empty).Code)

	w := answer(webhook.MicrosoftGraph(), plainSecret,
		httptest.NewRequest(http.MethodPost, "/?validationToken=a%3Cscript%3Eb", nil))
	require.Equal(t, 200, w.Code)
	require.Equal(t, "a<script>b", w.Body.String())
	require.Equal(t, "text/plain; charset=utf-8", w.Header().Get("Content-Type"))
	require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))

	get := func(s webhook.Scheme, target string, headers ...string) *httptest.ResponseRecorder {
		req := httptest.NewRequest(http.MethodGet, target, nil)
		for i := 0; i < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
		}
		return answer(s, plainSecret, req)
	}
	w = get(webhook.Dropbox(), "/?challenge=abc")
	require.Equal(t, 200, w.Code)
	require.Equal(t, "abc", w.Body.String())
	require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
	require.Equal(t, 401, get(webhook.Dropbox(), "/").Code)
	const challenge = "X-Okta-Verification-Challenge"
	w = get(webhook.Okta(), "/", "Authorization", plainSecret, challenge, "abc")
	require.Equal(t, 200, w.Code)
	require.JSONEq(t, `{"verification":"abc"}`, w.Body.String())
	require.Equal(t, 401, get(webhook.Okta(), "/", "Authorization", "another", challenge, "abc").Code)
	require.Equal(t, 405, get(webhook.Okta(), "/", "Authorization", plainSecret).Code, "no event comes by GET")
	require.Equal(t, 405, get(webhook.GitHub(), "/?challenge=abc").Code)
	require.Equal(t, 200, get(webhook.Mailchimp(), "/").Code)
	trello := webhook.Scheme{Header: "X-Trello-Webhook", Probe: http.MethodHead}
	require.Equal(t, 200, answer(trello, plainSecret, httptest.NewRequest(http.MethodHead, "/", nil)).Code)
	w = get(trello, "/")
	require.Equal(t, 405, w.Code)
	require.Equal(t, "POST, HEAD", w.Header().Get("Allow"))
	w = answer(webhook.Okta(), plainSecret, httptest.NewRequest(http.MethodDelete, "/", nil))
	require.Equal(t, "POST", w.Header().Get("Allow"), "nobody has been asked yet")
	w = answer(webhook.Okta(), plainSecret, httptest.NewRequest(http.MethodHead, "/", nil))
	require.Equal(t, 405, w.Code)
	require.Equal(t, "POST, GET", w.Header().Get("Allow"))

	zoom, err := webhook.SignTest(webhook.Zoom(), belay.NewSecret(plainSecret), belay.WebhookEvent{
		Data: []byte(`{"event":"endpoint.url_validation","payload":{"plainToken":"abc"}}`),
	})
	require.NoError(t, err)
	require.Regexp(t, `^{"plainToken":"abc","encryptedToken":"[0-9a-f]{64}"}$`, answer(webhook.Zoom(), plainSecret, zoom).Body.String())

	key := strings.Repeat("4a", 32)
	adyen, err := webhook.SignTest(webhook.Adyen(), belay.NewSecret(key), belay.WebhookEvent{
		Data: []byte(`{"notificationItems":[{"NotificationRequestItem":{"pspReference":"1","eventCode":"CAPTURE","success":"true"}}]}`),
	})
	require.NoError(t, err)
	w = answer(webhook.Adyen(), key, adyen)
	require.Equal(t, 200, w.Code)
	require.Equal(t, "[accepted]", w.Body.String())
}

// A subscription at a URL that others can read is not made.
func TestRegisterWantsTLS(t *testing.T) {
	t.Parallel()
	for url, ok := range map[string]bool{
		"https://us.example/hook": true, "http://127.0.0.1:8080/hook": true, "http://localhost/hook": true,
		"http://us.example/hook": false, "ftp://us.example": false, "us.example/hook": false, "https://": false,
	} {
		o := &office{live: map[string]sub{}, kept: map[string]inbox.Registration{}}
		_, err := inbox.Register(t.Context(), o, o, "acme", url, nil)
		require.Equal(t, ok, err == nil, "%s: %v", url, err)
	}
}

// A secret in the URL is in no header that is stored, whatever a proxy calls the one with the URL.
func TestQueryTokenIsNotStored(t *testing.T) {
	t.Parallel()
	v, err := webhook.NewVerifier(webhook.Scheme{Header: "query:token", Algorithm: webhook.PlainToken}, belay.NewSecret("a canary/7"))
	require.NoError(t, err)
	kept := &box{}
	rc := &inbox.Receiver{Inbox: kept, Verifier: func(*http.Request) (*webhook.Verifier, error) { return v, nil }}
	req := httptest.NewRequest(http.MethodPost, "/hook?a=b&token=a+canary%2F7", strings.NewReader(`{}`))
	for name, value := range map[string]string{
		"X-Waws-Unencoded-Url": "/hook?a=b&token=a+canary%2F7", "X-Path": "/hook?token=a%20canary/7", "X-Query": "token=a canary/7",
	} {
		req.Header.Set(name, value)
	}
	req.Header.Set("X-Harmless", "100% kept")
	w := httptest.NewRecorder()
	rc.ServeHTTP(w, req)
	require.Equal(t, 202, w.Code)
	require.Len(t, kept.got, 1)
	require.Equal(t, http.Header{"X-Harmless": {"100% kept"}}, kept.got[0].Header)
}

// The assertions of a proxy about who asks are not stored with an event.
func TestProxyAssertionsAreNotStored(t *testing.T) {
	t.Parallel()
	v, err := webhook.NewVerifier(webhook.GitHub(), belay.NewSecret(plainSecret))
	require.NoError(t, err)
	kept := &box{}
	rc := &inbox.Receiver{Inbox: kept, Verifier: func(*http.Request) (*webhook.Verifier, error) { return v, nil }}
	req, err := webhook.SignTest(webhook.GitHub(), belay.NewSecret(plainSecret), belay.WebhookEvent{Data: []byte(`{}`)})
	require.NoError(t, err)
	for _, name := range []string{
		"Cf-Access-Jwt-Assertion", "X-Goog-Iap-Jwt-Assertion", "X-Amzn-Oidc-Data", "X-Amzn-Oidc-Accesstoken",
		"X-Amzn-Oidc-Identity", "X-Ms-Client-Principal-Credential", "X-Ms-Client-Principal",
		"X-Endpoint-Api-Userinfo", "X-Forwarded-Client-Cert", "X-Original-Url", "X-Forwarded-Uri", "Referer", "Dpop", "X-Sig",
		"X-Xsrf", "X-Firebase-Appcheck", "X-Forwarded-Access-Token",
	} {
		req.Header.Set(name, "header-canary")
	}
	req.Header.Set("X-Harmless", "kept")
	rc.ServeHTTP(httptest.NewRecorder(), req)
	require.Len(t, kept.got, 1)
	require.Equal(t, "kept", kept.got[0].Header.Get("X-Harmless"))
	for _, values := range kept.got[0].Header {
		require.NotContains(t, strings.Join(values, ""), "canary")
	}
}
