package belaytest

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/dnaeon/go-vcr.v3/cassette"

	"github.com/belay-go/belay/internal/redact"
)

// tokens are the forms of well-known credentials, wherever they stand.
var tokens = regexp.MustCompile(`\b(sk|rk)_(live|test)_[0-9A-Za-z]{10,}` + // Stripe
	`|\bgh[pousr]_[0-9A-Za-z]{20,}|\bgithub_pat_[0-9A-Za-z_]{20,}|\bglpat-[0-9A-Za-z_-]{15,}` +
	`|\bxox[abeoprs]-[0-9A-Za-z-]{10,}|\bxapp-[0-9A-Za-z-]{10,}` + // Slack
	`|\b(AKIA|ASIA)[0-9A-Z]{16}\b|\bAIza[0-9A-Za-z_-]{30,}|\bya29\.[0-9A-Za-z_-]{20,}` + // AWS, Google
	`|\bSG\.[0-9A-Za-z_-]{16,}\.[0-9A-Za-z_-]{16,}|\bshp(at|ca|pa|ss)_[0-9a-fA-F]{20,}|\bwhsec_[0-9A-Za-z+/=]{16,}` +
	`|\bpat-[a-z0-9]{2,4}-[0-9a-f-]{30,}` + // HubSpot
	`|\beyJ[0-9A-Za-z_-]{10,}\.eyJ[0-9A-Za-z_-]{5,}\.[0-9A-Za-z_-]{10,}` + // JWT
	`|-----BEGIN [A-Z ]*PRIVATE KEY`)

// exposed returns the places of recorded interactions in which something stands that looks like a secret: what a
// recording would mask, the form of a well-known credential, or one of Secrets, in whatever way it is escaped. It shows
// none of them.
func (c Cassette) exposed(all []*cassette.Interaction) (places []string) {
	for n, i := range all {
		place := func(what string) {
			p := fmt.Sprintf("interaction %d, %s", n, what)
			if !slices.Contains(places, p) {
				places = append(places, p)
			}
		}
		texts := map[string]string{
			"the URL": i.Request.URL, "the request's body": stored(i.Request.Body), "the answer's body": stored(i.Response.Body),
		}
		for who, h := range map[string]http.Header{"request": i.Request.Headers, "answer": i.Response.Headers} {
			for name, values := range h {
				texts["the "+who+"'s header "+name] = strings.Join(values, "\n")
			}
		}
		for what, text := range texts {
			if tokens.MatchString(redact.Decoded(text)) || redact.Holds(text, c.secrets()) {
				place(what)
			}
		}
		finds := func(what string, f func(m *mask)) {
			m := newMask(c)
			if f(m); len(m.marks) > 0 {
				place(what)
			}
		}
		finds("the URL", func(m *mask) { m.url(i.Request.URL) })
		for who, h := range map[string]http.Header{"request": i.Request.Headers, "answer": i.Response.Headers} {
			for name, values := range h {
				finds("the "+who+"'s header "+name, func(m *mask) { m.header(http.Header{name: values}, who == "request") })
			}
		}
		finds("the request's body", func(m *mask) { m.body(i.Request.Headers.Get("Content-Type"), stored(i.Request.Body), true) })
		finds("the answer's body", func(m *mask) { m.body(i.Response.Headers.Get("Content-Type"), stored(i.Response.Body), false) })
	}
	slices.Sort(places)
	return places
}

func (c Cassette) secrets() (all []string) {
	for _, s := range c.Secrets {
		if text := s.Reveal(); text != "" {
			all = append(all, text)
		}
	}
	return all
}

// usualAge is the age from which a cassette is reported.
const usualAge = 180 * 24 * time.Hour

// reportAge logs that a cassette is old, by the latest Date of its answers.
func (c Cassette) reportAge(t testing.TB, all []*cassette.Interaction, now time.Time) {
	t.Helper()
	var last time.Time
	for _, i := range all {
		if at, err := http.ParseTime(i.Response.Headers.Get("Date")); err == nil && at.After(last) {
			last = at
		}
	}
	oldest := c.MaxAge
	if oldest == 0 {
		oldest = usualAge
	}
	if age := now.Sub(last); oldest > 0 && !last.IsZero() && age > oldest {
		t.Logf("belaytest: the cassette %s is %d days old: record it again", c.Path, int(age/(24*time.Hour)))
	}
}

// inCI reports whether this is a build server, by the variable that most of them set. Tests of this package replace it.
var inCI = func() bool {
	switch strings.ToLower(os.Getenv("CI")) {
	case "", "0", "false", "no":
		return false
	}
	return true
}
