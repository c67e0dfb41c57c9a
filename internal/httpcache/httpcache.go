// Package httpcache decides how long an answer may be kept and used, as RFC 9111 says for a private cache, and writes
// kept answers as bytes.
package httpcache

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Entry is an answer that is kept.
type Entry struct {
	Status int
	Header http.Header
	Body   []byte
	// Stored is when the answer was made, as far as its Age says, and Fresh until when it may be used without asking the
	// partner. Fresh is the zero time if it may not.
	Stored, Fresh time.Time
}

// directives are the directives of a Cache-Control header (RFC 9111 section 5.2).
type directives map[string]string

func parse(h http.Header) directives {
	d := make(directives)
	for _, line := range h["Cache-Control"] {
		for line != "" {
			var part string
			part, line = cut(line)
			name, value, _ := strings.Cut(part, "=")
			if name = strings.ToLower(strings.TrimSpace(name)); name != "" {
				d[name] = strings.Trim(strings.TrimSpace(value), `"`)
			}
		}
	}
	return d
}

// cut cuts a list at its first comma outside quotes.
func cut(s string) (part, rest string) {
	quoted := false
	for i := range len(s) {
		switch s[i] {
		case '"':
			quoted = !quoted
		case ',':
			if !quoted {
				return s[:i], s[i+1:]
			}
		}
	}
	return s, ""
}

// seconds reads delta-seconds (RFC 9111 section 1.2.2). A number that is too large is 68 years; what is no number is
// not known.
func seconds(s string) (time.Duration, bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n > 1<<31 {
		n = 1 << 31
	}
	return time.Duration(n) * time.Second, true
}

// Bypass reports whether a request asks for the partner's own answer: no is for one that must not be kept either.
func Bypass(h http.Header) (look, keep bool) {
	d := parse(h)
	_, noStore := d["no-store"]
	_, noCache := d["no-cache"]
	age, known := seconds(d["max-age"])
	return !noStore && !noCache && !(known && age == 0) && !(len(d) == 0 && h.Get("Pragma") == "no-cache"), !noStore
}

// Keep returns the entry for an answer that came now, without its body. It is false if the answer must not be kept.
// The entry is fresh as long as the answer says, or for ttl if it says nothing.
func Keep(status int, h http.Header, now time.Time, ttl time.Duration) (Entry, bool) {
	d := parse(h)
	if _, no := d["no-store"]; no || status != http.StatusOK || variesByAll(h) || h.Get("Content-Range") != "" {
		return Entry{}, false
	}
	e := Entry{Status: status, Header: make(http.Header, len(h)), Stored: now}
	for name, values := range h {
		if !slices.Contains(dropped, name) {
			e.Header[name] = values
		}
	}
	if age, known := seconds(h.Get("Age")); known {
		e.Stored = now.Add(-age)
	}
	life, said := lifetime(d, h, now)
	if !said {
		life = ttl
	}
	if _, no := d["no-cache"]; !no && life > 0 {
		e.Fresh = e.Stored.Add(life)
	}
	return e, true
}

// variesByAll reports whether an answer depends on what no header tells (RFC 9110 section 12.5.5).
func variesByAll(h http.Header) bool {
	for _, line := range h["Vary"] {
		for part := range strings.SplitSeq(line, ",") {
			if strings.TrimSpace(part) == "*" {
				return true
			}
		}
	}
	return false
}

// dropped are headers that are of one connection, that set a session, or that would be wrong of a kept answer.
var dropped = []string{
	"Age", "Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authentication-Info", "Set-Cookie", "Te", "Trailer",
	"Transfer-Encoding", "Upgrade",
}

// lifetime returns how long an answer is fresh (RFC 9111 section 4.2.1), and whether it says so.
func lifetime(d directives, h http.Header, now time.Time) (time.Duration, bool) {
	if _, there := d["max-age"]; there {
		life, _ := seconds(d["max-age"]) // what is no number is stale
		return life, true
	}
	values := h["Expires"]
	if len(values) == 0 {
		return 0, false
	}
	expires, err := http.ParseTime(values[0])
	if err != nil { // "0" above all: it has expired
		return 0, true
	}
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date
	}
	return max(0, expires.Sub(now)), true
}

// Refreshed returns e after a 304 with header h (RFC 9111 section 4.3.4). It is false if it must not be kept any
// longer.
func (e Entry) Refreshed(h http.Header, now time.Time, ttl time.Duration) (Entry, bool) {
	merged := e.Header.Clone()
	for name, values := range h {
		if name != "Content-Length" && name != "Content-Encoding" && name != "Content-Type" && name != "Content-Range" {
			merged[name] = values
		}
	}
	next, ok := Keep(e.Status, merged, now, ttl)
	if !ok {
		next = Entry{Status: e.Status, Header: merged, Stored: now}
		for _, name := range dropped {
			delete(next.Header, name)
		}
	}
	next.Body = e.Body
	return next, ok
}

// Validators returns the headers with which a request asks whether e has changed, nil if it cannot.
func (e Entry) Validators() http.Header {
	h := make(http.Header)
	if tag := e.Header.Get("Etag"); tag != "" {
		h.Set("If-None-Match", tag)
	}
	if at := e.Header.Get("Last-Modified"); at != "" {
		h.Set("If-Modified-Since", at)
	}
	if len(h) == 0 {
		return nil
	}
	return h
}

const (
	version  = 1
	zipped   = 1
	zipAbove = 1 << 10
	maxMeta  = 1 << 20
)

// Bytes returns the entry as bytes: a body above 1 KiB compressed, if that makes it smaller.
func (e Entry) Bytes() ([]byte, error) {
	body := e.Body
	e.Body = nil
	meta, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	flags := byte(0)
	if len(body) > zipAbove {
		var b bytes.Buffer
		w, _ := gzip.NewWriterLevel(&b, gzip.BestSpeed)
		_, _ = w.Write(body)
		if w.Close() == nil && b.Len() < len(body) {
			body, flags = b.Bytes(), zipped
		}
	}
	out := make([]byte, 0, 6+len(meta)+len(body))
	out = append(out, version, flags)
	out = binary.BigEndian.AppendUint32(out, uint32(len(meta)))
	return append(append(out, meta...), body...), nil
}

var errMalformed = errors.New("httpcache: malformed")

// Parse reads what Bytes has written. The body may have most bytes.
func Parse(data []byte, most int64) (e Entry, err error) {
	if len(data) < 6 || data[0] != version || data[1] > zipped {
		return e, errMalformed
	}
	n := binary.BigEndian.Uint32(data[2:])
	if n > maxMeta || int(n) > len(data)-6 || json.Unmarshal(data[6:6+n], &e) != nil || e.Status != http.StatusOK {
		return Entry{}, errMalformed
	}
	e.Body = data[6+n:]
	if data[1] == zipped {
		r, err := gzip.NewReader(bytes.NewReader(e.Body))
		if err != nil {
			return Entry{}, errMalformed
		}
		if e.Body, err = io.ReadAll(io.LimitReader(r, most+1)); err != nil {
			return Entry{}, errMalformed
		}
	}
	if int64(len(e.Body)) > most {
		return Entry{}, errMalformed
	}
	if e.Header == nil {
		e.Header = make(http.Header)
	}
	return e, nil
}
