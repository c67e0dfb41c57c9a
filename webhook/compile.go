package webhook

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/belay-go/belay/internal/headers"
)

// partKind is what a part of Scheme.Signed stands for.
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
)

var partNames = map[string]partKind{
	"body": partBody, "timestamp": partTimestamp, "id": partID, "url": partURL, "url+query": partURLQuery, "method": partMethod,
	"secret": partSecret, "form": partForm,
}

type signedPart struct {
	kind partKind
	text string // itself, or the place of what is in the body
	at   places
}

// compile reads the scheme, and returns what it lacks.
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
	if v.fields, err = newFields(s); err != nil {
		errs = append(errs, err)
	}
	for _, x := range []struct {
		name    string
		n, most int
	}{
		{"Algorithm", int(s.Algorithm), int(PlainToken)}, {"Encoding", int(s.Encoding), int(Base64)}, {"Unit", int(s.Unit), int(RFC3339Time)},
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
	if s.Base64Key && s.Algorithm > HMACSHA512 {
		add("Base64Key: it is for the HMACs; public keys are base64 anyway")
	}
	uses, err := v.parseSigned()
	if err != nil {
		errs = append(errs, err)
	}
	v.fixedURL = uses[partURL]
	inBody := strings.HasPrefix(s.Timestamp, "json:") && (uses[partBody] || uses[partJSON])
	switch {
	case uses[partTimestamp] && s.Timestamp == "":
		add("Timestamp: it is signed, so it must have a place")
	case s.Timestamp != "" && !uses[partTimestamp] && !inBody:
		add("Timestamp %q: it is not signed, so it says nothing", s.Timestamp)
	}
	if s.Algorithm != PlainToken && !uses[partBody] && !uses[partForm] && !uses[partJSON] && err == nil {
		add("Signed %q: nothing of the body is signed", s.Signed)
	}
	if uses[partURL] || uses[partURLQuery] {
		if err := checkURL(s.URL); err != nil {
			add("URL %q: %w", shownURL(s.URL), err)
		}
	}
	if (s.Algorithm == WeakSHA256) != uses[partSecret] && err == nil {
		add("Signed %q: WeakSHA256 needs the {secret} in it, and nothing else takes it", s.Signed)
	}
	return errors.Join(errs...)
}

// parseSigned makes parts of Scheme.Signed, and returns which there are.
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
			err = errors.New("not one of {body}, {timestamp}, {id}, {url}, {url+query}, {method}, {secret}, {form} and {json:path}")
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

// places are where a value may stand.
type places []place

type place struct{ header, path string }

func newPlaces(text string) (places, error) {
	if text == "" {
		return nil, nil
	}
	var ps places
	for part := range strings.SplitSeq(text, "|") {
		header, paths, err := parsePlace(part)
		switch {
		case err != nil:
			return nil, err
		case len(paths) > 1:
			return nil, fmt.Errorf("%q: one value is one path", part)
		case header != "":
			ps = append(ps, place{header: header})
		default:
			ps = append(ps, place{path: paths[0]})
		}
	}
	return ps, nil
}

// parsePlace returns the header that a place names, or the paths in the body.
func parsePlace(text string) (header string, paths []string, err error) {
	list, inBody := strings.CutPrefix(text, "json:")
	switch {
	case inBody:
		paths = strings.Split(list, "+")
		for _, path := range paths {
			if !jsonPath(path) {
				return "", nil, fmt.Errorf("%q has a path that is empty or begins or ends with a dot", text)
			}
		}
		return "", paths, nil
	case !headers.IsToken(text):
		return "", nil, fmt.Errorf("%q is neither a header's name nor json: and a path", text)
	case strings.Contains(text, "."):
		return "", nil, fmt.Errorf("%q: a path in the body has json: before it", text)
	}
	return http.CanonicalHeaderKey(text), nil, nil
}

func jsonPath(s string) bool {
	return s != "" && !strings.HasPrefix(s, ".") && !strings.HasSuffix(s, ".")
}
