package belaytest_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/belaytest"
)

// recorded writes a cassette as another tool would, unmasked, or as somebody has edited it.
func recorded(t *testing.T, method, address, requestHeader, requestBody, answerHeader, answerBody string) string {
	t.Helper()
	quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
	header := func(h string) string {
		if h == "" {
			return " {}"
		}
		name, value, _ := strings.Cut(h, ": ")
		return "\n            " + name + ":\n                - " + quote(value)
	}
	path := filepath.Join(t.TempDir(), "cassette")
	text := fmt.Sprintf(`---
version: 2
interactions:
    - id: 0
      request:
        method: %s
        url: %s
        headers:%s
        body: %s
      response:
        headers:%s
        body: %s
        code: 200
`, method, quote(address), header(requestHeader), quote(requestBody), header(answerHeader), quote(answerBody))
	require.NoError(t, os.WriteFile(path+".yaml", []byte(text), 0o600))
	return path
}

// A canary anywhere in a cassette makes the test fail, whatever it is escaped with, and the failure does not show it.
func TestCassetteCanary(t *testing.T) {
	t.Parallel()
	const canary, token = "canary-credential-7f3a", "ghp_0123456789abcdefghijklmnopqrstuvwxyz"
	const plain = "https://partner.test/things"
	escaped := func(s string) string {
		return strings.NewReplacer("c", `\u0063`, "g", `\u0067`, "_", `\u005f`).Replace(s)
	}
	percent := func(s string, times int) string {
		for range times {
			var b strings.Builder
			for _, c := range []byte(s) {
				fmt.Fprintf(&b, "%%%02x", c)
			}
			s = b.String()
		}
		return s
	}
	for name, c := range map[string]struct {
		address, requestHeader, requestBody, answerHeader, answerBody string
		secrets                                                       bool // found only because it is named in Secrets
	}{
		"a header":                        {address: plain, requestHeader: "Authorization: Bearer " + canary},
		"a header of nobody":              {address: plain, requestHeader: "X-Custom: " + canary},
		"an answer's header":              {address: plain, answerHeader: "Set-Cookie: sid=" + canary},
		"a query":                         {address: plain + "?api_key=" + canary},
		"a query, escaped":                {address: plain + "?api_key=" + percent(canary, 1)},
		"a path":                          {address: "https://partner.test/bot123456:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw/me"},
		"a user in the URL":               {address: "https://user:" + canary + "@partner.test/things"},
		"a body":                          {address: plain, requestBody: `{"password": "` + canary + `"}`, requestHeader: "Content-Type: application/json"},
		"an answer":                       {address: plain, answerBody: `{"access_token": "` + canary + `"}`, answerHeader: "Content-Type: application/json"},
		"an answer without a type":        {address: plain, answerBody: `{"access_token": "` + canary + `"}`},
		"XML":                             {address: plain, answerBody: "<r><token>" + canary + "</token></r>", answerHeader: "Content-Type: application/xml"},
		"a form":                          {address: plain, requestBody: "client_secret=" + canary, requestHeader: "Content-Type: application/x-www-form-urlencoded"},
		"JSON in JSON":                    {address: plain, answerBody: `{"event": "{\"access_token\": \"` + canary + `\"}"}`, answerHeader: "Content-Type: application/json"},
		"a known form, in a text":         {address: plain, answerBody: `{"note": "use ` + token + ` for it"}`, answerHeader: "Content-Type: application/json"},
		"a known form, escaped":           {address: plain, answerBody: `{"note": "` + escaped(token) + `"}`, answerHeader: "Content-Type: application/json"},
		"a known form, escaped twice":     {address: plain + "?q=" + percent(token, 2)},
		"a named secret, in a text":       {address: plain, answerBody: `{"note": "` + canary + `"}`, answerHeader: "Content-Type: application/json", secrets: true},
		"a named secret, escaped":         {address: plain, answerBody: `{"note": "` + escaped(canary) + `"}`, answerHeader: "Content-Type: application/json", secrets: true},
		"a named secret, escaped twice":   {address: plain, answerBody: `{"note": "` + percent(canary, 2) + `"}`, answerHeader: "Content-Type: application/json", secrets: true},
		"a named secret, in XML, escaped": {address: plain, answerBody: "<r>" + strings.ReplaceAll(canary, "c", "&amp;#99;") + "</r>", answerHeader: "Content-Type: text/xml", secrets: true},
	} {
		t.Run(name, func(t *testing.T) {
			path := recorded(t, "POST", c.address, c.requestHeader, c.requestBody, c.answerHeader, c.answerBody)
			open := func(secrets ...belay.Secret) string {
				f := &fatal{TB: t}
				func() {
					defer func() { _ = recover() }()
					belaytest.Cassette{Path: path, Secrets: secrets, Partly: true}.Open(f)
				}()
				return f.text
			}
			named := open(belay.NewSecret(canary))
			require.Contains(t, named, "what looks like a secret")
			for _, secret := range []string{canary, token, "AAHdqTcv"} {
				require.NotContains(t, named, secret)
			}
			if !c.secrets {
				require.Contains(t, open(), "what looks like a secret")
			} else {
				require.Empty(t, open())
			}
		})
	}
	require.Empty(t, func() string {
		f := &fatal{TB: t}
		belaytest.Cassette{Path: recorded(t, "GET", plain+"?page=2", "Accept: application/json", "", "Content-Type: application/json", `{"id": "cus_NffrFeUfNV2Hib", "name": "x"}`), Partly: true}.Open(f)
		return f.text
	}())
}

// A recording masks the named secrets wherever they stand, is refused on a build server, and plays in virtual time.
func TestCassetteRecordsSafely(t *testing.T) {
	const canary = "canary-credential-7f3a"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Date", "Tue, 01 Jan 2019 00:00:00 GMT")
		if r.Header.Get("Accept-Encoding") == "gzip" {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			fmt.Fprintf(z, `{"note": %q}`, url.QueryEscape(canary))
			_ = z.Close()
			return
		}
		fmt.Fprintf(w, `{"note": "%s", "again": "%s"}`, canary, strings.ReplaceAll(canary, "c", `\u0063`))
	}))
	defer server.Close()
	path := filepath.Join(t.TempDir(), "cassette")
	secrets := []belay.Secret{belay.NewSecret(canary)}
	ask := func(t *testing.T, rt http.RoundTripper) {
		for _, encoding := range []string{"", "gzip"} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/x?"+url.Values{"encoding": {encoding}}.Encode(), nil)
			require.NoError(t, err)
			if encoding != "" {
				req.Header.Set("Accept-Encoding", encoding)
			}
			resp, err := rt.RoundTrip(req)
			require.NoError(t, err)
			_, err = io.ReadAll(resp.Body)
			require.NoError(t, err)
			_ = resp.Body.Close()
		}
	}
	t.Run("record", func(t *testing.T) { ask(t, belaytest.Cassette{Path: path, Record: true, Secrets: secrets}.Open(t)) })
	data, err := os.ReadFile(path + ".yaml")
	require.NoError(t, err)
	require.NotContains(t, string(data), "canary")
	server.Close() // the network is off
	synctest.Test(t, func(t *testing.T) { ask(t, belaytest.Cassette{Path: path, Secrets: secrets, MaxAge: -1}.Open(t)) })

	old := &logs{TB: t}
	belaytest.Cassette{Path: path, Partly: true}.Open(old)
	require.Regexp(t, `is \d+ days old: record it again`, old.b.String())
	fresh := &logs{TB: t}
	belaytest.Cassette{Path: path, MaxAge: -1, Partly: true}.Open(fresh)
	require.Empty(t, fresh.b.String())

	belaytest.CI.Store(true)
	defer belaytest.CI.Store(false)
	f := &fatal{TB: t}
	func() {
		defer func() { _ = recover() }()
		belaytest.Cassette{Path: path, Record: true}.Open(f)
	}()
	require.Contains(t, f.text, "only plays back")
}

// logs is a test that keeps what it logs.
type logs struct {
	testing.TB
	b bytes.Buffer
}

func (l *logs) Logf(format string, args ...any) { fmt.Fprintf(&l.b, format, args...) }
func (l *logs) Helper()                         {}

// A request that is recorded and not sent any more fails the test in the end, unless that is allowed.
func TestCassetteNotPlayed(t *testing.T) {
	path := recorded(t, "GET", "https://partner.test/things", "Accept: application/json", "", "Content-Type: application/json", "{}")
	for partly, want := range map[bool]string{false: "GET partner.test/things, which was not sent", true: ""} {
		test := &ending{TB: t}
		belaytest.Cassette{Path: path, Partly: partly}.Open(test)
		for _, f := range test.cleanups {
			f()
		}
		require.Contains(t, test.text, want)
		require.Equal(t, want == "", test.text == "")
	}
}

// ending is a test whose end can be called.
type ending struct {
	testing.TB
	cleanups []func()
	text     string
}

func (e *ending) Cleanup(f func())                  { e.cleanups = append(e.cleanups, f) }
func (e *ending) Errorf(format string, args ...any) { e.text += fmt.Sprintf(format, args...) }
func (e *ending) Failed() bool                      { return false }
func (e *ending) Helper()                           {}
