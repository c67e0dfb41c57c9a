// Package errbody reads the bodies of error answers: the beginning of them, and the code, message and fields
// that partners put there.
package errbody

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/belay-go/belay/internal/charset"
	"github.com/belay-go/belay/internal/redact"
)

// Info is the content of an error body. Every text is one line of bounded length.
type Info struct {
	Code, Message, RequestID string
	// Scope is the permission that is missing, if the partner names it.
	Scope string
	// Fields are the complaints by field, at most 50; nil if there are none.
	Fields map[string]string
	// RetryAfter is the wait that a field of the body asks for, and RetryAt the time until which it asks for one; zero
	// if it asks for none.
	RetryAfter time.Duration
	RetryAt    time.Time
	// Said is the wait that a sentence of the body asks for.
	Said struct {
		After time.Duration
		At    time.Time
	}
	// Limit is true if the body says that the call was too fast or that a quota is used up.
	Limit bool
	// Renew is true if the body says that the credential has ended, and Expired if it names the access token.
	Renew, Expired bool
	// InUse is true if the body says that a call with the same idempotency key is in progress.
	InUse bool
}

const (
	maxText   = 300
	maxFields = 50
)

// limitCodes are the codes of partners that answer 403 where others answer 429, without "_" and "-" and in lower case.
var limitCodes = map[string]bool{
	"ratelimited": true, "ratelimitexceeded": true, "userratelimitexceeded": true, "quotaexceeded": true,
	"requestlimitexceeded": true, "resourceexhausted": true, "throttled": true, "ratelimit": true, "dailylimitexceeded": true,
	"toomanyrequests": true, "overratelimit": true, "throttling": true, "throttlingexception": true, "requestthrottled": true,
	"toomanyrequestsexception": true,
}

// Decode reads the common shapes of error bodies: problem+json (RFC 9457), {"error":{…}} (Stripe, Google),
// {"error":"…"} with error_description (RFC 6749 section 5.2), {"message":…} (GitHub, HubSpot, Notion,
// Attio), {"errors":[…]} and JSON:API, {"errors":{field:[…]}} (Shopify), and an array of errors (Salesforce).
//
// A body of another shape, or one that is not JSON, gives the zero Info. Secrets are removed from the body
// first, because a text that is cut short could otherwise show a part of one.
func Decode(body []byte, secrets []string) Info {
	var in Info
	if len(secrets) > 0 && len(body) > 0 {
		body = []byte(redact.Values(string(body), secrets))
	}
	body = bytes.TrimSpace(charset.WithoutMark(body))
	if len(body) == 0 {
		return in
	}
	switch body[0] {
	case '{':
		var m map[string]json.RawMessage
		if json.Unmarshal(body, &m) == nil {
			in.object(m, 0)
		}
	case '[':
		in.list(body)
	case '<':
		in.xml(body)
	}
	in.clean(secrets)
	if in.Message == "" { // without a message, the complaints by field are joined
		var all []string
		for _, name := range slices.Sorted(maps.Keys(in.Fields)) {
			all = append(all, name+": "+in.Fields[name])
		}
		in.Message = redact.Line(strings.Join(all, "; "), maxText)
	}
	said := in.Message
	if body[0] != '{' && body[0] != '[' && len(body) <= 4<<10 { // a sentence
		said = string(body)
	}
	in.said(said)
	in.meaning(said)
	return in
}

// clean removes the secrets from all texts, and then cuts them: a text that was cut first could show a part of one.
func (in *Info) clean(secrets []string) {
	line := func(s string, limit int) string { return redact.Line(redact.Values(s, secrets), limit) }
	in.Code, in.Message = line(in.Code, maxText), line(in.Message, maxText)
	in.RequestID, in.Scope = line(in.RequestID, maxText), line(in.Scope, maxText)
	fields := in.Fields
	if in.Fields = nil; len(fields) > 0 {
		in.Fields = make(map[string]string, len(fields))
		for name, s := range fields {
			in.Fields[line(name, 100)] = line(s, maxText)
		}
	}
}

func (in *Info) object(m map[string]json.RawMessage, depth int) {
	if m["explanation"] != nil { // Reddit
		set(&in.Code, m, "reason")
		set(&in.Message, m, "explanation")
	}
	for _, n := range [...]string{"code", "errorCode", "error_code", "errorType", "error_type", "category", "status", "type", "__type"} {
		if s := text(m[n]); in.Code == "" && !isStatus(s) {
			in.Code = s
		}
	}
	if raw := m["sys"]; len(raw) > 0 { // Contentful
		var sys map[string]json.RawMessage
		if json.Unmarshal(raw, &sys) == nil && text(sys["type"]) == "Error" {
			set(&in.Code, sys, "id")
		}
	}
	if m["msg"] != nil && m["detail"] != nil { // Fastly: the detail is the sentence, msg the kind
		set(&in.Code, m, "msg")
	}
	set(&in.Message, m, "message", "Message")
	in.sentences(m["message"])       // NestJS
	in.sentences(m["errorMessages"]) // Jira
	set(&in.Message, m, "detail", "error_description", "title", "description", "error_message", "reason", "msg")
	set(&in.RequestID, m, "request_id", "requestId", "correlationId", "correlation_id", "trackingId",
		"errorId", "RequestId") // Okta, Mews
	set(&in.Scope, m, "needed", "missing_scope", "required_scope")
	in.waits(m)
	for _, name := range [...]string{"extensions", "details", "data", "meta"} { // GraphQL and others
		var inner map[string]json.RawMessage
		if raw := m[name]; len(raw) > 0 && raw[0] == '{' && json.Unmarshal(raw, &inner) == nil {
			in.waits(inner)
			set(&in.RequestID, inner, "request_id", "ruid") // monday, Booking.com
			if name == "extensions" {
				set(&in.Code, inner, "code")
			}
		}
	}
	if raw := m["error"]; len(raw) > 0 && depth < 3 {
		switch raw[0] {
		case '{':
			var inner map[string]json.RawMessage
			if json.Unmarshal(raw, &inner) == nil {
				outer := *in
				in.Code, in.Message = "", ""
				in.object(inner, depth+1)
				if in.Message == "" {
					in.Message = outer.Message
				}
				if in.Code == "" {
					in.Code = outer.Code
				}
			}
		case '"':
			if s := text(raw); in.Message == "" && strings.ContainsRune(s, ' ') {
				in.Message = s
			} else if n, _ := strconv.Atoi(text(m["statusCode"])); n > 0 && s == http.StatusText(n) { // NestJS
				break
			} else if s != "" && (in.Code == "" || m["error_description"] != nil) {
				in.Code = s
			}
		}
	}
	if raw := m["errors"]; len(raw) > 0 {
		in.errors(raw)
	}
	for _, name := range [...]string{"invalid_params", "invalid-params", "detail"} { // RFC 9457, FastAPI
		if raw := m[name]; len(raw) > 0 && raw[0] == '[' {
			in.list(raw)
		}
	}
	if raw := m["details"]; len(raw) > 0 && raw[0] == '[' {
		in.googleDetails(raw)
		in.complaints(raw)
	}
	if p := text(m["param"]); p != "" {
		in.field(p, in.Message)
	}
}

func (in *Info) errors(raw json.RawMessage) {
	switch raw[0] {
	case '"':
		if in.Message == "" {
			in.Message = text(raw)
		}
	case '[':
		in.list(raw)
	case '{':
		var m map[string]json.RawMessage
		if json.Unmarshal(raw, &m) != nil {
			return
		}
		for name, v := range m {
			var many []string
			if json.Unmarshal(v, &many) == nil {
				in.field(name, strings.Join(many, "; "))
			} else if s := text(v); s != "" {
				in.field(name, s)
			}
		}
	}
}

// sentences takes the message from an array of texts.
func (in *Info) sentences(raw json.RawMessage) {
	var all []string
	if in.Message == "" && len(raw) > 0 && raw[0] == '[' && json.Unmarshal(raw, &all) == nil {
		in.Message = strings.Join(all[:min(len(all), maxFields)], "; ")
	}
}

// list reads an array of errors. Each one is an object or a sentence.
func (in *Info) list(raw json.RawMessage) {
	var items []json.RawMessage
	if json.Unmarshal(raw, &items) != nil {
		return
	}
	for i, item := range items {
		if i == maxFields {
			return
		}
		if s := text(item); s != "" && item[0] == '"' {
			if in.Message == "" {
				in.Message = s
			}
			continue
		}
		var m map[string]json.RawMessage
		if json.Unmarshal(item, &m) != nil {
			continue
		}
		var one Info
		in.waits(m)
		var extensions map[string]json.RawMessage // GraphQL
		if json.Unmarshal(m["extensions"], &extensions) == nil {
			in.waits(extensions)
		}
		set(&one.Code, m, "code", "errorCode", "reason", "type", "error_type", "category")
		set(&one.Code, extensions, "code")
		set(&one.Message, m, "detail", "message", "title", "reason", "description", "msg")
		if one.Message == "" {
			one.Message = one.Code
		}
		if in.Code == "" {
			in.Code = one.Code
		}
		if in.Message == "" {
			in.Message = one.Message
		}
		in.field(fieldName(m), one.Message)
		var names []string
		if json.Unmarshal(m["fields"], &names) == nil {
			for _, n := range names {
				in.field(n, one.Message)
			}
		}
	}
}

func fieldName(m map[string]json.RawMessage) string {
	var name string
	set(&name, m, "field", "name", "param", "in", "path")
	if name != "" {
		return name
	}
	var loc []any // FastAPI: ["body","customer","email"]
	if json.Unmarshal(m["loc"], &loc) == nil && len(loc) > 0 {
		parts := make([]string, len(loc))
		for i, part := range loc {
			parts[i] = fmt.Sprint(part)
		}
		return strings.Join(parts[min(1, len(parts)-1):], ".")
	}
	var source map[string]json.RawMessage
	if json.Unmarshal(m["source"], &source) == nil {
		set(&name, source, "pointer", "parameter", "header")
	}
	return name
}

// complaints reads an array of objects. Each one may be about a field.
func (in *Info) complaints(raw json.RawMessage) {
	var items []map[string]json.RawMessage
	if json.Unmarshal(raw, &items) != nil {
		return
	}
	for i := 0; i < min(len(items), maxFields); i++ {
		m := items[i]
		if inner := m["fieldViolations"]; len(inner) > 0 { // google.rpc.BadRequest
			var violations []map[string]json.RawMessage
			if json.Unmarshal(inner, &violations) == nil {
				items = append(items, violations...)
			}
			continue
		}
		var message string
		set(&message, m, "message", "detail", "description", "issue", "reason", "title")
		if message != "" {
			in.field(fieldName(m), message)
		}
	}
}

// googleDetails reads google.rpc.ErrorInfo and google.rpc.RetryInfo.
func (in *Info) googleDetails(raw json.RawMessage) {
	var details []struct {
		Reason     string `json:"reason"`
		RetryDelay string `json:"retryDelay"`
	}
	if json.Unmarshal(raw, &details) != nil {
		return
	}
	for _, d := range details {
		if d.Reason != "" {
			in.Code = d.Reason
		}
		if w, err := time.ParseDuration(d.RetryDelay); err == nil && w > 0 && w < 366*24*time.Hour {
			in.RetryAfter = w
		}
	}
}

func (in *Info) field(name, message string) {
	if name == "" || len(in.Fields) >= maxFields {
		return
	}
	if in.Fields == nil {
		in.Fields = make(map[string]string)
	}
	if _, seen := in.Fields[name]; !seen {
		in.Fields[name] = message
	}
}

// set stores in to the first text that m has under names, unless to holds a text already.
func set(to *string, m map[string]json.RawMessage, names ...string) {
	for _, n := range names {
		if *to != "" {
			return
		}
		*to = text(m[n])
	}
}

// text returns a JSON string or number as one line of bounded length, or "" for any other value.
func text(raw json.RawMessage) string {
	if len(raw) == 0 || raw[0] == '{' || raw[0] == '[' || raw[0] == 'n' || raw[0] == 't' || raw[0] == 'f' {
		return ""
	}
	if raw[0] != '"' {
		return redact.Line(string(raw), 40)
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return strings.TrimSpace(s)
}

// isStatus reports whether code only repeats the status line, or says nothing.
func isStatus(code string) bool {
	if code == "error" || code == "about:blank" {
		return true
	}
	n, err := strconv.Atoi(code)
	return err == nil && n >= 100 && n < 600
}
