package belaytest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"gopkg.in/dnaeon/go-vcr.v3/cassette"
)

// Cassette plays back what a partner has answered once, from a file that holds no credential. Headers and query
// parameters are masked unless they are known to be harmless, and so are fields of JSON, forms and multipart bodies that look like
// secrets; what looks like a secret anywhere, or is long and was masked in a request's headers, is masked wherever it stands. What is
// masked reads MASKED-1, MASKED-2 and so on, the same for the same value.
//
//	rt := belaytest.Cassette{Path: "testdata/cassettes/contacts", Record: *record}.Open(t)
//	client, err := belay.New("https://api.partner.example", belay.WithTransport(rt))
//
// Read a new cassette before you commit it: names of customers are no credentials.
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
// yet, with the same method, URL and body, where what is masked fits anything; where there is none it fails with an error that says
// what was asked for.
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
		tape.tape = loaded
		tape.played = make([]bool, len(loaded.Interactions))
		return tape
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
	played []bool // of its interactions
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

// record sends a request and keeps what was answered, as it is until it is written.
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
		Request:  cassette.Request{Method: req.Method, URL: req.URL.String(), Headers: req.Header.Clone(), Body: string(body)},
		Response: cassette.Response{Code: resp.StatusCode, Headers: resp.Header.Clone(), Body: string(data), ContentLength: resp.ContentLength, Uncompressed: resp.Uncompressed},
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
	want := m.request(cassette.Request{Method: req.Method, URL: req.URL.String(), Headers: req.Header.Clone(), Body: string(body)})
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
			Status: fmt.Sprintf("%d %s", r.Code, http.StatusText(r.Code)), StatusCode: r.Code, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			Header: r.Headers.Clone(), ContentLength: r.ContentLength, Uncompressed: r.Uncompressed,
			Body: io.NopCloser(strings.NewReader(stored(r.Body))), Request: req,
		}, nil
	}
	return nil, fmt.Errorf("belaytest: nothing (more) is recorded in %s.yaml for %s %s", t.Path, req.Method, want.URL)
}

// save masks what was recorded and writes it.
func (t *tape) save() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := newMask(t.Cassette)
	out := make([]*cassette.Interaction, len(t.tape.Interactions))
	for n, i := range t.tape.Interactions { // all of them before any is written: a secret may be known late
		out[n] = &cassette.Interaction{ID: n, Request: m.request(i.Request), Response: m.response(i.Request.Method, i.Response)}
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
	t.tape.Interactions = out
	return t.tape.Save()
}

// YAML loses a line break at the beginning of a text.
const atFirst = "\u200b" // a space without width

func keep(body string) string {
	if strings.HasPrefix(body, "\n") || strings.HasPrefix(body, atFirst) {
		return atFirst + body
	}
	return body
}

func stored(body string) string { return strings.TrimPrefix(body, atFirst) }
