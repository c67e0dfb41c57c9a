package testkit

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
)

// Canary is a credential that must appear nowhere.
const Canary = "s3cr3t+canary/0123456789=="

// sightings are the forms in which the canary could appear.
var sightings = []string{
	Canary, url.QueryEscape(Canary), url.PathEscape(Canary),
	base64.StdEncoding.EncodeToString([]byte("user:" + Canary)), base64.StdEncoding.EncodeToString([]byte(Canary)),
	base64.StdEncoding.EncodeToString([]byte(Canary + ":")),
	fmt.Sprint([]byte(Canary)),
}

// Seen reports whether text holds the canary in any of its forms.
func Seen(text string) bool {
	for _, s := range sightings {
		if strings.Contains(text, s) {
			return true
		}
	}
	return false
}
