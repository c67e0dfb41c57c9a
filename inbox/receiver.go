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

// ErrUnknownIntegration is the error for a request to an unknown integration. A [Receiver] answers it with
// 404.
var ErrUnknownIntegration = errors.New("inbox: unknown integration")

// Receiver is an http.Handler for partners' webhooks. It answers
//
//	405  a method other than POST, but for that by which a partner asks whether the endpoint is ours
//	404  an integration that Verifier does not know
//	413  a body above the scheme's limit
//	431  more than 16 KiB of headers to store
//	408  a body that takes longer than ReadTimeout
//	401  a missing or invalid signature, or a time that is too old or too new
//	400  an unreadable body; a signed body that is not the expected JSON, or whose id or type
//	     is not UTF-8 or is above 512 bytes
//	200  a duplicate, a delivery without events, and a request that asks for an answer, such as a challenge
//	202  a stored delivery
//	503  a delivery that could not be stored, with Retry-After, so that the partner sends it again
//
// If a partner requires another status for an accepted delivery (Scheme.Status), it gets that one.
//
// The fields must not be changed once the Receiver is in use; it is then safe for concurrent use. Give its
// http.Server a ReadHeaderTimeout, because a request that has not sent its headers does not reach the
// Receiver.
type Receiver struct {
	// Verifier returns the verifier of the integration that a request is for. It returns
	// ErrUnknownIntegration if there is none, and any other error if it cannot decide; that error is answered
	// with 503. [Verifiers.Lookup] is one. It must not be nil.
	Verifier func(*http.Request) (*webhook.Verifier, error)
	// Inbox stores the deliveries. It must not be nil.
	Inbox Inbox
	// Status is the answer to a stored delivery, a 2xx. Zero, or a status that is not 2xx, means 202.
	Status int
	// ReadTimeout bounds the time to read a body. Zero means 10 s, or the http.Server's own ReadTimeout if
	// that is shorter; negative means the server's bound alone. A middleware that wraps the
	// http.ResponseWriter needs an Unwrap method, as [http.ResponseController] says; behind a middleware
	// without one only the server's ReadTimeout applies.
	ReadTimeout time.Duration
	// MaxReading bounds the bytes of bodies that are held at the same time. Above it requests are answered
	// with 503, except a request that is alone. While they are read, bodies may take twice that memory. Zero
	// means 32 MiB, negative means no bound.
	MaxReading int64
	// RetryAfter is the wait that a 503 asks the partner for. Zero or less means 30 s.
	RetryAfter time.Duration
	// VerificationToken receives the token with which Notion begins a subscription. The request cannot be
	// signed yet, and anybody may send one: accept it only for an integration that waits for its token, and
	// return an error otherwise, which is answered with 401. Nil accepts no token.
	VerificationToken func(r *http.Request, token belay.Secret) error
	// Observers receive [belay.DeliveryReceived] and [belay.DeliveryRejected]; [belay.NewLogObserver] writes
	// them to a log.
	Observers []belay.Observer

	reading atomic.Int64
	counts  [len(reasons)]atomic.Uint64
	taken   atomic.Uint64
	known   atomic.Uint64
}

// Verifiers maps "partner/integration" to a verifier. It must not be changed while it is in use.
type Verifiers map[string]*webhook.Verifier

// Lookup returns the verifier for the request's path, under a pattern such as
// "/webhooks/{partner}/{integration}". It returns ErrUnknownIntegration if there is none.
func (v Verifiers) Lookup(r *http.Request) (*webhook.Verifier, error) {
	if found := v[r.PathValue("partner")+"/"+r.PathValue("integration")]; found != nil {
		return found, nil
	}
	return nil, ErrUnknownIntegration
}

// reasons are the values of Reason in [belay.DeliveryRejected], in the order of the constants below.
var reasons = [...]string{
	"method", "unknown", "size", "slow", "unsigned", "signature", "old", "new",
	"malformed", "unread", "busy", "full", "unstored",
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

// Received holds the counts of a [Receiver] since its first request.
type Received struct {
	Stored     uint64            `json:"stored"`     // deliveries with a new event
	Duplicates uint64            `json:"duplicates"` // deliveries without a new event
	Rejected   map[string]uint64 `json:"rejected"`   // by the Reason of [belay.DeliveryRejected]
}

// Numbers returns the counts of stored, duplicate and rejected deliveries.
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
		_ = control.SetReadDeadline(began.Add(limit)) // ends with the body; some ResponseWriters have no deadline
	}
	var partner, integration string // empty until it is known that there is such an endpoint: anybody may ask for any
	reject := func(why, status int, err error) {
		rc.counts[why].Add(1)
		if !body.eof && r.ProtoMajor == 1 {
			w.Header().Set("Connection", "close") // otherwise the server would wait for the rest of the body
		}
		if status == http.StatusServiceUnavailable {
			after := rc.RetryAfter
			if after <= 0 {
				after = 30 * time.Second
			}
			w.Header().Set("Retry-After", strconv.Itoa(int((after+time.Second-1)/time.Second)))
		}
		http.Error(w, strings.ToLower(http.StatusText(status)), status) // no detail that would help an attacker
		tell(r.Context(), rc.Observers, belay.DeliveryRejected{
			Partner: partner, Integration: integration, Status: status, Reason: reasons[why], Err: err,
		})
	}
	allowed := http.MethodPost
	notAllowed := func() {
		w.Header().Set("Allow", allowed)
		reject(byMethod, http.StatusMethodNotAllowed, nil)
	}
	asks := r.Method == http.MethodGet || r.Method == http.MethodHead // some partners ask so whether the endpoint is ours
	if r.Method != http.MethodPost && !asks {
		notAllowed()
		return
	}
	if rc.Verifier == nil || rc.Inbox == nil {
		reject(byUnstored, http.StatusServiceUnavailable, errors.New("inbox: Receiver: Verifier and Inbox must not be nil"))
		return
	}
	verifier, err := rc.Verifier(r)
	switch {
	case errors.Is(err, ErrUnknownIntegration), err == nil && verifier == nil:
		reject(byUnknown, http.StatusNotFound, fmt.Errorf("%w: %q of %q",
			ErrUnknownIntegration, printable(r.PathValue("integration")), printable(r.PathValue("partner"))))
		return
	case err != nil:
		reject(byUnstored, http.StatusServiceUnavailable, err)
		return
	}
	partner, integration = printable(r.PathValue("partner")), printable(r.PathValue("integration"))
	scheme := verifier.Scheme()
	if scheme.Probe != "" {
		allowed += ", " + scheme.Probe
	}
	if (scheme.Echo != "" || scheme.Handshake != nil) && scheme.Probe != http.MethodGet {
		allowed += ", " + http.MethodGet
	}
	if asks && !strings.Contains(allowed, r.Method) {
		notAllowed()
		return
	}
	d, err := verifier.VerifyRequest(r)
	if limit > 0 && body.eof {
		_ = control.SetReadDeadline(time.Time{}) // otherwise it would end the request's context later
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
			w.Header().Set("X-Content-Type-Options", "nosniff")
		}
		w.WriteHeader(cmp.Or(a.Status, http.StatusOK))
		_, _ = w.Write(a.Body)
		return
	}
	if asks {
		notAllowed()
		return
	}
	for i, e := range d.Events {
		if e.Data != nil && !json.Valid(e.Data) {
			reject(byMalformed, http.StatusBadRequest,
				fmt.Errorf("%w: webhook: event %d of %d is not JSON", belay.ErrData, i+1, len(d.Events)))
			return
		}
		// ID and Type may come from a header. A store might turn two invalid strings into the same one.
		if !utf8.ValidString(e.ID) || !utf8.ValidString(e.Type) {
			reject(byMalformed, http.StatusBadRequest,
				fmt.Errorf("%w: webhook: the id or type of event %d of %d is no UTF-8", belay.ErrData, i+1, len(d.Events)))
			return
		}
	}
	accept := func(status int) {
		if scheme.Status != 0 {
			status = scheme.Status
		}
		if scheme.Reply != "" {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, scheme.Reply)
	}
	if len(d.Events) == 0 { // a test of the endpoint
		accept(http.StatusOK)
		return
	}
	if d.Integration = r.PathValue("integration"); r.PathValue("partner") != "" {
		d.Partner = r.PathValue("partner")
	}
	without := map[string]bool{"Cookie": true}
	for name := range strings.SplitSeq(scheme.Header, "|") {
		if parameter, ok := strings.CutPrefix(name, "query:"); ok {
			withoutText(without, r, parameter)
			continue
		}
		without[http.CanonicalHeaderKey(name)] = true
	}
	d.Header = headers(r.Header, without)
	if n := headerBytes(d.Header); n > maxHeaderBytes {
		reject(bySize, http.StatusRequestHeaderFieldsTooLarge,
			fmt.Errorf("inbox: %d bytes of headers, at most %d", n, maxHeaderBytes))
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
	accept(status)
	if len(rc.Observers) == 0 {
		return
	}
	types := make([]string, len(d.Events))
	for i, e := range d.Events {
		types[i] = e.Type
	}
	tell(r.Context(), rc.Observers, belay.DeliveryReceived{
		Partner: d.Partner, Integration: d.Integration, ID: d.ID, Events: len(d.Events), Types: types, Stored: stored,
		Bytes: len(d.Body), Duration: time.Since(began),
	})
}

var errBusy = errors.New("inbox: too many bodies at once")

// refusal returns the reason and the status for a delivery that was not accepted.
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

// verificationToken reads the token of Notion's first request, where it is the only field of the body, and
// reports whether VerificationToken accepted it.
func (rc *Receiver) verificationToken(r *http.Request) bool {
	if rc.VerificationToken == nil {
		return false
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 4<<10)) // an unsigned body has not been read so far
	if err != nil {
		return false
	}
	var fields map[string]json.RawMessage
	var token string
	d := json.NewDecoder(bytes.NewReader(body))
	if d.Decode(&fields) != nil || len(fields) != 1 ||
		json.Unmarshal(fields["verification_token"], &token) != nil || token == "" {
		return false
	}
	return rc.VerificationToken(r, belay.NewSecret(token)) == nil
}

// printable returns a part of a stranger's path in a form that may be shown.
func printable(s string) string { return redact.Line(s, 100) }

// oneLine returns the text of an error in the form that is stored: one line of at most 500 bytes.
func oneLine(err error) string { return redact.Line(redact.Text(err.Error()), 500) }
