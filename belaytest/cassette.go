package belaytest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"gopkg.in/dnaeon/go-vcr.v3/cassette"
	"gopkg.in/dnaeon/go-vcr.v3/recorder"

	"github.com/belay-go/belay/internal/redact"
)

// Cassette plays back what a partner has answered once, from a file that holds no credential. Headers and query
// parameters are masked unless they are known to be harmless, and so are fields of JSON and forms that look like secrets.
// What was masked in a request's headers, or looks like a secret, is masked wherever it stands.
//
//	rt := belaytest.Cassette{Path: "testdata/cassettes/contacts", Record: *record}.Open(t)
//	client, err := belay.New("https://api.partner.example", belay.WithTransport(rt))
type Cassette struct {
	// Path is the file's, without ".yaml".
	Path string
	// Record sends requests to Real and writes the file when the test has passed. False plays back and sends nothing.
	Record bool
	// Real is where requests go. Nil is http.DefaultTransport.
	Real http.RoundTripper
	// KeepHeaders and KeepParams are names, beside the known ones, whose values are kept. Nil is none.
	KeepHeaders, KeepParams []string
	// Redact changes bodies, of requests and answers, before they are written: names of customers, say. It must give
	// the same for the same body. Nil leaves them.
	Redact func(contentType, body string) string
}

// Open returns the transport for as long as the test runs. A request is answered by the first recorded one, not played
// yet, with the same method, URL and body, all masked; where there is none it fails with an error that says what was asked for.
func (c Cassette) Open(t testing.TB) http.RoundTripper {
	t.Helper()
	mode := recorder.ModeReplayOnly
	if c.Record {
		mode = recorder.ModeRecordOnly
	}
	rec, err := recorder.NewWithOptions(&recorder.Options{CassetteName: c.Path, Mode: mode, RealTransport: c.Real, SkipRequestLatency: true})
	if err != nil {
		t.Fatalf("belaytest: the cassette: %v", err)
	}
	tape := &tape{Cassette: c, rec: rec, secrets: make(map[string]bool)}
	rec.AddHook(tape.capture, recorder.AfterCaptureHook)
	rec.AddHook(tape.mask, recorder.BeforeSaveHook)
	rec.SetMatcher(tape.matches)
	if c.Record {
		t.Cleanup(func() {
			if t.Failed() {
				return
			}
			if err := rec.Stop(); err != nil {
				t.Errorf("belaytest: writing the cassette: %v", err)
			}
		})
	}
	return tape
}

type tape struct {
	Cassette
	rec *recorder.Recorder

	mu      sync.Mutex
	secrets map[string]bool
}

// RoundTrip implements http.RoundTripper.
func (t *tape) RoundTrip(req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		var err error
		body, err = io.ReadAll(req.Body)
		_ = req.Body.Close()
		if err != nil {
			return nil, err
		}
	}
	clone := req.Clone(req.Context()) // as the recorder changes it
	if clone.Body = http.NoBody; len(body) > 0 {
		clone.Body = io.NopCloser(bytes.NewReader(body))
	}
	resp, err := t.rec.RoundTrip(clone)
	if errors.Is(err, cassette.ErrInteractionNotFound) {
		return nil, fmt.Errorf("belaytest: nothing (more) is recorded in %s.yaml for %s %s", t.Path, req.Method, t.url(req.URL.String()))
	}
	if err != nil {
		return nil, err
	}
	resp.Request = req
	return resp, nil
}

// capture collects what must not be written.
func (t *tape) capture(i *cassette.Interaction) error {
	for name, values := range i.Request.Headers {
		if !t.keepsHeader(name) {
			for _, v := range values {
				t.credential(v)
			}
		}
	}
	t.header(i.Response.Headers)
	if u, err := url.Parse(i.Request.URL); err == nil {
		t.values(u.Query(), t.keepsParam)
		if u.User != nil {
			password, _ := u.User.Password()
			t.hide(password)
		}
	}
	t.body(i.Request.Headers, i.Request.Body)
	t.body(i.Response.Headers, i.Response.Body)
	return nil
}

// mask takes it out of what is written.
func (t *tape) mask(i *cassette.Interaction) error {
	q, p := &i.Request, &i.Response
	q.Body, p.Body = t.body(q.Headers, q.Body), t.body(p.Headers, p.Body)
	q.Headers, p.Headers = t.header(q.Headers), t.header(p.Headers)
	q.URL, q.RequestURI, q.Form, q.Trailer, p.Trailer, q.RemoteAddr = t.url(q.URL), "", nil, t.header(q.Trailer), t.header(p.Trailer), ""
	q.ContentLength = int64(len(q.Body))
	if p.ContentLength >= 0 {
		p.ContentLength = int64(len(p.Body))
	}
	if p.Headers.Get("Content-Length") != "" {
		p.Headers.Set("Content-Length", fmt.Sprint(len(p.Body)))
	}
	p.Duration = 0
	return nil
}

// matches reports whether what was recorded answers req.
func (t *tape) matches(req *http.Request, was cassette.Request) bool {
	if req.Method != was.Method || t.url(req.URL.String()) != was.URL {
		return false
	}
	body, err := io.ReadAll(req.Body)
	req.Body = io.NopCloser(bytes.NewReader(body))
	return err == nil && t.body(req.Header, string(body)) == was.Body
}

func (t *tape) hide(value string) {
	if len(value) < 4 || value == redact.Mask {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.secrets[value] = true
}

// clean masks in s what was masked anywhere, the longest first, as one may hold another.
func (t *tape) clean(s string) string {
	t.mu.Lock()
	secrets := slices.SortedFunc(maps.Keys(t.secrets), func(a, b string) int { return len(b) - len(a) })
	t.mu.Unlock()
	return redact.Values(s, secrets)
}

// credential hides the value of a header, and what it is made of.
func (t *tape) credential(v string) {
	t.hide(v)
	_, rest, ok := strings.Cut(v, " ")
	if !ok {
		return
	}
	t.hide(rest)
	if plain, err := base64.StdEncoding.DecodeString(rest); err == nil {
		user, password, _ := strings.Cut(string(plain), ":")
		t.hide(string(plain))
		if t.hide(password); password == "" {
			t.hide(user)
		}
	}
}

func (t *tape) keepsHeader(name string) bool {
	return redact.KnownHeader(name) || slices.ContainsFunc(t.KeepHeaders, func(k string) bool { return strings.EqualFold(k, name) })
}

func (t *tape) keepsParam(name string) bool {
	return redact.KnownParam(name) || slices.ContainsFunc(t.KeepParams, func(k string) bool { return strings.EqualFold(k, name) })
}

// linked are headers that hold URLs, which are masked by their parameters.
func linked(name string) bool {
	return name == "Link" || name == "Location" || name == "Content-Location"
}

func (t *tape) header(h http.Header) http.Header {
	out := make(http.Header, len(h))
	for name, values := range h {
		for _, v := range values {
			switch {
			case linked(name):
				v = t.clean(t.urls(v))
			case t.keepsHeader(name):
				v = t.clean(v)
			default:
				if redact.LooksSecret(name) {
					t.credential(v)
				}
				v = redact.Mask
			}
			out[name] = append(out[name], v)
		}
	}
	return out
}

// urls masks the URLs of a Link header, in their angle brackets, or one that stands alone.
func (t *tape) urls(v string) string {
	if !strings.Contains(v, "<") {
		return t.url(v)
	}
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(v, "<")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		inner, after, _ := strings.Cut(rest, ">")
		b.WriteString("<" + t.url(inner) + ">")
		v = after
	}
}

func (t *tape) url(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return redact.Mask
	}
	u.User, u.Fragment, u.RawFragment = nil, "", ""
	query := u.Query()
	t.values(query, t.keepsParam)
	u.RawQuery = query.Encode()
	return t.clean(u.String())
}

// longValue is how long the value of an unknown parameter is that may be a secret, by its length alone.
const longValue = 16

// values masks what keep does not name, and hides it elsewhere where it looks like a secret.
func (t *tape) values(v url.Values, keep func(name string) bool) {
	for name, values := range v {
		if keep(name) {
			continue
		}
		for i := range values {
			if redact.LooksSecretField(name) || len(values[i]) >= longValue {
				t.hide(values[i])
			}
			values[i] = redact.Mask
		}
	}
}

func (t *tape) body(h http.Header, body string) string {
	contentType := h.Get("Content-Type")
	if t.Redact != nil && body != "" {
		body = t.Redact(contentType, body)
	}
	switch {
	case strings.Contains(contentType, "json"):
		body = t.json(body)
	case strings.HasPrefix(contentType, "application/x-www-form-urlencoded"):
		if v, err := url.ParseQuery(body); err == nil {
			t.values(v, func(name string) bool { return !redact.LooksSecretField(name) })
			body = v.Encode()
		}
	}
	return t.clean(body)
}

// json masks fields that look like secrets. One that has none stays as it is, to the letter.
func (t *tape) json(body string) string {
	d := json.NewDecoder(strings.NewReader(body))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil || !t.walk(v) {
		return body
	}
	out, err := json.Marshal(v)
	if err != nil {
		return redact.Mask
	}
	return string(out)
}

func (t *tape) walk(v any) (masked bool) {
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			if s, ok := value.(string); ok && s != "" && redact.LooksSecretField(name) {
				t.hide(s)
				v[name], masked = redact.Mask, true
			} else if t.walk(value) {
				masked = true
			}
		}
	case []any:
		for _, item := range v {
			if t.walk(item) {
				masked = true
			}
		}
	}
	return masked
}
