package inbox

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/redact"
	"github.com/belay-go/belay/webhook"
)

// ErrUnknownIntegration is a request for an integration that there is none of. It is answered with 404.
var ErrUnknownIntegration = errors.New("inbox: unknown integration")

// Receiver is an http.Handler for partners' webhooks. It answers
//
//	405  what is not a POST
//	404  an integration that Verifier does not know
//	413  a body above the scheme's limit
//	408  a body that takes longer than ReadTimeout
//	401  what is not signed, signed badly, too old or too new
//	400  what is signed, but is not the JSON it should be, or has an id or a type above 512 bytes
//	200  what is known already, and what asks for an answer, such as a challenge
//	202  what was kept
//	503  what could not be kept, with Retry-After, so that the partner sends it again
//
// A partner that insists on a status of its own for what was taken (Scheme.Status) gets that.
//
// Its fields must not be changed once it is used; it is then safe for concurrent use. Give the http.Server that it runs in a
// ReadHeaderTimeout: what has not sent its headers does not get here.
type Receiver struct {
	// Verifier returns the verifier of the integration that a request is for, ErrUnknownIntegration when there is none, and any other
	// error when it cannot say, which is answered with 503. [Verifiers.Lookup] is one. It cannot be nil.
	Verifier func(*http.Request) (*webhook.Verifier, error)
	// Inbox keeps what arrives. It cannot be nil.
	Inbox Inbox
	// Status is the answer to what was kept, a 2xx. Zero means 202.
	Status int
	// ReadTimeout is how long a body may take. Zero means 10 s, or the http.Server's own ReadTimeout where that is shorter; negative means
	// as long as the server lets it. A middleware that wraps the http.ResponseWriter needs an Unwrap method, as
	// [http.ResponseController] says; behind one without it there is only the server's ReadTimeout.
	ReadTimeout time.Duration
	// MaxReading is how many bytes of bodies are held at once; beyond it requests are answered with 503, but for one that is alone.
	// They may take twice the memory while they are read. Zero means 32 MiB, less than zero no bound.
	MaxReading int64
	// RetryAfter is when a partner should send again what was answered with 503. Zero or less means 30 s.
	RetryAfter time.Duration
	// VerificationToken is given the token with which Notion begins a subscription, by a request that cannot be signed yet. Anybody may
	// send one: take it only for an integration that waits for its token, and return an error otherwise, which is answered with 401. Nil
	// takes none.
	VerificationToken func(r *http.Request, token belay.Secret) error
	// Observers are told [belay.DeliveryReceived] and [belay.DeliveryRejected]; [belay.NewLogObserver] writes to a log.
	Observers []belay.Observer

	reading atomic.Int64
	counts  [len(reasons)]atomic.Uint64
	taken   atomic.Uint64
	known   atomic.Uint64
}

// Verifiers are by partner and integration, as "partner/integration". They must not be changed while they are in use.
type Verifiers map[string]*webhook.Verifier

// Lookup returns the verifier that the request's path is for, under a pattern such as "/webhooks/{partner}/{integration}".
func (v Verifiers) Lookup(r *http.Request) (*webhook.Verifier, error) {
	if found := v[r.PathValue("partner")+"/"+r.PathValue("integration")]; found != nil {
		return found, nil
	}
	return nil, ErrUnknownIntegration
}

// The reasons of [belay.DeliveryRejected].
var reasons = [...]string{
	"method", "unknown", "size", "slow", "unsigned", "signature", "old", "new", "malformed", "unread", "busy", "full", "unstored",
}

const (
	byMethod = iota
	byUnknown
	bySize
	bySlow
	byUnsigned
	bySignature
	byOld
	byNew
	byMalformed
	byUnread
	byBusy
	byFull
	byUnstored
)

// Received are a [Receiver]'s numbers since its first request.
type Received struct {
	Stored     uint64            `json:"stored"`     // deliveries
	Duplicates uint64            `json:"duplicates"` // of those that were known
	Rejected   map[string]uint64 `json:"rejected"`   // by the reasons of [belay.DeliveryRejected]
}

// Numbers returns how many deliveries were taken and rejected.
func (rc *Receiver) Numbers() Received {
	n := Received{rc.taken.Load(), rc.known.Load(), make(map[string]uint64)}
	for i := range rc.counts {
		if c := rc.counts[i].Load(); c > 0 {
			n.Rejected[reasons[i]] = c
		}
	}
	return n
}

// ServeHTTP answers one request.
func (rc *Receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	body := &countedBody{rc: rc, body: r.Body, eof: r.ContentLength == 0}
	defer func() { rc.reading.Add(-body.n) }()
	if r.Body != nil {
		r.Body = body
	}
	control, limit := http.NewResponseController(w), cmp.Or(rc.ReadTimeout, 10*time.Second)
	if server, ok := r.Context().Value(http.ServerContextKey).(*http.Server); ok && server.ReadTimeout > 0 {
		limit = min(max(limit, 0), server.ReadTimeout)
	}
	if limit > 0 {
		_ = control.SetReadDeadline(began.Add(limit)) // until all of the body is here; some ResponseWriters have none
	}
	reject := func(why, status int, err error) {
		rc.counts[why].Add(1)
		if !body.eof && r.ProtoMajor == 1 {
			w.Header().Set("Connection", "close") // or the server would wait for the rest of it
		}
		if status == http.StatusServiceUnavailable {
			after := rc.RetryAfter
			if after <= 0 {
				after = 30 * time.Second
			}
			w.Header().Set("Retry-After", strconv.Itoa(int((after+time.Second-1)/time.Second)))
		}
		http.Error(w, strings.ToLower(http.StatusText(status)), status) // and nothing that helps to guess
		tell(r.Context(), rc.Observers, belay.DeliveryRejected{
			Partner: printable(r.PathValue("partner")), Integration: printable(r.PathValue("integration")), Status: status, Reason: reasons[why], Err: err,
		})
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		reject(byMethod, http.StatusMethodNotAllowed, nil)
		return
	}
	if rc.Verifier == nil || rc.Inbox == nil {
		reject(byUnstored, http.StatusServiceUnavailable, errors.New("inbox: Receiver: Verifier and Inbox must not be nil"))
		return
	}
	verifier, err := rc.Verifier(r)
	switch {
	case errors.Is(err, ErrUnknownIntegration), err == nil && verifier == nil:
		reject(byUnknown, http.StatusNotFound, ErrUnknownIntegration)
		return
	case err != nil:
		reject(byUnstored, http.StatusServiceUnavailable, err)
		return
	}
	d, err := verifier.VerifyRequest(r)
	if limit > 0 && body.eof {
		_ = control.SetReadDeadline(time.Time{}) // or it would end the request's context later
	}
	if errors.Is(err, belay.ErrNoSignature) && rc.verificationToken(r) {
		w.WriteHeader(http.StatusOK)
		return
	}
	if err != nil {
		why, status := refusal(err)
		reject(why, status, err)
		return
	}
	if a := d.Answer; a != nil {
		if a.ContentType != "" {
			w.Header().Set("Content-Type", a.ContentType)
		}
		w.WriteHeader(cmp.Or(a.Status, http.StatusOK))
		_, _ = w.Write(a.Body)
		return
	}
	for i, e := range d.Events {
		if e.Data != nil && !json.Valid(e.Data) {
			reject(byMalformed, http.StatusBadRequest, fmt.Errorf("%w: webhook: event %d of %d is no JSON", belay.ErrData, i+1, len(d.Events)))
			return
		}
		if !utf8.ValidString(e.ID) || !utf8.ValidString(e.Type) { // of a header; a store may make the same of two of them
			reject(byMalformed, http.StatusBadRequest, fmt.Errorf("%w: webhook: the id or type of event %d of %d is no UTF-8", belay.ErrData, i+1, len(d.Events)))
			return
		}
	}
	scheme := verifier.Scheme()
	if d.Integration = r.PathValue("integration"); r.PathValue("partner") != "" {
		d.Partner = r.PathValue("partner")
	}
	without := map[string]bool{"Cookie": true}
	for name := range strings.SplitSeq(scheme.Header, "|") {
		without[http.CanonicalHeaderKey(name)] = true
	}
	d.Header = headers(r.Header, without)
	if n := headerBytes(d.Header); n > maxHeaderBytes {
		reject(bySize, http.StatusRequestHeaderFieldsTooLarge, fmt.Errorf("inbox: %d bytes of headers, at most %d", n, maxHeaderBytes))
		return
	}
	stored, err := rc.Inbox.Put(r.Context(), d)
	switch {
	case errors.Is(err, ErrFull), errors.Is(err, ErrClosed):
		reject(byFull, http.StatusServiceUnavailable, err)
		return
	case err != nil:
		reject(byUnstored, http.StatusServiceUnavailable, err)
		return
	}
	status := http.StatusOK
	if stored {
		rc.taken.Add(1)
		if status = rc.Status; status < 200 || status > 299 {
			status = http.StatusAccepted
		}
	} else {
		rc.known.Add(1)
	}
	if scheme.Status != 0 {
		status = scheme.Status
	}
	w.WriteHeader(status)
	tell(r.Context(), rc.Observers, belay.DeliveryReceived{
		Partner: d.Partner, Integration: d.Integration, ID: d.ID, Events: len(d.Events), Stored: stored, Bytes: len(d.Body), Duration: time.Since(began),
	})
}

// maxHeaderBytes is what the headers of a delivery may be: they are kept with each of its events, and nobody signs them.
const maxHeaderBytes = 16 << 10

func headerBytes(h http.Header) (n int) {
	for name, values := range h {
		for _, v := range values {
			n += len(name) + len(v)
		}
	}
	return n
}

// countedBody counts what all requests hold.
type countedBody struct {
	rc   *Receiver
	body io.ReadCloser
	n    int64
	eof  bool
}

var errBusy = errors.New("inbox: too many bodies at once")

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	b.n += int64(n)
	b.eof = b.eof || err == io.EOF
	most := cmp.Or(b.rc.MaxReading, 32<<20)
	if held := b.rc.reading.Add(int64(n)); most > 0 && held > most && held > b.n {
		return n, errBusy
	}
	return n, err
}

func (b *countedBody) Close() error { return b.body.Close() }

// refusal is the answer to what was not believed.
func refusal(err error) (why, status int) {
	var timeout net.Error
	switch {
	case errors.Is(err, belay.ErrBodyTooLarge):
		return bySize, http.StatusRequestEntityTooLarge
	case errors.Is(err, belay.ErrNoSignature):
		return byUnsigned, http.StatusUnauthorized
	case errors.Is(err, belay.ErrBadSignature), errors.Is(err, belay.ErrMalformedSignature):
		return bySignature, http.StatusUnauthorized
	case errors.Is(err, belay.ErrTooOld):
		return byOld, http.StatusUnauthorized
	case errors.Is(err, belay.ErrTooNew):
		return byNew, http.StatusUnauthorized
	case errors.Is(err, belay.ErrData):
		return byMalformed, http.StatusBadRequest
	case errors.Is(err, errBusy):
		return byBusy, http.StatusServiceUnavailable
	case errors.As(err, &timeout) && timeout.Timeout():
		return bySlow, http.StatusRequestTimeout
	}
	return byUnread, http.StatusBadRequest
}

// verificationToken takes the token of Notion's first request, which stands alone in its body.
func (rc *Receiver) verificationToken(r *http.Request) bool {
	if rc.VerificationToken == nil {
		return false
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 4<<10)) // what is not signed has not been read so far
	if err != nil {
		return false
	}
	var fields map[string]json.RawMessage
	var token string
	d := json.NewDecoder(bytes.NewReader(body))
	if d.Decode(&fields) != nil || len(fields) != 1 || json.Unmarshal(fields["verification_token"], &token) != nil || token == "" {
		return false
	}
	return rc.VerificationToken(r, belay.NewSecret(token)) == nil
}

// sensitive reports whether a header's name is one of a credential, or of a signature.
func sensitive(name string) bool {
	name = strings.ToLower(name)
	return redact.LooksSecret(name) && name != "idempotency-key" || strings.Contains(name, "hmac") || strings.HasPrefix(name, "proxy-")
}

// printable is what may be shown of a stranger's path.
func printable(s string) string { return redact.Line(s, 100) }

// oneLine is an error as it is kept.
func oneLine(err error) string { return redact.Line(err.Error(), 500) }

// headers returns a copy of h without what must not be kept.
func headers(h http.Header, without map[string]bool) http.Header {
	kept := make(http.Header, len(h))
	for name, values := range h {
		if !without[http.CanonicalHeaderKey(name)] && !sensitive(name) {
			kept[name] = values
		}
	}
	return kept
}
