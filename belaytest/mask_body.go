package belaytest

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"html"
	"io"
	"mime"
	"mime/multipart"
	"net/textproto"
	"net/url"
	"regexp"
	"strings"

	"github.com/belay-go/belay/internal/redact"
)

// secretField reports whether a field of that name is likely to hold a secret. The field "code" does so only
// in a request, because it holds an error code in an answer.
func secretField(name string, request bool) bool {
	switch lower := strings.ToLower(name); lower {
	case "code":
		return request
	case "token_type", "expires_in", "scope", "tokentype":
		return false
	}
	return redact.LooksSecretField(name)
}

// body masks a body. It also returns the new content type, empty if that does not change.
func (m *mask) body(contentType, body string, request bool) (masked, newType string) {
	if m.Redact != nil && body != "" {
		body = m.Redact(contentType, body)
	}
	kind, params, _ := mime.ParseMediaType(contentType)
	trimmed := strings.TrimSpace(body)
	switch {
	case trimmed == "":
		return body, ""
	case strings.HasPrefix(kind, "multipart/") && params["boundary"] != "":
		return m.multipart(kind, params["boundary"], body, request)
	case strings.Contains(kind, "json"), trimmed[0] == '{', trimmed[0] == '[':
		if out, ok := m.json(body, request); ok {
			return out, ""
		}
	case strings.Contains(kind, "xml"), strings.HasPrefix(trimmed, "<?xml"):
		return m.xml(body, request), ""
	case kind == "application/x-www-form-urlencoded",
		!strings.ContainsAny(trimmed, " <\n") && strings.Contains(trimmed, "="):
		if out, ok := m.form(body, request); ok {
			return out, ""
		}
	case strings.Contains(kind, "csv"):
		if out, ok := m.csv(body, request); ok {
			return out, ""
		}
	default:
		return m.text(body, request), ""
	}
	if redact.LooksSecretField(body) { // it is unreadable, and may hold a secret
		return m.hidden(body, false), ""
	}
	return body, ""
}

func (m *mask) form(body string, request bool) (string, bool) {
	pairs := strings.FieldsFunc(body, func(r rune) bool { return r == '&' || r == ';' })
	masked := false
	for n, pair := range pairs {
		name, value, _ := strings.Cut(pair, "=")
		plainName, err1 := url.QueryUnescape(name)
		plain, err2 := url.QueryUnescape(value)
		if err1 != nil || err2 != nil {
			return "", false
		}
		if secretField(plainName, request) {
			pairs[n], masked = name+"="+m.hidden(plain, true), true
		} else if len(plain) > 1 && (plain[0] == '{' || plain[0] == '[') { // JSON inside a form
			if out, ok := m.json(plain, request); ok && out != plain {
				pairs[n], masked = name+"="+url.QueryEscape(out), true
			}
		}
	}
	if !masked {
		return body, true
	}
	return strings.Join(pairs, "&"), true
}

// json masks the fields that look like secrets, in each of several documents (NDJSON). A body without such
// fields stays unchanged, byte for byte.
func (m *mask) json(body string, request bool) (string, bool) {
	d := json.NewDecoder(strings.NewReader(body))
	d.UseNumber()
	var out bytes.Buffer
	changed, documents := false, 0
	for ; ; documents++ {
		var v any
		if err := d.Decode(&v); err == io.EOF {
			break
		} else if err != nil {
			return "", false
		}
		v, masked := m.walk(v, false, request)
		changed = changed || masked
		if documents > 0 {
			out.WriteByte('\n')
		}
		e := json.NewEncoder(&out)
		e.SetEscapeHTML(false)
		if e.Encode(v) != nil {
			return "", false
		}
		out.Truncate(out.Len() - 1)
	}
	if !changed {
		return body, true
	}
	if strings.HasSuffix(body, "\n") {
		out.WriteByte('\n')
	}
	return out.String(), true
}

// walk masks v and the values below it. Inside a field that looks like a secret, it masks all text and all
// long numbers.
func (m *mask) walk(v any, inside, request bool) (_ any, masked bool) {
	switch v := v.(type) {
	case map[string]any:
		told := false // {"name":"password","value":"x"}
		for _, key := range [...]string{"name", "key", "field", "id"} {
			name, ok := v[key].(string)
			told = told || ok && secretField(name, request)
		}
		for name, value := range v {
			named := told && strings.HasPrefix(strings.ToLower(name), "val")
			new, changed := m.walk(value, inside || named || secretField(name, request), request)
			v[name], masked = new, masked || changed
		}
		return v, masked
	case []any:
		for n, item := range v {
			new, changed := m.walk(item, inside, request)
			v[n], masked = new, masked || changed
		}
		return v, masked
	case string:
		if inside && v != "" {
			return m.hidden(v, true), true
		}
		if t := strings.TrimSpace(v); len(t) > 1 && (t[0] == '{' || t[0] == '[') { // JSON inside a string
			if out, ok := m.json(v, request); ok {
				return out, out != v
			}
		}
	case json.Number:
		if inside && len(v) >= shortestSecret {
			return m.hidden(v.String(), true), true
		}
	}
	return v, false
}

var xmlAttribute = regexp.MustCompile(`([A-Za-z_][\w:.-]*)(\s*=\s*)("[^"<]*"|'[^'<]*')`)

// xml masks the texts in the elements whose names look like secrets, and the attributes. What follows a fault in the
// document is masked whole if it may hold a secret.
func (m *mask) xml(body string, request bool) string {
	d := xml.NewDecoder(strings.NewReader(body))
	d.Strict, d.CharsetReader = false, func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	var out strings.Builder
	depth, inside := 0, 0 // inside is the depth of the secret element, 0 outside of one
	for at := 0; ; {
		token, err := d.RawToken()
		if err == io.EOF {
			return out.String() + body[at:]
		}
		if rest := body[at:]; err != nil {
			if redact.LooksSecretField(rest) {
				rest = m.hidden(rest, false)
			}
			return out.String() + rest
		}
		end := int(d.InputOffset())
		part := body[at:end]
		at = end
		switch t := token.(type) {
		case xml.StartElement:
			if depth++; inside == 0 && secretField(t.Name.Local, request) {
				inside = depth
			}
			part = m.attributes(part, request)
		case xml.EndElement:
			if depth--; depth < inside {
				inside = 0
			}
		case xml.CharData: // CDATA too
			if text := strings.TrimSpace(string(t)); inside > 0 && text != "" {
				part = m.hidden(text, true)
			}
		}
		out.WriteString(part)
	}
}

// attributes masks the attributes of a start tag whose names look like secrets.
func (m *mask) attributes(tag string, request bool) string {
	return xmlAttribute.ReplaceAllStringFunc(tag, func(attribute string) string {
		p := xmlAttribute.FindStringSubmatch(attribute)
		name, value := p[1][strings.LastIndexByte(p[1], ':')+1:], p[3][1:len(p[3])-1]
		if !secretField(name, request) || value == "" || p[1] == "xmlns" {
			return attribute
		}
		return p[1] + p[2] + p[3][:1] + m.hidden(html.UnescapeString(value), true) + p[3][:1]
	})
}

var event = regexp.MustCompile(`(?m)^(data:[ ]?)([{\[].*)$`)

// text masks what a text of any other kind says behind the names of secrets, as YAML does, and the JSON of server-sent
// events.
func (m *mask) text(body string, request bool) string {
	body = event.ReplaceAllStringFunc(body, func(line string) string {
		p := event.FindStringSubmatch(line)
		if out, ok := m.json(p[2], request); ok {
			return p[1] + out
		}
		return line
	})
	return redact.Pairs(body, func(name, value string) string {
		if !secretField(name, request) {
			return value
		}
		return m.hidden(value, true)
	})
}

// csv masks the columns whose names look like secrets.
func (m *mask) csv(body string, request bool) (string, bool) {
	r := csv.NewReader(strings.NewReader(body))
	r.FieldsPerRecord, r.LazyQuotes = -1, true
	if first, _, _ := strings.Cut(body, "\n"); !strings.Contains(first, ",") && strings.Contains(first, ";") {
		r.Comma = ';'
	}
	rows, err := r.ReadAll()
	if err != nil || len(rows) == 0 {
		return "", false
	}
	masked := false
	for column, name := range rows[0] {
		if !secretField(name, request) {
			continue
		}
		for _, row := range rows[1:] {
			if column < len(row) && row[column] != "" {
				row[column], masked = m.hidden(row[column], true), true
			}
		}
	}
	if !masked {
		return body, true
	}
	var out strings.Builder
	w := csv.NewWriter(&out)
	w.Comma = r.Comma
	err = w.WriteAll(rows)
	return out.String(), err == nil
}

// boundary replaces the boundaries of multipart bodies, because clients make a new one each time.
const boundary = "belaytest-boundary"

func (m *mask) multipart(kind, was, body string, request bool) (masked, newType string) {
	var out bytes.Buffer
	w := multipart.NewWriter(&out)
	_ = w.SetBoundary(boundary)
	r := multipart.NewReader(strings.NewReader(body), was)
	for {
		part, err := r.NextRawPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			return m.hidden(body, false), ""
		}
		data, err := io.ReadAll(part)
		if err != nil {
			return m.hidden(body, false), ""
		}
		text := string(data)
		if secretField(part.FormName(), request) {
			text = m.hidden(text, true)
		} else {
			text, _ = m.body(part.Header.Get("Content-Type"), text, request)
		}
		p, err := w.CreatePart(textproto.MIMEHeader(part.Header))
		if err == nil {
			_, err = io.WriteString(p, text)
		}
		if err != nil {
			return m.hidden(body, false), ""
		}
	}
	_ = w.Close()
	return out.String(), kind + "; boundary=" + boundary
}
