package belaytest

import (
	"bytes"
	"encoding/json"
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
	default:
		return body, ""
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
		for name, value := range v {
			new, changed := m.walk(value, inside || secretField(name, request), request)
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

var (
	xmlElement   = regexp.MustCompile(`<([A-Za-z_][\w:.-]*)(\s[^<>]*)?>([^<]+)</`)
	xmlAttribute = regexp.MustCompile(`([A-Za-z_][\w:.-]*)(\s*=\s*)("[^"<]*"|'[^'<]*')`)
)

// xml masks the text of the elements and the attributes whose names look like secrets.
func (m *mask) xml(body string, request bool) string {
	secret := func(name string) bool {
		if i := strings.LastIndexByte(name, ':'); i >= 0 {
			name = name[i+1:]
		}
		return secretField(name, request)
	}
	body = xmlElement.ReplaceAllStringFunc(body, func(element string) string {
		p := xmlElement.FindStringSubmatch(element)
		if !secret(p[1]) || strings.TrimSpace(p[3]) == "" {
			return element
		}
		return "<" + p[1] + p[2] + ">" + m.hidden(html.UnescapeString(strings.TrimSpace(p[3])), true) + "</"
	})
	return xmlAttribute.ReplaceAllStringFunc(body, func(attribute string) string {
		p := xmlAttribute.FindStringSubmatch(attribute)
		value := p[3][1 : len(p[3])-1]
		if !secret(p[1]) || value == "" || p[1] == "xmlns" {
			return attribute
		}
		return p[1] + p[2] + p[3][:1] + m.hidden(html.UnescapeString(value), true) + p[3][:1]
	})
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
