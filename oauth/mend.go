package oauth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/charset"
	"github.com/belay-go/belay/internal/errbody"
	"github.com/belay-go/belay/internal/redact"
)

// tokenAnswers is a transport that reads a token endpoint's answer whole, so that an answer that breaks off
// is a transport error. It also corrects answers that x/oauth2 would refuse, because a refresh token in one
// may be the only valid one.
type tokenAnswers struct {
	next   http.RoundTripper
	path   string // of the token in an answer
	asJSON bool   // requests are sent as JSON
}

// told is what a token endpoint said.
type told struct {
	status int
	fields map[string]json.RawMessage
}

type toldKey struct{}

// maxTokenAnswer is the most bytes of an answer that are read, after decompression. x/oauth2 reads no more
// either.
const maxTokenAnswer = 1 << 20

func (t tokenAnswers) RoundTrip(req *http.Request) (*http.Response, error) {
	if t.asJSON {
		var err error
		if req, err = inJSON(req); err != nil {
			return nil, err
		}
	}
	resp, err := t.next.RoundTrip(req)
	if err == nil && resp == nil {
		err = errors.New("the transport returned neither response nor error")
	}
	if err != nil {
		return nil, err
	}
	var data []byte
	if resp.Body != nil {
		data, err = io.ReadAll(io.LimitReader(resp.Body, maxTokenAnswer))
		_ = resp.Body.Close()
		if err != nil {
			return nil, fmt.Errorf("reading the answer: %w", err)
		}
	}
	data = mend(unwrap(data, t.path))
	if said, ok := req.Context().Value(toldKey{}).(*told); ok {
		*said = told{resp.StatusCode, fieldsOf(data)}
	}
	// x/oauth2 reads text/plain as a form, but that is also what a server sends that sets no Content-Type. Some send a
	// form as HTML.
	contentType := ""
	switch {
	case len(data) > 0 && data[0] == '{' && json.Valid(data):
		contentType = "application/json"
	case len(fieldsOf(data)) > 0:
		contentType = "application/x-www-form-urlencoded"
	}
	if contentType != "" {
		if resp.Header = resp.Header.Clone(); resp.Header == nil {
			resp.Header = make(http.Header)
		}
		resp.Header.Set("Content-Type", contentType)
	}
	resp.Body = io.NopCloser(bytes.NewReader(data))
	return resp, nil
}

// inJSON returns a clone of a token request with its form as a JSON object.
func inJSON(req *http.Request) (*http.Request, error) {
	form, err := io.ReadAll(req.Body)
	_ = req.Body.Close()
	if err != nil {
		return nil, err
	}
	values, err := url.ParseQuery(string(form))
	if err != nil {
		return nil, err
	}
	object := make(map[string]any, len(values))
	for name, v := range values {
		if object[name] = v; len(v) == 1 {
			object[name] = v[0]
		}
	}
	data, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	out := req.Clone(req.Context())
	out.Header.Set("Content-Type", "application/json")
	out.Body, out.ContentLength = io.NopCloser(bytes.NewReader(data)), int64(len(data))
	out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
	return out, nil
}

// tokenFields are the fields of a token answer (RFC 6749 section 5.1).
var tokenFields = [...]string{"access_token", "refresh_token", "expires_in", "token_type"}

// unwrap returns a JSON answer with the members of the object at path, and those around them that have other names. If
// there is an access token around the object, it and what belongs to it are of another grant and are left out. Without
// such an object it returns data.
func unwrap(data []byte, path string) []byte {
	if path == "" {
		return data
	}
	all := make(map[string]json.RawMessage)
	var level map[string]json.RawMessage
	if json.Unmarshal(charset.WithoutMark(data), &level) != nil {
		return data
	}
	for name := range strings.SplitSeq(path, ".") {
		maps.Copy(all, level)
		inner := level[name]
		delete(all, name)
		if level = nil; json.Unmarshal(inner, &level) != nil || level == nil {
			return data
		}
	}
	if all["access_token"] != nil {
		for _, name := range tokenFields {
			delete(all, name)
		}
	}
	maps.Copy(all, level)
	out, err := json.Marshal(all)
	if err != nil {
		return data
	}
	return out
}

// fieldsOf returns the members of a JSON answer, or the fields of a form as JSON.
func fieldsOf(data []byte) map[string]json.RawMessage {
	var fields map[string]json.RawMessage
	if json.Unmarshal(data, &fields) == nil {
		return fields
	}
	values, err := url.ParseQuery(string(data))
	if err != nil || !values.Has("access_token") {
		return nil
	}
	fields = make(map[string]json.RawMessage, len(values))
	for name := range values {
		fields[name], _ = json.Marshal(values.Get(name))
	}
	return fields
}

// text returns a field that is text, otherwise "".
func (t *told) text(name string) (s string) {
	_ = json.Unmarshal(t.fields[name], &s)
	return s
}

// leftover returns the token that an answer holds although it cannot be used: without an access token, for example, or
// with its fields at an unusual place. A refusal holds none.
func (t *told) leftover(e *belay.Error, asked time.Time) Token {
	if t.status < 200 || t.status > 299 || isFinal(e) {
		return Token{}
	}
	refresh := t.text("refresh_token")
	if refresh == "" {
		refresh = anywhere(t.fields, 0)
	}
	return Token{
		Access: belay.NewSecret(t.text("access_token")), Refresh: belay.NewSecret(refresh), Obtained: asked,
	}
}

// anywhere returns the first refresh token in the objects and arrays below fields.
func anywhere(fields map[string]json.RawMessage, depth int) string {
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		raw := fields[name]
		var s string
		var inner map[string]json.RawMessage
		var list []map[string]json.RawMessage
		switch {
		case canonical(name) == "refresh_token" && json.Unmarshal(raw, &s) == nil && s != "":
			return s
		case depth == 3:
			continue
		case json.Unmarshal(raw, &s) == nil && json.Unmarshal([]byte(s), &inner) == nil, json.Unmarshal(raw, &inner) == nil:
			s = anywhere(inner, depth+1)
		case json.Unmarshal(raw, &list) == nil && len(list) > 0:
			s = anywhere(list[0], depth+1)
		}
		if s != "" && len(inner)+len(list) > 0 {
			return s
		}
	}
	return ""
}

// canonical returns the name of a token field that is written in another way, such as accessToken, otherwise name.
func canonical(name string) string {
	plain := strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(name))
	for _, field := range tokenFields {
		if plain == strings.ReplaceAll(field, "_", "") {
			return field
		}
	}
	return name
}

// explain adds to the error of an answer that is no token what the answer says, if it says an error in its own way.
func (t *told) explain(e *belay.Error, secrets []string) {
	if e.Code != badToken || len(t.fields) == 0 {
		return
	}
	data, _ := json.Marshal(t.fields)
	info := errbody.Decode(data, append(slices.Clip(secrets), t.secrets()...))
	if info.Code != "" && info.Code != "0" {
		e.Code = info.Code
	}
	if info.Message != "" {
		e.Message += " (" + info.Message + ")"
	}
}

// secrets returns the credentials in the answer.
func (t *told) secrets() []string {
	data, _ := json.Marshal(t.fields)
	return redact.InBody("application/json", data)
}

// extra returns the fields for Token.Extra.
func (t *told) extra() map[string]belay.Secret {
	extra := make(map[string]belay.Secret)
	for name, raw := range t.fields {
		switch name {
		case "access_token", "refresh_token", "token_type", "expires_in", "error", "error_description", "error_uri":
			continue
		}
		text := string(raw)
		if len(raw) > 0 && raw[0] == '"' {
			text = t.text(name)
		}
		extra[name] = belay.NewSecret(text)
	}
	if len(extra) == 0 {
		return nil
	}
	return extra
}

// mend corrects the fields of a JSON answer. accessToken and the like get their standard names. expires_in becomes a
// whole number, 0 if it is no number. An error that is not text becomes its code; false and null are removed, and so is
// any other field that should be text but is not. Data that needs no correction, or is not JSON, is returned as it is.
func mend(data []byte) []byte {
	trimmed := bytes.TrimSpace(charset.WithoutMark(data))
	var fields map[string]json.RawMessage
	if len(trimmed) == 0 || trimmed[0] != '{' || json.Unmarshal(trimmed, &fields) != nil {
		return data
	}
	changed := len(trimmed) != len(data)
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if field := canonical(name); field != name && fields[field] == nil {
			fields[field], changed = fields[name], true
			delete(fields, name)
		}
	}
	for _, name := range [...]string{"token_type", "access_token", "refresh_token", "error", "error_description", "error_uri"} {
		raw, ok := fields[name]
		if !ok || raw[0] == '"' && (name != "error" || len(fields["access_token"]) == 0 || string(raw) != `"none"`) {
			continue
		}
		changed = true
		delete(fields, name)
		if strings.HasSuffix(name, "_token") && (raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9') {
			fields[name], _ = json.Marshal(string(raw)) // a number is a token, too
		}
		if name == "error" && !slices.Contains([]string{"false", "null", "0", "{}", "[]", `"none"`}, string(raw)) {
			code := errbody.Decode(trimmed, nil).Code
			if code == "" {
				code = "error"
			}
			fields[name], _ = json.Marshal(code)
		}
	}
	if raw, ok := fields["expires_in"]; ok {
		seconds, err := strconv.ParseFloat(strings.Trim(string(raw), `" `), 64)
		whole := []byte("0")
		if err == nil && !math.IsNaN(seconds) {
			whole = strconv.AppendInt(nil, int64(max(-1, min(seconds, math.MaxInt32))), 10)
		}
		if changed = changed || !bytes.Equal(raw, whole); changed {
			fields["expires_in"] = whole
		}
	}
	if !changed {
		return data
	}
	out, err := json.Marshal(fields)
	if err != nil {
		return data
	}
	return out
}
