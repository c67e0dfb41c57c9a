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

// fields are the places of an event's id, type and time.
type fields struct {
	paths       []string // all paths that id, typ and at use, in the body or in each element of events
	id, typ, at []field  // in the order in which they are tried; the first with a value counts
	events      string   // path of the array of events, "." for the body itself, empty for one event
	onlyJSON    bool     // a body that is not JSON is an error
	mayBeEmpty  bool     // an empty body is none, whatever its header says that it is
}

// field is one or more headers, or one or more paths, whose values together make one text, or the hash of the body.
type field struct {
	headers []string // nil for paths
	paths   []int    // indexes into fields.paths
	body    bool
}

// hashOfBody is the place of an ID that is the hash of the body.
const hashOfBody = "body"

// newFields parses the places of s for id, type, time and events.
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
			if part == hashOfBody && x.name == "ID" && s.Events == "" {
				*x.to = append(*x.to, field{body: true})
				continue
			}
			names, paths, err := parsePlace(part)
			if err != nil {
				return f, fmt.Errorf("%s: %w", x.name, err)
			}
			at := field{headers: names}
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
		f.onlyJSON = f.onlyJSON || len(x.paths) > 0
	}
	f.onlyJSON = f.onlyJSON && !s.Forms
	f.mayBeEmpty = s.Algorithm == PlainToken && !f.onlyJSON
	return f, nil
}

// extract fills in the ID and the events of d. An event without an ID gets a hash as its ID: of the body, or of the
// signed fields of a form, with the other values in m that were signed. Where the scheme needs JSON, any other body is
// an ErrData; only a GET may have an empty body.
func (f *fields) extract(d *belay.Delivery, in *incoming, m *message) error {
	isJSON, err := delivery.IsJSON(in.header, in.body)
	if f.mayBeEmpty && len(in.body) == 0 {
		isJSON, err = false, nil
	}
	if err != nil {
		return err
	}
	if !isJSON && f.onlyJSON && (len(in.body) > 0 || in.method != http.MethodGet) {
		return fmt.Errorf("%w: webhook: the body is not JSON", belay.ErrData)
	}
	if isJSON && f.events != "" {
		return f.extractArray(d, in, m)
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
	case slices.ContainsFunc(f.id, func(x field) bool { return x.body }):
		e.ID = delivery.HashID(in.body)
	case m.form != "":
		e.ID, e.Anonymous = m.hash([]byte(m.form))
	default:
		e.ID, e.Anonymous = m.hash(in.body)
	}
	d.ID = e.ID
	return nil
}

// hash returns the hash of data and of the other values that were signed and differ between deliveries, and whether
// there are none of those.
func (m *message) hash(data []byte) (id string, alone bool) {
	if m.timestamp == "" && m.id == "" && m.query == "" {
		return delivery.HashID(data), true
	}
	signed := m.timestamp + "\n" + m.id + "\n"
	if m.query != "" {
		signed += m.query + "\n"
	}
	return delivery.HashID(append([]byte(signed), data...)), m.timestamp == "" && m.id == ""
}

// extractArray fills in the ID of d, and makes an event of each element of the array. A body that does not
// have the array is one event by itself. An empty array is a delivery without events; one of more than maxEvents
// elements is an error.
//
// Where a header has the ID of the delivery, the events' IDs are made from it. Otherwise the delivery's ID is
// a hash of the events' IDs. An element without an ID gets a hash of itself and of what else was signed.
func (f *fields) extractArray(d *belay.Delivery, in *incoming, m *message) error {
	doc := jsonscan.New(in.body)
	path := f.events
	if path == "." {
		path = ""
	}
	n, _, found, err := doc.Array(path)
	if err != nil && path == "" && bytes.TrimLeft(in.body, " \t\r\n")[0] == '{' {
		found, err = false, nil // the body is one event, without an array around it
	}
	switch {
	case err != nil:
		return fmt.Errorf("%w: webhook: the events: %w", belay.ErrData, err)
	case n > maxEvents:
		return fmt.Errorf("%w: webhook: %d events, at most %d", belay.ErrData, n, maxEvents)
	case found && n == 0, !found && path != "" && string(bytes.TrimSpace(in.body)) == "{}": // a test of the endpoint
		d.Events = nil
		d.ID, _ = m.hash(in.body)
		return nil
	case !found:
		alone := *f
		alone.events = ""
		return alone.extract(d, in, m)
	}
	var whole belay.WebhookEvent
	inHeader := fields{id: headersOf(f.id)}
	if err := inHeader.event(&whole, in.header, nil); err != nil {
		return err
	}
	d.ID = whole.ID
	ids := sha256.New()
	same := make(map[string]int) // how many elements have had this hash as their ID; equal elements get "#2" and so on
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
		case d.ID != "":
			e.ID = d.ID + "#" + strconv.Itoa(i)
		case e.ID == "":
			e.ID, e.Anonymous = m.hash(e.Data)
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

// headersOf returns the fields of fs that are headers.
func headersOf(fs []field) (only []field) {
	for _, f := range fs {
		if f.headers != nil {
			only = append(only, f)
		}
	}
	return only
}

// event fills in the ID, type and time of e, from the headers and from data, the event's JSON. Nil data means
// that there is none.
func (f *fields) event(e *belay.WebhookEvent, h http.Header, data []byte) (err error) {
	defer func() {
		if isNoID(e.ID) {
			e.ID = ""
		}
	}()
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
	text := room[:0] // id and type share one string: one allocation for both (TestAllocationsOfVerify is red otherwise)
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

// isNoID reports whether an ID only stands for one that is not there. As an ID it would make all such events one.
func isNoID(id string) bool {
	if len(id) > 38 {
		return false
	}
	switch strings.ToLower(strings.Trim(id, "{} ")) {
	case "null", "none", "undefined", "00000000-0000-0000-0000-000000000000":
		return true
	}
	return false
}

// header returns the value of the first field in fs that is made of headers and not empty. It returns "" if there is
// none.
func (f *fields) header(h http.Header, fs []field) (string, error) {
	for _, x := range fs {
		if x.headers == nil {
			continue
		}
		value, err := delivery.Text(h, x.headers[0])
		if len(x.headers) > 1 && value != "" && err == nil {
			value, err = together(h, x.headers)
		}
		if value != "" || err != nil {
			return value, err
		}
	}
	return "", nil
}

// pick looks for the first field in fs that has a value. It returns the value of a header; it appends a value
// from the body to text. The values of f.paths are in found. Several paths in one field make one value,
// joined by dashes, and only if each of them has a value.
func (f *fields) pick(
	h http.Header, fs []field, found *[jsonscan.MaxPaths][]byte, text []byte,
) (string, []byte, error) {
	for i, x := range fs {
		if x.body {
			continue
		}
		if x.headers != nil {
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
				text = append(text[:before], found[p]...) // keep the quotes: a dash inside a value joins nothing
			}
		}
		if !utf8.Valid(text[start:]) {
			// Replace invalid UTF-8 by U+FFFD: one for each run of invalid bytes. (encoding/json writes one
			// for each byte.)
			text = append(text[:start], bytes.ToValidUTF8(text[start:], []byte("\ufffd"))...)
		}
		if size := len(text) - start; size > delivery.MaxText {
			return "", text, fmt.Errorf("%w: webhook: %d bytes of %s, at most %d",
				belay.ErrData, size, f.paths[x.paths[0]], delivery.MaxText)
		}
		if missing { // one of several paths has no value, so the field has none
			text = text[:start]
		}
		if len(text) > start {
			if bytes.IndexByte(text[start:], 0) >= 0 { // few databases can store it in text
				return "", text, fmt.Errorf("%w: webhook: %s has a zero byte in it", belay.ErrData, f.paths[x.paths[0]])
			}
			return "", text, nil
		}
	}
	return "", text, nil
}

// time returns the first time that can be parsed, and the zero time if there is none. The values of f.paths
// are in found; nil means that there is no body.
func (f *fields) time(h http.Header, found *[jsonscan.MaxPaths][]byte) (t time.Time) {
	for _, x := range f.at {
		if x.headers != nil {
			value, _ := delivery.Header(h, x.headers[0])
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
