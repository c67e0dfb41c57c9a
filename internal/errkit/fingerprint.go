package errkit

import "regexp"

// varying matches what differs between errors of the same kind: quoted texts, addresses, ids and numbers.
var varying = regexp.MustCompile(`"[^"]*"|'[^']*'|[0-9a-fA-F]{8,}|[A-Za-z_-]*[0-9][0-9A-Za-z_.:-]*`)

// Fingerprint returns an error's text without what differs from one failure to the next.
func Fingerprint(text string) string { return varying.ReplaceAllString(text, "#") }
