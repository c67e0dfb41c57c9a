package webhook

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/delivery"
	"github.com/belay-go/belay/internal/jsonscan"
)

// find returns the first value that is there, "" for none.
func (ps places) find(in *incoming) (string, error) {
	for _, p := range ps {
		if p.header != "" {
			value, err := delivery.Header(in.header, p.header)
			if value != "" || err != nil {
				return value, err
			}
			continue
		}
		doc := jsonscan.New(in.body)
		raw, err := doc.Value(p.path)
		var text []byte
		if err == nil {
			text, err = appendText(nil, raw)
		}
		if err != nil { // not an ErrData: nothing is signed so far
			return "", fmt.Errorf("%w: %s in the body: %v", belay.ErrMalformedSignature, p.path, err)
		}
		if len(text) > 0 {
			return string(text), nil
		}
	}
	return "", nil
}

// inBody reports whether the body has to be read to know.
func (ps places) inBody() bool {
	return slices.ContainsFunc(ps, func(p place) bool { return p.path != "" })
}

// fields say where an event's id, type and time stand.
type fields struct {
	paths       []string // in the body, or in each element of events
	id, typ, at []field  // the first that is there
	events      string   // path of the array, "." for the body
	onlyJSON    bool     // anything else is refused
}

// field is a header, or the values at some of the paths together.
type field struct {
	header string
	paths  []int
}

func newFields(s Scheme) (fields, error) {
	f := fields{events: s.Events, onlyJSON: s.Events != ""}
	if s.Events != "" && s.Events != "." && (!jsonPath(s.Events) || strings.HasPrefix(s.Events, "json:")) {
		return f, fmt.Errorf("the Events path %q must be one without json:, or a dot", s.Events)
	}
	for _, x := range []struct {
		name, text string
		to         *[]field
	}{{"ID", s.ID, &f.id}, {"Type", s.Type, &f.typ}, {"Time", s.Time, &f.at}} {
		if x.text == "" {
			continue
		}
		for part := range strings.SplitSeq(x.text, "|") {
			header, paths, err := parsePlace(part)
			if err != nil {
				return f, fmt.Errorf("%s: %w", x.name, err)
			}
			at := field{header: header}
			for _, path := range paths {
				slot := slices.Index(f.paths, path)
				if slot < 0 {
					slot, f.paths = len(f.paths), append(f.paths, path)
				}
				at.paths = append(at.paths, slot)
			}
			*x.to = append(*x.to, at)
		}
	}
	if len(f.paths) > jsonscan.MaxPaths {
		return f, fmt.Errorf("ID, Type and Time: %d paths, at most %d", len(f.paths), jsonscan.MaxPaths)
	}
	for _, x := range f.id {
		f.onlyJSON = f.onlyJSON || x.header == ""
	}
	f.onlyJSON = f.onlyJSON && !s.Forms
	return f, nil
}

// extract fills in the delivery's id and events. Of a form that was signed by its fields, those are what tells it apart. Where a
// body is looked into, only what is asked for by GET may have none.
func (f *fields) extract(d *belay.Delivery, in *incoming, form string) error {
	isJSON, err := delivery.IsJSON(in.header, in.body)
	if err != nil {
		return err
	}
	if !isJSON && f.onlyJSON && (len(in.body) > 0 || in.method != http.MethodGet) {
		return fmt.Errorf("%w: webhook: the body is no JSON", belay.ErrData)
	}
	if isJSON && f.events != "" {
		return f.extractArray(d, in)
	}
	e := &d.Events[0]
	if isJSON {
		e.Data = in.body
	}
	if err := f.event(e, in.header, e.Data); err != nil {
		return err
	}
	switch {
	case e.ID != "":
	case form != "":
		e.ID = delivery.HashID([]byte(form))
	default:
		e.ID = delivery.HashID(in.body)
	}
	d.ID = e.ID
	return nil
}

// extractArray makes an event of each element.
func (f *fields) extractArray(d *belay.Delivery, in *incoming) error {
	doc := jsonscan.New(in.body)
	path := f.events
	if path == "." {
		path = ""
	}
	n, _, found, err := doc.Array(path)
	if err != nil && path == "" && bytes.TrimLeft(in.body, " \t\r\n")[0] == '{' {
		found, err = false, nil // one event without its array
	}
	switch {
	case err != nil:
		return fmt.Errorf("%w: webhook: the events: %w", belay.ErrData, err)
	case n > maxEvents:
		return fmt.Errorf("%w: webhook: %d events, at most %d", belay.ErrData, n, maxEvents)
	case found && n == 0:
		return fmt.Errorf("%w: webhook: no event", belay.ErrData)
	case !found:
		alone := *f
		alone.events = ""
		return alone.extract(d, in, "")
	}
	var whole belay.WebhookEvent
	inHeader := fields{id: headersOf(f.id)}
	if err := inHeader.event(&whole, in.header, nil); err != nil {
		return err
	}
	d.ID = whole.ID
	ids := sha256.New()
	same := make(map[string]int) // of those known by what they say alone
	d.Events = make([]belay.WebhookEvent, n)
	elements := doc.Elements()
	for i := range d.Events {
		data, _, err := elements.Next()
		if err != nil {
			return fmt.Errorf("%w: webhook: event %d: %w", belay.ErrData, i+1, err)
		}
		e := &d.Events[i]
		e.Data = data[:len(data):len(data)]
		if err := f.event(e, in.header, e.Data); err != nil {
			return err
		}
		switch {
		case d.ID != "": // the delivery's own
			e.ID = d.ID + "#" + strconv.Itoa(i)
		case e.ID == "":
			e.ID = delivery.HashID(e.Data)
			if same[e.ID]++; same[e.ID] > 1 {
				e.ID += "#" + strconv.Itoa(same[e.ID])
			}
		}
		ids.Write(append([]byte(e.ID), '\n'))
	}
	if d.ID == "" {
		d.ID = "sha256:" + hex.EncodeToString(ids.Sum(nil))
	}
	return nil
}

func headersOf(fs []field) (only []field) {
	for _, f := range fs {
		if f.header != "" {
			only = append(only, f)
		}
	}
	return only
}

// event fills in what the headers and the event's data say, nil for none.
func (f *fields) event(e *belay.WebhookEvent, h http.Header, data []byte) (err error) {
	if len(f.paths) == 0 {
		if e.ID, err = f.header(h, f.id); err == nil {
			e.Type, err = f.header(h, f.typ)
		}
		if err == nil && len(f.at) > 0 {
			e.Time = f.time(h, nil)
		}
		return err
	}
	var found [jsonscan.MaxPaths][]byte
	if data != nil {
		doc := jsonscan.New(data)
		if err := doc.Values(f.paths, found[:len(f.paths)]); err != nil {
			return fmt.Errorf("%w: webhook: %w", belay.ErrData, err)
		}
	}
	var room [128]byte
	text := room[:0] // id and type together, so that they cost one allocation
	if e.ID, text, err = f.pick(h, f.id, &found, text); err != nil {
		return err
	}
	split := len(text)
	if e.Type, text, err = f.pick(h, f.typ, &found, text); err != nil {
		return err
	}
	if len(text) > 0 {
		all := string(text)
		if split > 0 {
			e.ID = all[:split]
		}
		if split < len(all) {
			e.Type = all[split:]
		}
	}
	e.Time = f.time(h, &found)
	return nil
}

// header returns the first header of those.
func (f *fields) header(h http.Header, fs []field) (string, error) {
	for _, x := range fs {
		if value, err := delivery.Text(h, x.header); value != "" || err != nil {
			return value, err
		}
	}
	return "", nil
}

// pick returns the first of those that is there: a header's value, or what it has appended to text.
func (f *fields) pick(h http.Header, fs []field, found *[jsonscan.MaxPaths][]byte, text []byte) (string, []byte, error) {
	for i, x := range fs {
		if x.header != "" {
			value, err := f.header(h, fs[i:i+1])
			if value != "" || err != nil {
				return value, text, err
			}
			continue
		}
		start, missing := len(text), false
		for k, p := range x.paths {
			if k > 0 {
				text = append(text, '-')
			}
			before, err := len(text), error(nil)
			if text, err = appendText(text, found[p]); err != nil {
				return "", text, err
			}
			if missing = missing || len(text) == before; len(x.paths) > 1 && len(text) > before && found[p][0] == '"' {
				text = append(text[:before], found[p]...) // with its quotes, so that no dash within it joins two parts
			}
		}
		if !utf8.Valid(text[start:]) {
			text = append(text[:start], bytes.ToValidUTF8(text[start:], []byte("\ufffd"))...) // as encoding/json does
		}
		if size := len(text) - start; size > delivery.MaxText {
			return "", text, fmt.Errorf("%w: webhook: %d bytes of %s, at most %d", belay.ErrData, size, f.paths[x.paths[0]], delivery.MaxText)
		}
		if missing { // all of them make the ID, or none
			text = text[:start]
		}
		if len(text) > start {
			if bytes.IndexByte(text[start:], 0) >= 0 { // which few databases keep in a text
				return "", text, fmt.Errorf("%w: webhook: %s has a zero byte in it", belay.ErrData, f.paths[x.paths[0]])
			}
			return "", text, nil
		}
	}
	return "", text, nil
}

// time returns the first time that can be read, zero for none.
func (f *fields) time(h http.Header, found *[jsonscan.MaxPaths][]byte) (t time.Time) {
	for _, x := range f.at {
		if x.header != "" {
			value, _ := delivery.Header(h, x.header)
			t = eventTime([]byte(value))
		} else if found != nil {
			raw := found[x.paths[0]]
			if len(raw) > 1 && raw[0] == '"' {
				raw = raw[1 : len(raw)-1]
			}
			t = eventTime(raw)
		}
		if !t.IsZero() {
			break
		}
	}
	return t
}
