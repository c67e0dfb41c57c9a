package belaytest_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/belaytest"
)

// A secret is found in the forms of other writers, and where nothing names it.
func TestCassetteFormsOfSecrets(t *testing.T) {
	const odd = "Pa+ss/w&rd'canary<1"
	const inPath = "bot123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"
	const hook = "XcanaryXXXXXXXXXXXXXXXX7a"
	twice := url.QueryEscape(url.QueryEscape(odd))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		kinds := map[string][2]string{
			"/nested": {"text/xml", `<r><Credentials><User>canary-n1</User><Key><![CDATA[canary-<n2>]]></Key></Credentials><name>Ada</name></r>`},
			"/latin":  {"text/xml", `<?xml version="1.0" encoding="ISO-8859-1"?><r><token>canary-l1</token><name>Ada</name></r>`},
			"/text":   {"text/plain", "Ada failed: password=canary-t1\n"},
			"/pairs":  {"application/json", `{"fields":[{"name":"password","value":"canary-p1"},{"key":"note","value":"Ada"}]}`},
			"/yaml":   {"application/yaml", "user: Ada\napi_key: canary-y1\nnested:\n  password: \"canary-y2\"\n"},
			"/csv":    {"text/csv", "name,password,city\nAda,canary-c1,Rome\nBob,\"canary-c2\",Oslo\n"},
			"/events": {"text/event-stream", "event: x\ndata: {\"name\":\"Ada\",\"access_token\":\"canary-e1\"}\n\n"},
			"/form":   {"application/x-www-form-urlencoded", "name=Ada&payload=" + url.QueryEscape(`{"secret":"canary-f1"}`)},
		}
		if kind, ok := kinds[r.URL.Path]; ok {
			w.Header().Set("Content-Type", kind[0])
			fmt.Fprint(w, kind[1])
			return
		}
		if r.URL.Path == "/xml" {
			w.Header().Set("Content-Type", "application/xml")
			fmt.Fprint(w, `<?xml version="1.0"?><r><a:Password>xml-canary-1</a:Password><name>Ada</name><s token="xml-canary-2"/>`+
				`<echo>Pa+ss/w&amp;rd&apos;canary&lt;1</echo></r>`)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"net":"Pa\u002Bss/w\u0026rd\u0027canary\u003C1","twice":%q,"path":%q,"name":"Ada"}`, twice, r.URL.Path)
	}))
	defer server.Close()
	file := filepath.Join(t.TempDir(), "forms")
	drive := func(t *testing.T, base string, rt http.RoundTripper) {
		c, err := belay.New(base, belay.WithTransport(rt), belay.WithAuth(belay.APIKey("X-Api-Key", belay.NewSecret(odd))))
		require.NoError(t, err)
		for _, path := range []string{
			"/" + inPath + "/getMe", "/services/T0001/B0002/" + hook, "/things/42", "/xml", "/nested", "/pairs", "/latin", "/text", "/yaml", "/csv",
			"/events", "/form", "/hooks/k3j4h5k2canary3h45k2j3h45kj2h/x",
		} {
			body, err := belay.Get[[]byte](t.Context(), c, path)
			require.NoError(t, err, path)
			require.Contains(t, string(body), "Ada")
		}
		_, err = belay.Post[[]byte](t.Context(), c, "/things", belay.BytesBody("text/xml",
			[]byte(`<login><user>ada</user><password>xml-canary-3</password></login>`)))
		require.NoError(t, err)
	}
	t.Run("record", func(t *testing.T) {
		drive(t, server.URL, belaytest.Cassette{Path: file, Record: true}.Open(t))
	})
	t.Run("play", func(t *testing.T) { drive(t, server.URL, belaytest.Cassette{Path: file}.Open(t)) })
	files, err := filepath.Glob(file + "*")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, name := range files {
		data, err := os.ReadFile(name)
		require.NoError(t, err)
		for _, leak := range []string{"canary", "AAHdqTcv", "Pa+ss", "Pa%2B", `Pa\u002B`, "Pa%252B"} {
			require.False(t, strings.Contains(string(data), leak), "%s in\n%s", leak, data)
		}
		require.Contains(t, string(data), "/things/42")
	}
}
