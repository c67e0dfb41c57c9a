package belaytest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"gopkg.in/dnaeon/go-vcr.v3/cassette"

	"github.com/belay-go/belay"
)

// Cassette plays back a partner's recorded answers, from a file that holds no credential. Headers and query
// parameters are masked unless they are known to be harmless. Fields of JSON, forms and multipart bodies are
// masked if they look like secrets. A value of at least six bytes that looks like a secret, or a long value
// that was masked in a request's headers or in a query parameter, is also masked in every other place. A
// masked value reads MASKED-1, MASKED-2 and so on; the same value always gets the same mark.
//
//	rt := belaytest.Cassette{Path: "testdata/cassettes/contacts", Record: *record}.Open(t)
//	client, err := belay.New("https://api.partner.example", belay.WithTransport(rt))
//
// Read a new cassette before you commit it: the names of customers are not credentials, so they are not
// masked.
type Cassette struct {
	// Path is the path of the file, without ".yaml".
	Path string
	// Record sends requests to Real, and writes the file if the test passes. False plays back and sends
	// nothing.
	Record bool
	// Real sends the requests of a recording. Nil means http.DefaultTransport.
	Real http.RoundTripper
	// KeepHeaders and KeepParams name further headers and query parameters whose values are not masked. Nil
	// means none.
	KeepHeaders, KeepParams []string
	// Secrets are credentials that must not be in the file in any form: a recording masks them wherever they stand, and
	// both a recording and a playback fail if one is there. Nil means none; what looks like a secret is masked, and looked
	// for, anyhow.
	Secrets []belay.Secret
	// MaxAge is the age, by the answers' Date, from which a playback logs that the cassette is old. Zero means 180 days,
	// negative never.
	MaxAge time.Duration
	// Partly allows that a test does not play all that is recorded. False fails it then: what the driver no longer sends
	// would go unseen.
	Partly bool
	// Redact changes the bodies of requests and answers before they are written or compared, to remove the
	// names of customers for example. It must return the same text for the same body. Nil changes nothing.
	Redact func(contentType, body string) string
}

// Open returns the transport, for use until the test ends. A request gets the answer to the first recorded request, not
// yet played, with the same method, URL and body; a masked part of the recording matches any text. If there is none,
// the request fails with an error that names its method and URL, and what was not played fails the test in the end. A
// recording where the environment's CI is set fails the test, and so does a file in which something stands that looks
// like a secret.
func (c Cassette) Open(t testing.TB) http.RoundTripper {
	t.Helper()
	if c.Real == nil {
		c.Real = http.DefaultTransport
	}
	tape := &tape{Cassette: c, tape: cassette.New(c.Path)}
	if !c.Record {
		loaded, err := cassette.Load(c.Path)
		if err != nil {
			t.Fatalf("belaytest: the cassette: %v", err)
		}
		if places := c.exposed(loaded.Interactions); len(places) > 0 {
			t.Fatalf("belaytest: the cassette %s.yaml shows what looks like a secret: %s", c.Path, strings.Join(places, "; "))
		}
		c.reportAge(t, loaded.Interactions, time.Now())
		tape.tape = loaded
		tape.played = make([]bool, len(loaded.Interactions))
		if !c.Partly {
			t.Cleanup(func() { tape.allPlayed(t) })
		}
		return tape
	}
	if inCI() {
		t.Fatalf("belaytest: the cassette %s would be recorded here, where CI is set: a build server only plays back", c.Path)
	}
	t.Cleanup(func() {
		if t.Failed() {
			return
		}
		if err := tape.save(); err != nil {
			t.Errorf("belaytest: writing the cassette: %v", err)
		}
	})
	return tape
}

type tape struct {
	Cassette

	mu     sync.Mutex
	tape   *cassette.Cassette
	played []bool // one for each interaction
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
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	if t.Record {
		return t.record(req, body)
	}
	return t.play(req, body)
}

// record sends a request and keeps it and its answer unmasked, until save masks them.
func (t *tape) record(req *http.Request, body []byte) (*http.Response, error) {
	sent := req.Clone(req.Context())
	if sent.Body = http.NoBody; len(body) > 0 {
		sent.Body = io.NopCloser(bytes.NewReader(body))
	}
	resp, err := t.Real.RoundTrip(sent)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		return nil, err
	}
	i := &cassette.Interaction{
		Request: cassette.Request{
			Method: req.Method, URL: req.URL.String(), Headers: req.Header.Clone(), Body: string(body),
		},
		Response: cassette.Response{
			Code: resp.StatusCode, Headers: resp.Header.Clone(), Body: string(data),
			ContentLength: resp.ContentLength, Uncompressed: resp.Uncompressed,
		},
	}
	t.mu.Lock()
	t.tape.AddInteraction(i)
	t.mu.Unlock()
	resp.Body, resp.Request = io.NopCloser(bytes.NewReader(data)), req
	return resp, nil
}

// play answers a request from the tape.
func (t *tape) play(req *http.Request, body []byte) (*http.Response, error) {
	m := newMask(t.Cassette)
	want := m.request(cassette.Request{
		Method: req.Method, URL: req.URL.String(), Headers: req.Header.Clone(), Body: string(body),
	})
	t.mu.Lock()
	defer t.mu.Unlock()
	for n, i := range t.tape.Interactions {
		was := i.Request
		if t.played[n] || was.Method != want.Method || !fits(was.URL, want.URL) || !fits(stored(was.Body), want.Body) {
			continue
		}
		t.played[n] = true
		r := i.Response
		return &http.Response{
			Status: fmt.Sprintf("%d %s", r.Code, http.StatusText(r.Code)), StatusCode: r.Code,
			Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			Header: r.Headers.Clone(), ContentLength: r.ContentLength, Uncompressed: r.Uncompressed,
			Body: io.NopCloser(strings.NewReader(stored(r.Body))), Request: req,
		}, nil
	}
	_, target, _ := strings.Cut(want.URL, "://") // a client would remove the query of a URL
	return nil, fmt.Errorf("belaytest: nothing (more) is recorded in %s.yaml for %s %s", t.Path, req.Method, target)
}

// allPlayed fails a test that has succeeded without all that is recorded.
func (t *tape) allPlayed(test testing.TB) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for n, played := range t.played {
		if was := t.tape.Interactions[n].Request; !played && !test.Failed() {
			_, target, _ := strings.Cut(was.URL, "://")
			test.Errorf("belaytest: the cassette %s.yaml has %s %s, which was not sent: record it again, or set Partly", t.Path, was.Method, target)
		}
	}
}

// save masks the recorded interactions and writes the file.
func (t *tape) save() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := newMask(t.Cassette)
	for _, secret := range t.secrets() {
		m.hidden(secret, true)
	}
	out := make([]*cassette.Interaction, len(t.tape.Interactions))
	for n, i := range t.tape.Interactions { // all of them first: a later one may reveal a secret
		out[n] = &cassette.Interaction{
			ID: n, Request: m.request(i.Request), Response: m.response(i.Request.Method, i.Response),
		}
	}
	clean := m.cleaner()
	for _, i := range out {
		q, p := &i.Request, &i.Response
		q.URL, q.Body, p.Body = clean(q.URL), keep(clean(q.Body)), keep(clean(p.Body))
		for _, h := range []http.Header{q.Headers, p.Headers} {
			for _, values := range h {
				for n := range values {
					values[n] = clean(values[n])
				}
			}
		}
	}
	if places := t.exposed(out); len(places) > 0 {
		return fmt.Errorf("what looks like a secret is still there: %s", strings.Join(places, "; "))
	}
	t.tape.Interactions = out
	return t.tape.Save()
}

// atFirst is a zero-width space. It stands before a stored text that begins with a line break or with
// atFirst, because YAML loses a line break at the beginning of a text.
const atFirst = "\u200b"

func keep(body string) string {
	if strings.HasPrefix(body, "\n") || strings.HasPrefix(body, atFirst) {
		return atFirst + body
	}
	return body
}

func stored(body string) string { return strings.TrimPrefix(body, atFirst) }
