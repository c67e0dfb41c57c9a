package belaytest

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"syscall"
	"time"

	"github.com/belay-go/belay/internal/errkit"
)

// RoundTrip carries req to the partner and the answer back, and takes the configured time. It keeps the
// RoundTripper contract and starts no goroutine, so it can be used in a synctest bubble.
func (p *Partner) RoundTrip(req *http.Request) (*http.Response, error) {
	rec := newRecord(req)
	body, err := readBody(req)
	if err != nil {
		return nil, err
	}
	rec.Body = body[:min(len(body), keptBody)]
	if err := errkit.Sleep(req.Context(), p.delay()); err != nil {
		return nil, err
	}
	a := p.arrive(req, body, &rec)
	defer p.leave()
	if a.fail {
		switch a.kind {
		case Refuse:
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
		case Hang:
			<-req.Context().Done()
			return nil, req.Context().Err()
		}
	}
	if err := errkit.Sleep(req.Context(), p.cfg.Work+p.delay()); err != nil {
		return nil, err
	}
	if a.fail {
		return nil, &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	}
	content := io.Reader(bytes.NewReader(a.body))
	if a.cut {
		content = io.MultiReader(bytes.NewReader(a.body[:len(a.body)/2]), broken{})
	}
	return &http.Response{
		Status: strconv.Itoa(a.status) + " " + http.StatusText(a.status), StatusCode: a.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: a.header, Body: io.NopCloser(content), ContentLength: int64(len(a.body)), Request: req,
	}, nil
}

// keptBody is the most bytes of a request's body that a Record holds.
const keptBody = 64 << 10

func newRecord(req *http.Request) Record {
	return Record{
		Sent: time.Now(), Method: req.Method, Path: req.URL.Path, Query: req.URL.RawQuery, Header: req.Header.Clone(),
	}
}

// again returns a copy of req whose body can be read once more.
func again(req *http.Request, body []byte) *http.Request {
	clone := *req
	clone.Body = io.NopCloser(bytes.NewReader(body))
	return &clone
}

func readBody(req *http.Request) ([]byte, error) {
	if req.Body == nil {
		return nil, nil
	}
	defer req.Body.Close()
	return io.ReadAll(req.Body)
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// ServeHTTP serves the partner on a real port.
func (p *Partner) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	rec := newRecord(req)
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	rec.Body = body[:min(len(body), keptBody)]
	a := p.arrive(req, body, &rec)
	if a.fail && a.kind == Hang {
		<-req.Context().Done()
		p.leave()
		return
	}
	err = errkit.Sleep(req.Context(), p.cfg.Work+p.delay())
	p.leave() // before the answer, so that a call that follows it finds the slot free
	if err != nil {
		return
	}
	if a.fail {
		reset(w)
		return
	}
	for name, values := range a.header {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	w.WriteHeader(a.status)
	if a.cut {
		_, _ = w.Write(a.body[:len(a.body)/2])
		_ = http.NewResponseController(w).Flush()
		reset(w)
		return
	}
	_, _ = w.Write(a.body)
}

// reset ends the connection with an RST.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// Server serves the partner on a loopback port. Close it after use.
func (p *Partner) Server() *httptest.Server { return httptest.NewServer(p) }
