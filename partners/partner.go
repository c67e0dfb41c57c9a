package partners

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/oauth"
	"github.com/belay-go/belay/webhook"
)

// Partner is what is publicly known of a partner. The field From of its parts names their sources.
type Partner struct {
	// Name is for [belay.WithName], such as "hubspot", and Title for people.
	Name, Title string
	// Tier says how much trouble the partner makes, by our own judgment: 1 is great, 2 usual, 3 painful.
	Tier int
	// Docs is the partner's documentation, and Seen the day on which the sources were read, such as "2026-11-28".
	Docs, Seen string
	// Sources are pages by the letters or numbers that From names: an address, and what it is if it is not the partner's
	// own.
	Sources map[string]string

	Base        Base
	Auth        []Auth
	OAuth       OAuth
	Limits      []Limit
	Waits       []Fact // how the partner says how long to wait
	Lists       []List
	Errors      Errors
	Idempotency Idempotency
	Webhooks    Webhooks
	Changes     []Fact // how to ask for what has changed
	Quirks      []Fact
	// Unknown is what was looked for and not found.
	Unknown []string
}

// Fact is a statement with its sources.
type Fact struct {
	Text string
	From string // keys of Sources, separated by spaces
}

// Base is where the API is.
type Base struct {
	// URL is the address of production, and Sandbox that of tests. A name in braces stands for what is each customer's
	// own.
	URL, Sandbox string
	// Headers are sent with each call, such as the version of the API.
	Headers []Header
	From    string
}

// Header is a header of requests.
type Header struct{ Name, Value string }

// Auth is a way to authenticate calls.
type Auth struct {
	// Kind is "bearer", "basic", "header", "query", "body" or "oauth".
	Kind string
	// Name is the name of the header or of the parameter, and Text says what goes into it.
	Name, Text string
	From       string
}

// Known is what is known of a yes or no.
type Known uint8

const (
	// NotKnown is the zero value.
	NotKnown Known = iota
	Yes
	No
)

// OAuth is the partner's authorization server.
type OAuth struct {
	AuthURL, TokenURL, RefreshURL, RevokeURL string
	// Style is how the client authenticates, if StyleKnown.
	Style      oauth.Style
	StyleKnown bool
	// JSON says that token requests are JSON.
	JSON bool
	// PKCE says whether the partner takes it beside the client's secret: No leaves it out.
	PKCE Known
	// Access and Refresh are the lifetimes of tokens; zero is not known, negative is without end. Rotates says whether a
	// refresh token works once.
	Access, Refresh time.Duration
	Rotates         Known
	// Separator stands between scopes; empty is a space, or not known.
	Separator string
	// TokenPath is the path of the token within the answer, and Keep the fields of the answer that are worth keeping.
	TokenPath string
	Keep      []string
	// Limits are those of the token endpoint.
	Limits []Limit
	Notes  []Fact
	From   string
}

// Limit is a limit that the partner states, or that was observed.
type Limit struct {
	N   int
	Per time.Duration
	// Of is what is counted if it is not calls, such as "points"; such a limit is not applied by Options, but for one of
	// "calls in flight".
	Of string
	// For is for whom the limit is: "app", "IP address" and "provider" are all customers together, "route" is an endpoint,
	// and anything else, such as "account", "token" or "app and organisation", is one customer or a part of it. Empty is
	// not known. Plan is the plan that it is for, and
	// Where the part of the API.
	For, Plan, Where string
	// Observed says that somebody has measured it, and the partner does not state it.
	Observed bool
	// When selects the calls that it is for, such as belay.Writes. Nil means all.
	When func(*http.Request) bool
	// Default says that Options applies it: it holds for these calls on any plan, in production. One for each customer is not for a
	// client that several share: see SharedOptions.
	Default bool
	From    string
}

// List is a kind of list.
type List struct {
	// Name is the name for [Partner.Page]; the first list of a partner is its usual one. Also are other names, such as
	// those of the resources that are listed so.
	Name string
	Also []string
	// How reads it. Its sizes are ones that the partner allows.
	How belay.Paginator
	// Most is the largest page that the partner allows, 0 if it is not known.
	Most int
	Text string
	From string
}

// Errors is the shape of the partner's errors.
type Errors struct {
	// Code, Message and RequestID are the paths of values in the body; RequestHeader is the header of the id.
	Code, Message, RequestID, RequestHeader string
	// Classify is for what the built-in classification gets wrong. Nil means that it is enough.
	Classify belay.Classifier
	Notes    []Fact
	From     string
}

// Idempotency is how the partner recognizes a write that is sent twice.
type Idempotency struct {
	// Header is the name of the header of keys, empty if there is none or it is not known. Lasts is how long a key is
	// remembered.
	Header string
	Lasts  time.Duration
	Notes  []Fact
	From   string
}

// Webhooks is how the partner signs and repeats its webhooks.
type Webhooks struct {
	// Scheme returns the scheme; the address that the partner calls matters to some. Nil means that none is known.
	Scheme func(url string) webhook.Scheme
	// Answer is the time within which the partner wants an answer, and Retries how often it tries again, over the time
	// Over.
	Answer  time.Duration
	Retries int
	Over    time.Duration
	Notes   []Fact
	From    string
}

// Options returns the options of a client: the partner's name, its version headers, the limits that hold for all calls
// of any plan, those of calls in flight too, the header of idempotency keys, and the classifier.
func (p *Partner) Options() []belay.Option { return p.options(func(*Limit) bool { return true }) }

// SharedOptions returns Options without the limits that are for one customer each, for a client that the integrations
// of many customers share, such as that of driver.Register: a limit on it would be one for all of them together. Each
// integration has its own by driver.Partner.CustomerLimits.
func (p *Partner) SharedOptions() []belay.Option {
	return p.options(func(l *Limit) bool { return !l.ofCustomer() })
}

// CustomerLimits returns the limits of Options that are for one customer each, such as an account, a user, a workspace
// or a token, for driver.Partner. One of calls in flight is not among them.
func (p *Partner) CustomerLimits() (limits []belay.Limit) {
	for _, l := range p.Limits {
		if l.Default && l.Of == "" && l.ofCustomer() {
			limits = append(limits, l.limit())
		}
	}
	return limits
}

// ofCustomer reports whether a limit is for one customer, or for a part of one.
func (l *Limit) ofCustomer() bool {
	switch l.For {
	case "", "app", "IP address", "provider", "route":
		return false
	}
	return true
}

// inFlight is what a limit of calls in flight counts.
const inFlight = "calls in flight"

func (p *Partner) options(applies func(*Limit) bool) []belay.Option {
	opts := []belay.Option{belay.WithName(p.Name)}
	for _, h := range p.Base.Headers {
		opts = append(opts, belay.WithHeader(h.Name, h.Value))
	}
	var limits []belay.Limit
	for _, l := range p.Limits {
		switch {
		case !l.Default || !applies(&l):
		case l.Of == inFlight:
			opts = append(opts, belay.WithMaxInFlight(l.N))
		default:
			limits = append(limits, l.limit())
		}
	}
	if len(limits) > 0 {
		opts = append(opts, belay.WithRateLimit(limits...))
	}
	if p.Idempotency.Header != "" {
		opts = append(opts, belay.WithIdempotencyKeys(p.Idempotency.Header))
	}
	if p.Errors.Classify != nil {
		opts = append(opts, belay.WithClassifier(p.Errors.Classify))
	}
	return opts
}

func (l *Limit) limit() belay.Limit {
	if l.When != nil {
		return belay.Every(l.N, l.Per).When(l.When)
	}
	return belay.Every(l.N, l.Per)
}

// Client returns a client for Base.URL, with Options and then opts. A partner whose address holds a name in braces
// needs [Partner.URL] and belay.New.
func (p *Partner) Client(opts ...belay.Option) (*belay.Client, error) {
	if strings.Contains(p.Base.URL, "{") {
		return nil, fmt.Errorf("partners: %s: the address %s is each customer's own: use URL and belay.New", p.Name, p.Base.URL)
	}
	return belay.New(p.Base.URL, append(p.Options(), opts...)...)
}

// URL returns the address of production for one customer: the values replace the names in braces, in their order. A
// value that is no part of a host or a path, and a wrong number of them, are errors.
func (p *Partner) URL(values ...string) (string, error) { return p.fill(p.Base.URL, values) }

func (p *Partner) fill(template string, values []string) (string, error) {
	text := template
	for _, value := range values {
		from, to := strings.Index(text, "{"), strings.Index(text, "}")
		if from < 0 || to < from {
			return "", fmt.Errorf("partners: %s: %d values for %s", p.Name, len(values), template)
		}
		if value == "" || strings.ContainsFunc(value, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.", r)
		}) || strings.Contains(value, "..") {
			return "", fmt.Errorf("partners: %s: the value %q is no part of %s", p.Name, value, template)
		}
		text = text[:from] + value + text[to+1:]
	}
	if strings.Contains(text, "{") {
		return "", fmt.Errorf("partners: %s: %d values for %s", p.Name, len(values), template)
	}
	return text, nil
}

// Page returns the paginator of a kind of list; an empty name is the usual one. With a name that is not known, the list
// is an error that names those that are.
func (p *Partner) Page(name string) belay.Paginator {
	var names []string
	for _, l := range p.Lists {
		if name == "" || l.Name == name || slices.Contains(l.Also, name) {
			return l.How
		}
		names = append(append(names, l.Name), l.Also...)
	}
	return unknownList{fmt.Errorf("partners: %s has no list %q, but %s", p.Name, name, strings.Join(names, ", "))}
}

// unknownList is the paginator of a list that nobody knows.
type unknownList struct{ err error }

func (u unknownList) Check() error                           { return u.err }
func (u unknownList) ItemsPath() string                      { return "" }
func (u unknownList) Ask(*belay.PageRequest) error           { return u.err }
func (u unknownList) Next(*belay.PageAnswer) (string, error) { return "", u.err }

// Webhook returns how the partner signs webhooks that it sends to an address. It is an error if that is not known.
func (p *Partner) Webhook(url string) (webhook.Scheme, error) {
	if p.Webhooks.Scheme == nil {
		return webhook.Scheme{}, fmt.Errorf("partners: %s: how it signs webhooks is not known", p.Name)
	}
	return p.Webhooks.Scheme(url), nil
}

// OAuthConfig returns the configuration of an app, to be completed: its redirect address, scopes and store. The values
// are for names in braces, as in URL. It is an error if the token endpoint is not known.
func (p *Partner) OAuthConfig(clientID string, clientSecret belay.Secret, values ...string) (oauth.Config, error) {
	o := &p.OAuth
	if o.TokenURL == "" {
		return oauth.Config{}, fmt.Errorf("partners: %s: the token endpoint is not known", p.Name)
	}
	cfg := oauth.Config{
		Name: p.Name, ClientID: clientID, ClientSecret: clientSecret, Style: o.Style, JSON: o.JSON, NoPKCE: o.PKCE == No,
		TokenPath: o.TokenPath, ScopeSeparator: o.Separator,
	}
	for _, address := range []struct {
		to       *string
		template string
	}{{&cfg.TokenURL, o.TokenURL}, {&cfg.AuthURL, o.AuthURL}, {&cfg.RefreshURL, o.RefreshURL}} {
		given := values
		if !strings.Contains(address.template, "{") { // another one of the three may need them
			given = nil
		}
		var err error
		if *address.to, err = p.fill(address.template, given); err != nil {
			return oauth.Config{}, err
		}
	}
	for _, l := range o.Limits {
		if l.Default {
			cfg.Limits = append(cfg.Limits, l.limit())
		}
	}
	return cfg, nil
}
