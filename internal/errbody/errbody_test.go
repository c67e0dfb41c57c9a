package errbody

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/require"
)

// The files in testdata/errors are what partners send, as their documentation or their clients' sources
// have it.
func TestDecode(t *testing.T) {
	for name, want := range map[string]Info{
		"attio": {Code: "not_found", Message: "Record not found"},
		"stripe": {
			Code: "card_declined", Message: "Your card was declined.",
			Fields: map[string]string{"exp_month": "Your card was declined."},
		},
		"github": {
			Code: "missing_field", Message: "Validation Failed", Fields: map[string]string{"title": "missing_field"},
		},
		"github_secondary": {Message: "You have exceeded a secondary rate limit.", Limit: true},
		"hubspot": {
			Code: "VALIDATION_ERROR", Message: "Invalid input JSON",
			RequestID: "aeb5f871-7f07-4993-9211-075dc63e7cbf", Fields: map[string]string{"email": "is not valid"},
		},
		"hubspot_limit": {Code: "RATE_LIMIT", Message: "You have reached your secondly limit.", RequestID: "c1", Limit: true},
		"shopify":       {Message: "Not Found"},
		"shopify_fields": {
			Message: "title: can't be blank; is too short", Fields: map[string]string{"title": "can't be blank; is too short"},
		},
		"slack":      {Code: "missing_scope", Scope: "chat:write"},
		"google":     {Code: "RATE_LIMIT_EXCEEDED", Message: "Quota exceeded.", RetryAfter: 30 * time.Second, Limit: true},
		"google_old": {Code: "rateLimitExceeded", Message: "Rate Limit Exceeded", Limit: true},
		"salesforce": {Code: "REQUEST_LIMIT_EXCEEDED", Message: "TotalRequests Limit exceeded.", Limit: true},
		"salesforce_fields": {
			Code: "REQUIRED_FIELD_MISSING", Message: "Required fields are missing: [Name]",
			Fields: map[string]string{"Name": "Required fields are missing: [Name]"},
		},
		"notion": {Code: "rate_limited", Message: "You have been rate limited.", RequestID: "r1", Limit: true},
		"square": {
			Code: "IDEMPOTENCY_KEY_REUSED", Message: "Different request parameters used for the same idempotency_key.",
			Fields: map[string]string{"idempotency_key": "Different request parameters used for the same idempotency_key."},
		},
		"discord": {Message: "You are being rate limited.", RetryAfter: 64570 * time.Millisecond, Limit: true},
		"problem": {
			Code: "https://example.com/probs/out-of-credit", Message: "Your current balance is 30, but that costs 50.",
		},
		"jsonapi": {
			Code: "blank", Message: "Name can't be blank",
			Fields: map[string]string{"/data/attributes/name": "Name can't be blank"},
		},
		"oauth":     {Code: "invalid_grant", Message: "The refresh token has expired"},
		"sentences": {Message: "Name is missing"},
	} {
		data, err := os.ReadFile(filepath.Join("..", "..", "testdata", "errors", name+".json"))
		require.NoError(t, err)
		require.Equal(t, want, Decode(data, nil), name)
	}
	for text, want := range map[string]Info{
		`{"errors":{"nights":["must be positive"],"at":"is in the past"}}`: {
			Message: "at: is in the past; nights: must be positive",
			Fields:  map[string]string{"nights": "must be positive", "at": "is in the past"},
		},
		`{"message":"Invalid.","details":[{"path":"guest.email","message":"is no address"},{"field":"nights","issue":"is negative"},{"note":"x"},7]}`: {
			Message: "Invalid.",
		},
		`{"message":"Invalid.","details":[{"path":"guest.email","message":"is no address"},{"field":"nights","issue":"is negative"},{"note":"x"}]}`: {
			Message: "Invalid.", Fields: map[string]string{"guest.email": "is no address", "nights": "is negative"},
		},
		`{"error":{"status":"INVALID_ARGUMENT","message":"Bad.","details":[{"@type":"google.rpc.BadRequest","fieldViolations":[{"field":"name","description":"is empty"}]}]}}`: {
			Code: "INVALID_ARGUMENT", Message: "Bad.", Fields: map[string]string{"name": "is empty"},
		},
	} {
		require.Equal(t, want, Decode([]byte(text), nil), text)
	}
	for _, nothing := range []string{
		"", " ", "<html>502</html>", "{", "[", "[1,2]", "null",
		`{"error":`, `"text"`, `{"errors":7,"message":[],"error":null}`,
	} {
		require.Equal(t, Info{}, Decode([]byte(nothing), nil), nothing)
	}
	long := Decode(
		[]byte(`{"message":"`+strings.Repeat("ü\\n", 5000)+`","errors":{"`+strings.Repeat("f", 500)+`":"x"}}`),
		nil,
	)
	require.LessOrEqual(t, len(long.Message), maxText+3)
	require.NotContains(t, long.Message, "\n")
}

// Whatever a partner sends: no panic, and every text is one bounded line.
func FuzzDecode(f *testing.F) {
	files, err := filepath.Glob(filepath.Join("..", "..", "testdata", "errors", "*.json"))
	if err != nil || len(files) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		in := Decode(data, nil)
		for _, s := range []string{in.Code, in.Message, in.RequestID, in.Scope} {
			if len(s) > maxText+3 || strings.ContainsFunc(s, unicode.IsControl) {
				t.Fatalf("%q", s)
			}
		}
		if len(in.Fields) > maxFields || in.RetryAfter < 0 {
			t.Fatal(in)
		}
	})
}
