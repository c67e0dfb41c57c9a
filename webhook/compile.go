package webhook

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// partKind is the kind of one part of Scheme.Signed: text, or a name in braces.
type partKind uint8

const (
	partText partKind = iota
	partBody
	partTimestamp
	partID
	partURL
	partURLQuery
	partMethod
	partSecret
	partForm
	partJSON
	partSHA256
)

var partNames = map[string]partKind{
	"body": partBody, "timestamp": partTimestamp, "id": partID, "url": partURL, "url+query": partURLQuery,
	"method": partMethod, "secret": partSecret, "form": partForm, "sha256": partSHA256,
}

// signedPart is one part of Scheme.Signed.
type signedPart struct {
	kind partKind
	text string // the text of a partText; for every other kind, the name in braces, such as "json:data.id"
	at   places // of the value of a partID or a partJSON; nil for every other kind
}

// compile prepares v from its scheme. It returns the faults of the scheme, joined into one error, or nil.
func (v *Verifier) compile() error {
	s := v.scheme
	var errs []error
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	var err error
	if v.at, err = newPlaces(s.Header); err != nil || s.Header == "" {
		add("Header %q: it must name where the signature stands", s.Header)
	}
	v.stampInList = strings.HasSuffix(s.Timestamp, "=")
	if v.stampInList && s.Separator == "" {
		add("Timestamp %q: there is no list without a Separator", s.Timestamp)
	}
	if !v.stampInList {
		if v.stamp, err = newPlaces(s.Timestamp); err != nil {
			add("Timestamp: %w", err)
		}
	}
	v.inQuery = v.at.inQuery() || v.stamp.inQuery()
	if v.fields, err = newFields(s); err != nil {
		errs = append(errs, err)
	}
	for _, x := range []struct {
		name    string
		n, most int
	}{
		{"Algorithm", int(s.Algorithm), int(PlainToken)},
		{"Encoding", int(s.Encoding), int(Base64)},
		{"Unit", int(s.Unit), int(HTTPDate)},
	} {
		if x.n > x.most {
			add("%s %d: there is none", x.name, x.n)
		}
	}
	if s.MaxBytes < 0 {
		add("MaxBytes %d: must not be negative", s.MaxBytes)
	}
	if s.Status != 0 && (s.Status < 200 || s.Status > 299) {
		add("Status %d: must be a 2xx", s.Status)
	}
	if s.PerItem && (s.Events == "" || s.Timestamp != "") {
		add("PerItem: it needs Events, and takes no Timestamp")
	}
	if s.PerItem && s.Handshake != nil {
		add("Handshake: with PerItem, no request as a whole is signed")
	}
	if s.Probe != "" && s.Probe != http.MethodGet && s.Probe != http.MethodHead {
		add("Probe %q: it must be GET or HEAD", s.Probe)
	}
	if s.HexKey && (s.Base64Key || s.Algorithm > HMACSHA512) {
		add("HexKey: it is for the HMACs, and not beside Base64Key")
	}
	if s.Base64Key && s.Algorithm > HMACSHA512 {
		add("Base64Key: it is for the HMACs; public keys are base64 anyway")
	}
	uses, err := v.parseSigned()
	if err != nil {
		errs = append(errs, err)
	}
	v.fixedURL = uses[partURL]
	inBody := strings.HasPrefix(s.Timestamp, "json:") && (uses[partBody] || uses[partJSON]) ||
		strings.HasPrefix(s.Timestamp, "query:") && uses[partURLQuery]
	switch {
	case uses[partTimestamp] && s.Timestamp == "":
		add("Timestamp: it is signed, so it must have a place")
	case s.Timestamp != "" && !uses[partTimestamp] && !inBody:
		add("Timestamp %q: it is not signed, so it says nothing", s.Timestamp)
	}
	if s.Algorithm != PlainToken && !uses[partBody] && !uses[partSHA256] && !uses[partForm] && !uses[partJSON] &&
		!strings.HasPrefix(s.Header, "query:") && err == nil {
		add("Signed %q: nothing of the body is signed", s.Signed)
	}
	if uses[partURL] || uses[partURLQuery] {
		if err := checkURL(s.URL, s.withUser); err != nil {
			add("URL %q: %w", shownURL(s.URL), err)
		}
	}
	if (s.Algorithm == WeakSHA256) != uses[partSecret] && err == nil {
		add("Signed %q: WeakSHA256 needs the {secret} in it, and nothing else takes it", s.Signed)
	}
	return errors.Join(errs...)
}

// parseSigned splits Scheme.Signed into v.signed, and returns the kinds of its parts. A [PlainToken] signs
// nothing, so it has no parts.
func (v *Verifier) parseSigned() (uses map[partKind]bool, err error) {
	s := v.scheme
	uses = make(map[partKind]bool)
	rest := s.Signed
	switch {
	case s.Algorithm == PlainToken:
		return uses, nil
	case rest == "":
		rest = "{body}"
	}
	v.dotted = v.tolerance < 0 && strings.Contains(rest, "{id}.")
	for rest != "" {
		text, after, found := strings.Cut(rest, "{")
		if text != "" {
			v.signed = append(v.signed, signedPart{text: text})
		}
		if !found {
			break
		}
		name, after, found := strings.Cut(after, "}")
		kind, known := partNames[name]
		p := signedPart{kind: kind, text: name}
		switch {
		case found && strings.HasPrefix(name, "json:"):
			p.kind = partJSON
			p.at, err = newPlaces(name)
		case !found || !known:
			err = errors.New(
				"not one of {body}, {sha256}, {timestamp}, {id}, {url}, {url+query}, {method}, {secret}, {form} and {json:path}",
			)
		case p.kind == partID:
			if p.at, err = newPlaces(s.ID); s.ID == "" || err != nil {
				err = fmt.Errorf("ID %q: must be one place", s.ID)
			}
		}
		if err != nil {
			return uses, fmt.Errorf("the Signed text %q: {%s}: %w", s.Signed, name, err)
		}
		uses[p.kind] = true
		v.signed = append(v.signed, p)
		rest = after
	}
	return uses, nil
}

// jsonPath reports whether s can be a path in the body.
func jsonPath(s string) bool {
	return s != "" && !strings.HasPrefix(s, ".") && !strings.HasSuffix(s, ".")
}
