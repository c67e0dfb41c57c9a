package inbox

import (
	"cmp"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/belay-go/belay/internal/redact"
)

// countedBody adds the bytes that are read from a body to the Receiver's total.
type countedBody struct {
	rc   *Receiver
	body io.ReadCloser
	n    int64
	eof  bool
}

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

func headerBytes(h http.Header) (n int) {
	for name, values := range h {
		for _, v := range values {
			n += len(name) + len(v)
		}
	}
	return n
}

// maxHeaderBytes bounds the headers of a delivery, because they are stored with each of its events and are
// not signed.
const maxHeaderBytes = 16 << 10

// sensitive reports whether a header of that name holds a credential or a signature.
func sensitive(name string) bool {
	name = strings.ToLower(name)
	if redact.LooksSecretField(name) && name != "idempotency-key" || strings.HasPrefix(name, "proxy-") {
		return true
	}
	for _, part := range [...]string{
		"hmac", "userinfo", "client-cert", "client-principal", "appcheck", "saml", "csrf", "xsrf", "bearer", "passphrase",
		"original-ur", "forwarded-uri", "rewrite-url", "original-path", // URLs, with the query of the webhook's own
	} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return slices.Contains([]string{"referer", "dpop", "x-sig", "x-pwd", "x-pass", "x-pin", "x-otp", "x-mac", "x-digest"}, name)
}

// withoutText adds the headers to without in which the value of a query parameter is: proxies put the URL into headers
// of many names.
func withoutText(without map[string]bool, r *http.Request, parameter string) {
	value := r.URL.Query().Get(parameter)
	if value == "" {
		return
	}
	for name, values := range r.Header {
		for _, v := range values {
			plain, err := url.QueryUnescape(v)
			if strings.Contains(v, value) || err == nil && strings.Contains(plain, value) {
				without[http.CanonicalHeaderKey(name)] = true
			}
		}
	}
}

// headers returns a copy of h without credentials, signatures and the names in without.
func headers(h http.Header, without map[string]bool) http.Header {
	kept := make(http.Header, len(h))
	for name, values := range h {
		if !without[http.CanonicalHeaderKey(name)] && !sensitive(name) {
			kept[name] = values
		}
	}
	return kept
}
