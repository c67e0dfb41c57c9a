package webhook

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/delivery"
	"github.com/belay-go/belay/internal/jsonscan"
)

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

// together returns the values of several headers as one text, in quotes, as a dash in a value joins nothing. It is empty
// if one of them is.
func together(h http.Header, names []string) (string, error) {
	var all []byte
	for _, name := range names {
		value, err := delivery.Text(h, name)
		if value == "" || err != nil {
			return "", err
		}
		if all != nil {
			all = append(all, '-')
		}
		all = strconv.AppendQuote(all, value)
	}
	if len(all) > delivery.MaxText {
		return "", fmt.Errorf("%w: webhook: %d bytes of %s, at most %d", belay.ErrData, len(all), strings.Join(names, "+"), delivery.MaxText)
	}
	return string(all), nil
}
