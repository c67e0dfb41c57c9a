package webhook

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/delivery"
)

const maxFormFields = 2000

// urls returns the forms of the URL raw that the partner may have signed.
func (s *Scheme) urls(raw string) ([]string, error) {
	if s.writings == nil {
		return []string{raw}, nil
	}
	return s.writings(raw)
}

// asTwilio returns the forms of raw that Twilio may have signed: with its default port (443 or 80) and without, and
// with the characters @, : and ' as they are or escaped, because Twilio signs some requests before it escapes them. A
// user and password may be signed or not.
func asTwilio(raw string) ([]string, error) {
	var all []string
	for _, u := range withPort(raw) {
		scheme, rest, _ := strings.Cut(u, "://")
		host := rest
		if i := strings.IndexAny(rest, "/?"); i >= 0 {
			host = rest[:i]
		}
		after := rest[len(host):]
		hosts := []string{host}
		if at := strings.LastIndexByte(host, '@'); at >= 0 {
			hosts = append(hosts, host[at+1:])
			name, password, _ := strings.Cut(host[:at], ":")
			for _, user := range twilioWritings(name) {
				if form := user + ":" + password + host[at:]; !slices.Contains(hosts, form) {
					hosts = append(hosts, form)
				}
			}
		}
		for _, host := range hosts {
			for _, path := range twilioWritings(after) {
				if form := scheme + "://" + host + path; !slices.Contains(all, form) {
					all = append(all, form)
				}
			}
		}
	}
	return all, nil
}

// twilioWritings returns the writings of s with each of @, : and ' as it is sent, plain, or escaped.
func twilioWritings(s string) []string {
	forms := []string{s}
	for _, c := range [...]struct{ plain, escaped string }{{"@", "%40"}, {":", "%3A"}, {"'", "%27"}} {
		for _, form := range slices.Clone(forms) {
			plain := strings.NewReplacer(c.escaped, c.plain, strings.ToLower(c.escaped), c.plain).Replace(form)
			for _, other := range [...]string{plain, strings.ReplaceAll(plain, c.plain, c.escaped)} {
				if !slices.Contains(forms, other) {
					forms = append(forms, other)
				}
			}
		}
	}
	return forms
}

// withPort returns raw, and raw with its default port added or removed. A URL with any other port is returned alone.
func withPort(raw string) []string {
	scheme, rest, _ := strings.Cut(raw, "://")
	port := map[string]string{"https": ":443", "http": ":80"}[scheme]
	host := rest
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		host = rest[:i]
	}
	path := rest[len(host):]
	if bare, ok := strings.CutSuffix(host, port); ok {
		return []string{raw, scheme + "://" + bare + path}
	}
	if u, err := url.Parse(raw); err != nil || u.Port() != "" {
		return []string{raw}
	}
	return []string{raw, scheme + "://" + host + port + path}
}

// parameter returns the value of a query parameter, "" if there is none. Several values are an error.
func (in *incoming) parameter(name string) (string, error) {
	_, raw, _ := strings.Cut(in.url, "?")
	query, err := url.ParseQuery(raw)
	if err != nil || len(query[name]) > 1 {
		return "", fmt.Errorf("%w: the query, or more than one %s in it", belay.ErrMalformedSignature, name)
	}
	return query.Get(name), nil
}

// asShopifyProxy returns what Shopify signs of the query of an app proxy: all parameters but the signature, sorted,
// with nothing between them.
func asShopifyProxy(raw string) ([]string, error) { return sortedQuery(raw, "", "signature") }

// asShopifyCallback returns what Shopify signs of the query of its OAuth callback: all parameters but the signature,
// sorted. Its libraries differ in whether they escape the values.
func asShopifyCallback(raw string) ([]string, error) {
	return sortedQuery(raw, "&", "hmac", "signature")
}

// sortedQuery returns the parameters of raw's query, sorted and joined by separator, without those of the names in
// without: as they are, escaped, and as in a form.
func sortedQuery(raw, separator string, without ...string) ([]string, error) {
	_, query, _ := strings.Cut(raw, "?")
	values, err := url.ParseQuery(query)
	if err != nil || len(values) > maxFormFields {
		return nil, fmt.Errorf("%w: the query", belay.ErrMalformedSignature)
	}
	var plain, escaped, form []string // form: with plus signs for blanks
	for name, all := range values {
		if slices.Contains(without, name) {
			continue
		}
		value := strings.Join(all, ",")
		plain = append(plain, name+"="+value)
		escaped = append(escaped, name+"="+strings.ReplaceAll(url.QueryEscape(value), "+", "%20"))
		form = append(form, name+"="+url.QueryEscape(value))
	}
	var forms []string
	for _, pairs := range [...][]string{plain, escaped, form} {
		slices.Sort(pairs)
		if s := strings.Join(pairs, separator); len(forms) == 0 || separator != "" && !slices.Contains(forms, s) {
			forms = append(forms, s)
		}
	}
	return forms, nil
}

// withoutEscapes returns raw, and raw with some escapes decoded: HubSpot's documentation decodes them, its
// libraries do not. A semicolon in the query is an error. Decoded, ";" and "%3B" would have the same
// signature, but a program that reads the query may treat them differently.
func withoutEscapes(raw string) ([]string, error) {
	if _, query, _ := strings.Cut(raw, "?"); strings.Contains(query, ";") {
		return nil, fmt.Errorf("%w: a semicolon in the query", belay.ErrMalformedSignature)
	}
	if plain := hubSpotEscapes.Replace(raw); plain != raw {
		return []string{raw, plain}, nil
	}
	return []string{raw}, nil
}

var hubSpotEscapes = strings.NewReplacer(
	"%3A", ":", "%2F", "/", "%3F", "?", "%40", "@", "%21", "!", "%24", "$", "%27", "'", "%28", "(",
	"%29", ")", "%2A", "*", "%2C", ",", "%3B", ";", "%3a", ":", "%2f", "/", "%3f", "?", "%2a", "*", "%2c", ",", "%3b", ";",
)

// readForm returns a form's fields as Twilio signs them: sorted by name, each name followed by its value
// without a separator. Several values of one name are sorted, and each different value counts once.
//
// A body that is not a form is signed by its SHA-256 hash in the URL's query, as bodySHA256. A hash in the
// query that does not match the body is an ErrBadSignature. If the query has none, readForm adds it to
// in.url, so that the signature always covers the body.
func (in *incoming) readForm() (string, error) {
	kind, err := delivery.MediaType(in.header)
	if err != nil {
		return "", err
	}
	form := kind == "application/x-www-form-urlencoded"
	u, err := url.Parse(in.url)
	if err != nil {
		return "", fmt.Errorf("%w: the URL", belay.ErrMalformedSignature)
	}
	const param = "bodySHA256"
	sum := sha256.Sum256(in.body)
	want := hex.EncodeToString(sum[:])
	if query, _ := url.ParseQuery(u.RawQuery); query.Has(param) {
		if subtle.ConstantTimeCompare([]byte(strings.ToLower(query.Get(param))), []byte(want)) != 1 {
			return "", fmt.Errorf("%w: the body is not the one that %s names", belay.ErrBadSignature, param)
		}
	} else if !form && len(in.body) > 0 {
		separator := "?"
		if u.RawQuery != "" {
			separator = "&"
		}
		in.url += separator + param + "=" + want
	}
	if !form {
		return "", nil
	}
	if bytes.Count(in.body, []byte("&")) >= maxFormFields {
		return "", fmt.Errorf("%w: more than %d form fields", belay.ErrMalformedSignature, maxFormFields)
	}
	fields, err := url.ParseQuery(string(in.body))
	if err != nil {
		return "", fmt.Errorf("%w: the form cannot be read", belay.ErrMalformedSignature)
	}
	var b strings.Builder
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		values := fields[name]
		slices.Sort(values)
		for _, value := range slices.Compact(values) {
			b.WriteString(name)
			b.WriteString(value)
		}
	}
	return b.String(), nil
}

// checkURL returns an error if raw cannot be the full URL of an endpoint. With withUser it may hold a user.
func checkURL(raw string, withUser bool) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Hostname() == "" || u.User != nil && !withUser || strings.ContainsAny(raw, " \t\r\n") ||
		strings.HasSuffix(u.Host, ":"), strings.HasSuffix(raw, "?"),
		!strings.HasPrefix(raw, "https://") && !strings.HasPrefix(raw, "http://"):
		return errors.New("it must be the endpoint's, in full and as the partner calls it")
	case strings.Contains(raw, "#"):
		return errors.New("it must be without what follows #, which is not sent")
	}
	return nil
}

// shownURL returns raw as errors show it: without query and fragment, and "REDACTED" where it has a user or
// no scheme, as it may then hold a secret.
func shownURL(raw string) string {
	before := raw
	if i := strings.IndexAny(raw, "?#"); i >= 0 {
		before = raw[:i]
	}
	if raw != "" && !strings.Contains(before, "://") || strings.Contains(before, "@") {
		return "REDACTED"
	}
	return before
}
