package partners_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/belay-go/belay/partners"
)

var update = flag.Bool("update", false, "write docs/partners.md")

// docs/partners.md is made from the values: go test ./partners -run TestPage -update
func TestPage(t *testing.T) {
	t.Parallel()
	page := pageOf(partners.All())
	if *update {
		if err := os.WriteFile("../docs/partners.md", []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile("../docs/partners.md")
	if err != nil || string(have) != page {
		t.Error("the page is not as the values: go test ./partners -run TestPage -update", err)
	}
}

func pageOf(all []*partners.Partner) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Partners\n\nWhat is publicly known of %d partners, from package [partners](../partners). This page is generated from its values.\n"+
		"A number is the source, listed below each partner. What was looked for and not found is named, and so is each value that is missing; nothing is guessed.\n"+
		"The tier is our own judgment: 1 is great, 2 usual, 3 painful.\n\n", len(all))
	b.WriteString("| partner | tier | calls are authenticated by | limit that clients get | lists | webhooks | seen |\n| --- | --- | --- | --- | --- | --- | --- |\n")
	for _, p := range all {
		var auth, limits, lists []string
		for _, a := range p.Auth {
			if !slices.Contains(auth, a.Kind) {
				auth = append(auth, a.Kind)
			}
		}
		for _, l := range p.Limits {
			if l.Default {
				text := limitText(&l)
				if l.When != nil {
					text += ", " + l.Where
				}
				limits = append(limits, text)
			}
		}
		for _, l := range p.Lists {
			if kind := kindOf(l.How); !slices.Contains(lists, kind) {
				lists = append(lists, kind)
			}
		}
		signed := ""
		if p.Webhooks.Scheme != nil {
			signed = "verified"
		}
		fmt.Fprintf(&b, "| [%s](#%s) | %d | %s | %s | %s | %s | %s |\n", p.Title, anchor(p.Title), p.Tier, strings.Join(auth, ", "), strings.Join(limits, "; "),
			strings.Join(lists, ", "), signed, p.Seen)
	}
	for _, p := range all {
		section(&b, p)
	}
	return b.String()
}

// anchor returns the place of a title, as GitHub makes it.
func anchor(title string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-':
			return r
		}
		return -1
	}, strings.ToLower(title))
}

func kindOf(how any) string {
	name := strings.TrimSuffix(reflect.TypeOf(how).Name(), "Pages")
	switch name {
	case "dropbox", "eventbrite": // each a CursorPages with a way of its own
		return "Cursor"
	}
	return name
}

func cite(from string) string {
	if from == "" {
		return ""
	}
	return " [" + strings.Join(strings.Fields(from), "] [") + "]"
}

func limitText(l *partners.Limit) string {
	of := "calls"
	if l.Of != "" {
		of = l.Of
	}
	if l.Per == 0 {
		return fmt.Sprintf("%d %s", l.N, of)
	}
	return fmt.Sprintf("%d %s in %s", l.N, of, span(l.Per))
}

func span(d time.Duration) string {
	for _, unit := range []struct {
		d    time.Duration
		name string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}, {time.Second, "second"}} {
		if n := d / unit.d; n > 0 && d%unit.d == 0 {
			if n == 1 {
				return map[bool]string{true: "an ", false: "a "}[unit.name == "hour"] + unit.name
			}
			return fmt.Sprintf("%d %ss", n, unit.name)
		}
	}
	return d.String()
}

func section(b *strings.Builder, p *partners.Partner) {
	fmt.Fprintf(b, "\n## %s\n\n[Documentation](%s), read on %s. `partners.%s`\n\n", p.Title, p.Docs, p.Seen, variable(p))
	line := func(what, text, from string) {
		if strings.TrimSpace(text) != "" {
			fmt.Fprintf(b, "- %s: %s%s\n", what, strings.TrimSpace(text), cite(from))
		}
	}
	facts := func(what string, all []partners.Fact) {
		for _, f := range all {
			line(what, f.Text, f.From)
		}
	}
	join := func(parts ...string) string {
		return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "; ")
	}
	code := func(what, value string) string {
		if value == "" {
			return ""
		}
		return strings.TrimSpace(what + " `" + value + "`")
	}
	line("Address", join(code("", p.Base.URL), code("sandbox", p.Base.Sandbox)), p.Base.From)
	for _, h := range p.Base.Headers {
		line("Header", "`"+h.Name+": "+h.Value+"`", p.Base.From)
	}
	for _, a := range p.Auth {
		line("Auth", join(strings.TrimSpace(a.Kind+" "+code("", a.Name)), a.Text), a.From)
	}
	o := p.OAuth
	yes := map[partners.Known]string{partners.Yes: "yes", partners.No: "no"}
	life := func(what string, d time.Duration) string {
		switch {
		case d < 0:
			return what + " without end"
		case d > 0:
			return what + " for " + span(d)
		}
		return ""
	}
	pkce, rotates, style := "", "", ""
	if o.PKCE != partners.NotKnown {
		pkce = "PKCE: " + yes[o.PKCE]
	}
	if o.Rotates != partners.NotKnown {
		rotates = "a refresh token works once: " + yes[o.Rotates]
	}
	if o.StyleKnown {
		style = []string{"client authenticates in the body", "client authenticates by Basic"}[o.Style]
	}
	line("OAuth", join(code("consent", o.AuthURL), code("token", o.TokenURL), code("refresh", o.RefreshURL), code("revoke", o.RevokeURL), style, pkce,
		life("access tokens", o.Access), life("refresh tokens", o.Refresh), rotates,
		code("scopes separated by", o.Separator), keep(o.Keep)), o.From)
	limits := func(what, applied string, all []partners.Limit) {
		for _, l := range all {
			text := limitText(&l)
			if l.For != "" {
				text += ", for each " + l.For
			}
			line(what, join(text, l.Plan, l.Where, map[bool]string{true: "observed"}[l.Observed], map[bool]string{true: applied}[l.Default]), l.From)
		}
	}
	limits("OAuth limit", "**applied by OAuthConfig**", o.Limits)
	facts("OAuth", o.Notes)
	limits("Limit", "**applied by Options**", p.Limits)
	facts("Waits", p.Waits)
	for _, l := range p.Lists {
		most := ""
		if l.Most > 0 {
			most = fmt.Sprintf("at most %d a page", l.Most)
		}
		line("List `"+l.Name+"`", join(kindOf(l.How), most, l.Text), l.From)
	}
	e := p.Errors
	line("Errors", join(code("code", e.Code), code("message", e.Message), code("request id", e.RequestID), code("header", e.RequestHeader),
		map[bool]string{true: "with a classifier"}[e.Classify != nil]), e.From)
	facts("Errors", e.Notes)
	if p.Idempotency.Header != "" {
		line("Idempotency", join(code("header", p.Idempotency.Header), life("remembered", p.Idempotency.Lasts)), p.Idempotency.From)
	}
	facts("Idempotency", p.Idempotency.Notes)
	w := p.Webhooks
	answer, retries, over := "", "", ""
	if w.Answer > 0 {
		answer = "wants an answer within " + span(w.Answer)
	}
	if w.Retries > 0 {
		retries = strings.Replace(fmt.Sprintf("tried again %d times", w.Retries), "again 1 times", "again once", 1)
	}
	if w.Over > 0 {
		over = "over " + span(w.Over)
	}
	line("Webhooks", join(map[bool]string{true: "verified by its scheme"}[w.Scheme != nil], answer, retries, over), w.From)
	facts("Webhooks", w.Notes)
	facts("Changes", p.Changes)
	facts("Mind", p.Quirks)
	for _, u := range p.Unknown {
		line("Not known", u, "")
	}
	line("Without a value here", strings.Join(missing(p), ", "), "")
	b.WriteString("\nSources:\n\n")
	keys := make([]string, 0, len(p.Sources))
	for key := range p.Sources {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b string) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	for _, key := range keys {
		fmt.Fprintf(b, "- [%s] %s\n", key, p.Sources[key])
	}
}

// missing names the values that a partner does not have. The notes may say why.
func missing(p *partners.Partner) (all []string) {
	o, oauth := p.OAuth, p.OAuth.TokenURL != ""
	for _, at := range []struct {
		name string
		zero bool
	}{
		{"address", p.Base.URL == ""},
		{"sandbox", p.Base.Sandbox == ""},
		{"version header", len(p.Base.Headers) == 0},
		{"token endpoint", !oauth},
		{"refresh endpoint of its own", oauth && o.RefreshURL == ""},
		{"end of a grant (revoke)", oauth && o.RevokeURL == ""},
		{"how the client authenticates", oauth && !o.StyleKnown},
		{"PKCE", oauth && o.PKCE == partners.NotKnown},
		{"life of access tokens", oauth && o.Access == 0},
		{"life of refresh tokens", oauth && o.Refresh == 0},
		{"rotation of refresh tokens", oauth && o.Rotates == partners.NotKnown},
		{"limits of the token endpoint", oauth && len(o.Limits) == 0},
		{"fields worth keeping", oauth && len(o.Keep) == 0},
		{"limits", len(p.Limits) == 0},
		{"how waits are told", len(p.Waits) == 0},
		{"lists", len(p.Lists) == 0},
		{"code of errors", p.Errors.Code == ""},
		{"message of errors", p.Errors.Message == ""},
		{"request id", p.Errors.RequestID == "" && p.Errors.RequestHeader == ""},
		{"header of idempotency keys", p.Idempotency.Header == ""},
		{"scheme of webhooks", p.Webhooks.Scheme == nil},
		{"time for a webhook's answer", p.Webhooks.Answer == 0},
		{"how often webhooks are repeated", p.Webhooks.Retries == 0},
		{"over which time they are", p.Webhooks.Over == 0},
	} {
		if at.zero {
			all = append(all, at.name)
		}
	}
	return all
}

func keep(fields []string) string {
	if len(fields) == 0 {
		return ""
	}
	return "worth keeping: `" + strings.Join(fields, "`, `") + "`"
}

// variable returns the name of a partner's variable.
func variable(p *partners.Partner) string { return variables()[p.Name] }

// variables returns the names of the variables, by the partner's name, from the source.
var variables = sync.OnceValue(func() map[string]string {
	all := make(map[string]string)
	files, _ := filepath.Glob("*.go")
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") { // the template
			continue
		}
		source, err := os.ReadFile(file)
		if err != nil {
			panic(err)
		}
		for _, found := range regexp.MustCompile(`(?s)\nvar (\w+) = &Partner\{\s*Name: "([^"]+)"`).FindAllSubmatch(source, -1) {
			all[string(found[2])] = string(found[1])
		}
	}
	return all
})

// Each partner that there is a file for is in All, in the order of the names.
func TestAll(t *testing.T) {
	t.Parallel()
	var names []string
	for _, p := range partners.All() {
		names = append(names, p.Name)
		if variable(p) == "" {
			t.Errorf("%s: its file must begin with its variable and its name", p.Name)
		}
	}
	if len(names) != len(variables()) || !slices.IsSorted(names) {
		t.Errorf("%d in All, %d in files: %v", len(names), len(variables()), names)
	}
}
