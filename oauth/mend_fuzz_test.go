package oauth

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/belay-go/belay"
)

// FuzzMend: whatever a token endpoint answers, it is read without a panic; what is JSON stays JSON, and a refresh token
// in it is kept, wherever it stands.
func FuzzMend(f *testing.F) {
	f.Add([]byte(`{"access_token":"a","refresh_token":"r","expires_in":"3600","token_type":"Bearer Token"}`), "")
	f.Add([]byte(`{"code":0,"data":{"access_token":"a","refresh_token":"r"}}`), "data")
	f.Add([]byte("\xef\xbb\xbf{\"error\":{\"code\":5},\"expires_in\":1e99}"), "a.b")
	f.Add([]byte(`access_token=a&refresh_token=r`), "")
	f.Fuzz(func(t *testing.T, data []byte, path string) {
		out := mend(unwrap(data, path))
		said := told{200, fieldsOf(out)}
		extra := said.extra()
		for name := range extra {
			if name == "access_token" || name == "refresh_token" {
				t.Fatalf("%s is no extra", name)
			}
		}
		kind := kindOf(said.text("token_type"))
		if len(kind) > maxKind+len("?…") {
			t.Fatalf("a kind of %d bytes", len(kind))
		}
		var before, after map[string]any
		if path == "" && json.Unmarshal(data, &before) == nil && before != nil {
			if json.Unmarshal(out, &after) != nil {
				t.Fatalf("%q is no JSON any more: %q", data, out)
			}
			if r, ok := before["refresh_token"].(string); ok && said.text("refresh_token") != r {
				t.Fatalf("the refresh token %q became %q", r, said.text("refresh_token"))
			}
		}
		e := &belay.Error{Verdict: belay.Verdict{Code: badToken}}
		said.explain(e, nil)
		_ = said.leftover(e, time.Time{})
	})
}
