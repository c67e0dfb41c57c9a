package webhook

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/delivery"
	"github.com/belay-go/belay/internal/headers"
	"github.com/belay-go/belay/internal/jsonscan"
)

// places are the places of one value, in the order in which they are tried.
type places []place

// place is a header, a path in the body, or a query parameter: two of the three are empty.
type place struct{ header, path, query string }

// newPlaces parses text that names places in a delivery where a value may stand, with "|" between them. Empty
// text gives nil.
func newPlaces(text string) (places, error) {
	if text == "" {
		return nil, nil
	}
	var ps places
	for part := range strings.SplitSeq(text, "|") {
		if name, ok := strings.CutPrefix(part, "query:"); ok && name != "" {
			ps = append(ps, place{query: name})
			continue
		}
		names, paths, err := parsePlace(part)
		switch {
		case err != nil:
			return nil, err
		case len(paths) > 1, len(names) > 1:
			return nil, fmt.Errorf("%q: one value is one path, or one header", part)
		case len(names) > 0:
			ps = append(ps, place{header: names[0]})
		default:
			ps = append(ps, place{path: paths[0]})
		}
	}
	return ps, nil
}

// parsePlace parses one place. It returns the canonical names of headers, or the paths in the body: more than
// one where "+" joins them.
func parsePlace(text string) (names, paths []string, err error) {
	list, inBody := strings.CutPrefix(text, "json:")
	switch {
	case inBody:
		paths = strings.Split(list, "+")
		for _, path := range paths {
			if !jsonPath(path) {
				return nil, nil, fmt.Errorf("%q has a path that is empty or begins or ends with a dot", text)
			}
		}
		return nil, paths, nil
	case strings.Contains(text, "."):
		return nil, nil, fmt.Errorf("%q: a path in the body has json: before it", text)
	}
	for name := range strings.SplitSeq(text, "+") {
		if !headers.IsToken(name) {
			return nil, nil, fmt.Errorf("%q is neither a header's name nor json: and a path", text)
		}
		names = append(names, http.CanonicalHeaderKey(name))
	}
	return names, nil, nil
}

// find returns the first value that is not empty, in the order of the places. It returns "" if there is none.
func (ps places) find(in *incoming) (string, error) {
	for _, p := range ps {
		if p.header != "" {
			value, err := delivery.Header(in.header, p.header)
			if value != "" || err != nil {
				return value, err
			}
			continue
		}
		if p.query != "" {
			value, err := in.parameter(p.query)
			if value != "" || err != nil {
				return value, err
			}
			continue
		}
		doc := jsonscan.New(in.body)
		raw, err := doc.Value(p.path)
		if string(raw) == "true" || string(raw) == "false" {
			return string(raw), err
		}
		var text []byte
		if err == nil {
			text, err = appendText(nil, raw)
		}
		if err != nil { // not an ErrData: the signature has not been verified yet
			return "", fmt.Errorf("%w: %s in the body: %v", belay.ErrMalformedSignature, p.path, err)
		}
		if len(text) > 0 {
			return string(text), nil
		}
	}
	return "", nil
}

// inBody reports whether one of the places is in the body, so that the body must be read first.
func (ps places) inBody() bool {
	return slices.ContainsFunc(ps, func(p place) bool { return p.path != "" })
}

// inQuery reports whether one of the places is a query parameter.
func (ps places) inQuery() bool {
	return slices.ContainsFunc(ps, func(p place) bool { return p.query != "" })
}
