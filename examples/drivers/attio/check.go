package attio

import (
	"fmt"
	"net/mail"
	"strings"

	"github.com/nyaruka/phonenumbers"
	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"

	"github.com/belay-go/belay"
)

// values returns the values of a person, checked.
func (p *Person) values() (map[string]any, error) {
	email, err := checkEmail(p.Email)
	if err != nil {
		return nil, fmt.Errorf("attio: Person.Email: %w", err)
	}
	values := map[string]any{"email_addresses": []string{email}}
	if p.Name != "" {
		values["name"] = p.Name
	}
	if p.Phone != "" {
		phone, err := checkPhone(p.Phone, p.Country)
		if err != nil {
			return nil, fmt.Errorf("attio: Person.Phone: %w", err)
		}
		values["phone_numbers"] = []string{phone}
	}
	if p.Company != "" {
		if _, err := checkDomain(p.Company); err != nil {
			return nil, fmt.Errorf("attio: Person.Company: %w", err)
		}
	}
	return values, nil
}

// checkEmail returns an address without a name, with its domain in small letters.
func checkEmail(text string) (string, error) {
	a, err := mail.ParseAddress(text)
	if err != nil || a.Address != strings.TrimSpace(text) {
		return "", fmt.Errorf("%q is no e-mail address: %w", text, belay.ErrInvalid)
	}
	at := strings.LastIndexByte(a.Address, '@')
	domain, err := checkDomain(a.Address[at+1:])
	if err != nil {
		return "", err
	}
	return a.Address[:at+1] + domain, nil
}

// checkDomain returns a domain as DNS writes it. It must be beneath a suffix that is known (publicsuffix.org).
func checkDomain(text string) (string, error) {
	domain, err := idna.Lookup.ToASCII(strings.TrimSuffix(strings.TrimSpace(text), "."))
	if err == nil {
		_, err = publicsuffix.EffectiveTLDPlusOne(domain)
	}
	if suffix, known := publicsuffix.PublicSuffix(domain); err != nil || !known && !strings.Contains(suffix, ".") {
		return "", fmt.Errorf("%q is no domain: %w", text, belay.ErrInvalid)
	}
	return domain, nil
}

// checkPhone returns a phone number in the form of E.164.
func checkPhone(text, country string) (string, error) {
	n, err := phonenumbers.Parse(text, country)
	if err != nil || !phonenumbers.IsValidNumber(n) {
		return "", fmt.Errorf("%q is no phone number in %q: %w", text, country, belay.ErrInvalid)
	}
	return phonenumbers.Format(n, phonenumbers.E164), nil
}
