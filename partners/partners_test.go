package partners_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/oauth"
	"github.com/belay-go/belay/partners"
	"github.com/belay-go/belay/webhook"
)

// Each partner is complete: each fact has a source, each source is used, and its values can be used.
func TestValues(t *testing.T) {
	whose := []string{
		"", "app", "IP address", "provider", "route", // of all customers
		"account", "workspace", "tenant", "connection", "installation", "base", "repository", "user", "token", "state token", "API key",
		"app and account", "app and workspace", "app and mailbox", "app and organisation", "app and tenant", "app and user", "app, IP and device",
	}
	t.Parallel()
	names := make(map[string]bool)
	for _, p := range all() {
		t.Run(p.Name, func(t *testing.T) {
			if names[p.Name] || !regexp.MustCompile(`^[a-z0-9-]+$`).MatchString(p.Name) || p.Title == "" || !strings.HasPrefix(p.Docs, "https://") {
				t.Errorf("name %q, title %q, docs %q", p.Name, p.Title, p.Docs)
			}
			names[p.Name] = true
			if p.Tier < 1 || p.Tier > 3 {
				t.Errorf("tier %d", p.Tier)
			}
			if _, err := time.Parse(time.DateOnly, p.Seen); err != nil {
				t.Error(err)
			}
			used := make(map[string]bool)
			from := func(what, keys string) {
				t.Helper()
				if strings.TrimSpace(keys) == "" {
					t.Errorf("%s has no source", what)
				}
				for _, key := range strings.Fields(keys) {
					if used[key] = true; p.Sources[key] == "" {
						t.Errorf("%s: there is no source %s", what, key)
					}
				}
			}
			facts := func(what string, all []partners.Fact) {
				for _, f := range all {
					from(what+": "+f.Text, f.From)
					if !strings.HasSuffix(f.Text, ".") || len(f.Text) > 300 {
						t.Errorf("%s: %q is no sentence", what, f.Text)
					}
				}
			}
			limits := func(what string, all []partners.Limit) {
				for _, l := range all {
					from(what, l.From)
					if l.N < 1 || l.Per <= 0 && l.Of == "" {
						t.Errorf("%s: %+v", what, l)
					}
					if !slices.Contains(whose, l.For) {
						t.Errorf("%s: for whom is %q? %+v", what, l.For, l)
					}
					if l.Default && (l.Observed || l.Plan != "" || l.Of != "" && l.Of != "calls in flight") {
						t.Errorf("%s: a default must hold for all: %+v", what, l)
					}
				}
			}
			if p.Base.URL != "" {
				from("the address", p.Base.From)
			}
			if len(p.Auth) == 0 {
				t.Error("no way to authenticate")
			}
			for _, a := range p.Auth {
				from("auth "+a.Kind, a.From)
				if !slices.Contains([]string{"bearer", "basic", "header", "query", "body", "oauth"}, a.Kind) || (a.Kind == "header" || a.Kind == "query") == (a.Name == "") {
					t.Errorf("%+v", a)
				}
			}
			if o := p.OAuth; o.TokenURL+o.AuthURL+o.From != "" || o.Access != 0 || o.PKCE != partners.NotKnown {
				from("OAuth", o.From)
			}
			facts("OAuth", p.OAuth.Notes)
			limits("token endpoint", p.OAuth.Limits)
			limits("limits", p.Limits)
			facts("waits", p.Waits)
			for i, l := range p.Lists {
				from("list "+l.Name, l.From)
				if err := l.How.Check(); err != nil || l.Name == "" || p.Page(l.Name) != l.How || i == 0 && p.Page("") != l.How {
					t.Errorf("list %q: %v", l.Name, err)
				}
			}
			if e := p.Errors; e.Code+e.Message+e.RequestID+e.RequestHeader != "" || e.Classify != nil {
				from("errors", e.From)
			}
			facts("errors", p.Errors.Notes)
			if p.Idempotency.Header != "" {
				from("idempotency", p.Idempotency.From)
			}
			facts("idempotency", p.Idempotency.Notes)
			if w := p.Webhooks; w.Scheme != nil || w.Answer > 0 || w.Retries > 0 || w.Over > 0 {
				from("webhooks", w.From)
			}
			facts("webhooks", p.Webhooks.Notes)
			facts("changes", p.Changes)
			facts("quirks", p.Quirks)
			for key, source := range p.Sources {
				if !used[key] {
					t.Errorf("nothing is from source %s, %s", key, source)
				}
			}
			if !strings.Contains(p.Base.URL, "{") && p.Base.URL != "" {
				if _, err := p.Client(); err != nil {
					t.Error(err)
				}
			} else if _, err := belay.New("https://customer.example", p.Options()...); err != nil {
				t.Error(err)
			}
		})
	}
}

// all returns the partners and the template of one.
func all() []*partners.Partner { return append(partners.All(), partners.Example) }

// shape is an answer in the shape that a partner was seen to send. testdata holds them, a file for each partner.
type shape struct {
	kind string   // list, next, limit, error, token, webhook
	args []string // see check
	resp func(*http.Request) *http.Response
	body []byte
}

func shapesOf(t *testing.T, name string) (all []shape) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name+".http"))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range strings.Split("\n"+string(data), "\n== ")[1:] {
		title, rest, _ := strings.Cut(part, "\n")
		words := strings.Fields(title)
		s := shape{kind: words[0], args: words[1:]}
		if s.kind == "webhook" {
			s.body = []byte(strings.TrimSpace(rest))
			all = append(all, s)
			continue
		}
		head, body, _ := strings.Cut(rest, "\n\n")
		lines := strings.Split(strings.TrimSpace(head), "\n")
		status := 0
		if _, err := fmt.Sscan(lines[0], &status); err != nil {
			t.Fatalf("%s: %q", title, lines[0])
		}
		header := http.Header{"Content-Type": {"application/json"}}
		for _, line := range lines[1:] {
			field, value, _ := strings.Cut(line, ":")
			header.Set(field, strings.TrimSpace(value))
		}
		s.body = []byte(strings.TrimSpace(body))
		s.resp = func(req *http.Request) *http.Response {
			return &http.Response{
				StatusCode: status, Status: fmt.Sprint(status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: header.Clone(),
				Body: io.NopCloser(bytes.NewReader(s.body)), ContentLength: int64(len(s.body)), Request: req,
			}
		}
		all = append(all, s)
	}
	return all
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// clientOf returns a client with the partner's options, whose answers are f's.
func clientOf(t *testing.T, p *partners.Partner, f roundTrip, opts ...belay.Option) *belay.Client {
	t.Helper()
	base := regexp.MustCompile(`\{[^}]*\}`).ReplaceAllString(p.Base.URL, "customer")
	if base == "" {
		base = "https://partner.example"
	}
	c, err := belay.New(base, append(append(p.Options(), belay.WithTransport(f)), opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Each partner's values work with answers in the shape that it sends: a list of two pages, a limit, an error, a token and a signed
// webhook.
//
//	== list NAME [post]                      the first page
//	== next TEXT                             the second: its request holds TEXT, in the address or the body; the list ends
//	== limit CLASS WAIT                      CLASS as belay.Class prints it, WAIT as by time.ParseDuration, - for none
//	== error CLASS CODE REQUEST-ID           - for none
//	== token ACCESS REFRESH LIFE             - for none
//	== webhook ID TYPE                       the body; - for none
func TestShapes(t *testing.T) {
	t.Parallel()
	for _, p := range all() {
		t.Run(p.Name, func(t *testing.T) {
			shapes := shapesOf(t, p.Name)
			seen := make(map[string]int)
			for i, s := range shapes {
				seen[s.kind]++
				switch s.kind {
				case "list":
					if i+1 == len(shapes) || shapes[i+1].kind != "next" {
						t.Fatal("a list without a next page")
					}
					checkList(t, p, s, shapes[i+1])
				case "next":
				case "limit", "error":
					checkFailure(t, p, s)
				case "token":
					checkToken(t, p, s)
				case "webhook":
					checkWebhook(t, p, s)
				default:
					t.Errorf("%q", s.kind)
				}
			}
			for kind, must := range map[string]bool{
				"list": len(p.Lists) > 0, "limit": true, "error": true, "webhook": p.Webhooks.Scheme != nil, "token": p.OAuth.TokenURL != "",
			} {
				if must && seen[kind] == 0 {
					t.Errorf("no shape of a %s", kind)
				}
			}
			if seen["list"] < len(p.Lists) {
				t.Errorf("%d lists, %d shapes", len(p.Lists), seen["list"])
			}
		})
	}
}

func checkList(t *testing.T, p *partners.Partner, first, next shape) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		requests := 0
		want := strings.Join(next.args, " ")
		c := clientOf(t, p, func(req *http.Request) (*http.Response, error) {
			requests++
			if requests == 1 {
				return first.resp(req), nil
			}
			var body []byte
			if req.Body != nil {
				body, _ = io.ReadAll(req.Body)
			}
			if requests > 2 {
				t.Errorf("list %s goes on behind its second page; where it ends with an empty one (UntilEmpty), \"next\" must be that",
					first.args[0])
			} else if !strings.Contains(req.URL.String(), want) && !strings.Contains(string(body), want) {
				t.Errorf("the request for the second page is %s %s, wanted %s", req.URL, body, want)
			}
			return next.resp(req), nil
		})
		var opts []belay.PageOption
		if len(first.args) > 1 && first.args[1] == "post" {
			opts = append(opts, belay.PostBody(map[string]any{}))
		}
		items := 0
		for page, err := range belay.Pages[json.RawMessage](t.Context(), c, "/list", p.Page(first.args[0]), opts...) {
			if err != nil {
				t.Fatal(first.args[0], err)
			}
			if len(page.Items) == 0 && requests == 1 { // some lists end with an empty page
				t.Errorf("list %s: a page without items", first.args[0])
			}
			items += len(page.Items)
		}
		if requests != 2 || items < 2 {
			t.Errorf("list %s: %d requests, %d items", first.args[0], requests, items)
		}
	})
}

// arg returns a word of a shape's title, empty for "-".
func (s *shape) arg(i int) string {
	if i >= len(s.args) || s.args[i] == "-" {
		return ""
	}
	return s.args[i]
}

func checkFailure(t *testing.T, p *partners.Partner, s shape) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := clientOf(t, p, func(req *http.Request) (*http.Response, error) { return s.resp(req), nil },
			belay.WithRetry(belay.RetryPolicy{MaxAttempts: 1}))
		_, err := belay.Get[map[string]any](t.Context(), c, "/x")
		e, ok := err.(*belay.Error)
		if !ok {
			t.Fatalf("%s %v: %v", s.kind, s.args, err)
		}
		if e.Class.String() != s.arg(0) {
			t.Errorf("%s %v: class %s", s.kind, s.args, e.Class)
		}
		if s.kind == "limit" {
			var want time.Duration
			if s.arg(1) != "" {
				var err error
				if want, err = time.ParseDuration(s.arg(1)); err != nil {
					t.Fatal(err)
				}
			}
			if e.RetryAfter != want {
				t.Errorf("limit: wait %s, wanted %s", e.RetryAfter, want)
			}
			return
		}
		if e.Code != s.arg(1) || e.RequestID != s.arg(2) {
			t.Errorf("error: code %q, request id %q, wanted %v", e.Code, e.RequestID, s.args)
		}
		for what, at := range map[string]struct{ path, got string }{
			"code": {p.Errors.Code, e.Code}, "message": {p.Errors.Message, e.Message}, "request id": {p.Errors.RequestID, e.RequestID},
		} {
			if what == "request id" && p.Errors.RequestHeader != "" { // the header's is as good
				continue
			}
			if stated := valueAt(s.body, at.path); stated != "" && !strings.HasPrefix(stated, "map[") && !strings.Contains(at.got, stated) {
				t.Errorf("the %s at %s is %q, and the error has %q", what, at.path, stated, at.got)
			}
		}
	})
}

// valueAt returns the text at a path, empty if there is none; of an array without a number it takes the first element.
func valueAt(body []byte, path string) string {
	var at any
	if path == "" || json.Unmarshal(body, &at) != nil {
		return ""
	}
	for _, name := range strings.Split(strings.NewReplacer("[]", "", "[0]", "").Replace(path), ".") {
		if list, ok := at.([]any); ok && len(list) > 0 {
			if at = list[0]; name == "0" {
				continue
			}
		}
		object, _ := at.(map[string]any)
		if name != "" {
			at = object[name]
		}
	}
	if list, ok := at.([]any); ok && len(list) > 0 {
		at = list[0]
	}
	if at == nil {
		return ""
	}
	return fmt.Sprint(at)
}

// checkTokenRequest checks that a refresh is sent to where, and in the form in which, the partner wants it.
func checkTokenRequest(t *testing.T, p *partners.Partner, req *http.Request) {
	t.Helper()
	want := p.OAuth.TokenURL
	if p.OAuth.RefreshURL != "" {
		want = p.OAuth.RefreshURL
	}
	for strings.Contains(want, "{") {
		from, to := strings.Index(want, "{"), strings.Index(want, "}")
		want = want[:from] + "customer.example" + want[to+1:]
	}
	if req.Method != http.MethodPost || req.URL.String() != want {
		t.Errorf("token: %s %s, wanted %s", req.Method, req.URL, want)
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		t.Fatal(err)
	}
	id, secret, basic := req.BasicAuth()
	if wantBasic := p.OAuth.Style == oauth.StyleHeader; basic != wantBasic || basic && (id != "client" || secret != "secret") ||
		!basic && (!strings.Contains(string(body), "client_secret") || !strings.Contains(string(body), "secret")) {
		t.Errorf("token: the client does not authenticate as it should: Basic is %t", basic)
	}
	if kind := req.Header.Get("Content-Type"); strings.Contains(kind, "json") != p.OAuth.JSON || json.Valid(body) != p.OAuth.JSON {
		t.Errorf("token: the request is %s", kind)
	}
	if !strings.Contains(string(body), "refresh_token") || !strings.Contains(string(body), "old") {
		t.Error("token: the request is no refresh")
	}
}

func checkToken(t *testing.T, p *partners.Partner, s shape) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var values []string
		for range strings.Count(p.OAuth.TokenURL, "{") {
			values = append(values, "customer.example")
		}
		cfg, err := p.OAuthConfig("client", belay.NewSecret("secret"), values...)
		if err != nil {
			t.Fatal(err)
		}
		store := oauth.NewMemoryStore()
		if _, err := store.Update(t.Context(), "acme", func(_ context.Context, _ oauth.Token) (oauth.Token, error) {
			return oauth.Token{Refresh: belay.NewSecret("old")}, nil
		}); err != nil {
			t.Fatal(err)
		}
		cfg.Store = store
		cfg.Transport = roundTrip(func(req *http.Request) (*http.Response, error) {
			checkTokenRequest(t, p, req)
			return s.resp(req), nil
		})
		app, err := oauth.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer app.Close()
		began := time.Now()
		c, err := belay.New("https://api.example", belay.WithAuth(app.RefreshToken("acme")), belay.WithTransport(roundTrip(func(req *http.Request) (*http.Response, error) {
			if got := req.Header.Get("Authorization"); !strings.HasSuffix(got, " "+s.arg(0)) {
				t.Errorf("token: %q", got)
			}
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody, Request: req}, nil
		})))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := belay.Get[belay.None](t.Context(), c, "/x"); err != nil {
			t.Fatal(err)
		}
		got, err := store.Load(t.Context(), "acme")
		if err != nil {
			t.Fatal(err)
		}
		if refresh := s.arg(1); refresh != "" && got.Refresh.Reveal() != refresh {
			t.Errorf("token: the refresh token is not %s", refresh)
		}
		for _, name := range p.OAuth.Keep { // scope and the kind of the token are fields of their own
			if v := valueAt(s.body, name); v != "" && name != "refresh_token" && name != "token_type" && got.Extra[name].Reveal() == "" {
				t.Errorf("token: %s is worth keeping, and is not kept", name)
			}
		}
		var life time.Duration
		if s.arg(2) != "" {
			if life, err = time.ParseDuration(s.arg(2)); err != nil {
				t.Fatal(err)
			}
		}
		if life > 0 && got.Expiry.Sub(began).Round(time.Second) != life {
			t.Errorf("token: lives for %s, wanted %s", got.Expiry.Sub(began), life)
		}
	})
}

func checkWebhook(t *testing.T, p *partners.Partner, s shape) {
	t.Helper()
	scheme, err := p.Webhook("https://us.example/webhooks/" + p.Name)
	if err != nil {
		t.Fatal(err)
	}
	secret := belay.NewSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	public := secret
	switch scheme.Algorithm {
	case webhook.Ed25519:
		key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
		secret, public = belay.NewSecret(hex.EncodeToString(key)), belay.NewSecret(hex.EncodeToString(key[ed25519.SeedSize:]))
	case webhook.ECDSAP256:
		secret, public = ecdsaKeys(t)
	}
	verifier, err := webhook.NewVerifier(scheme, public)
	if err != nil {
		t.Fatal(err)
	}
	req, err := webhook.SignTest(scheme, secret, belay.WebhookEvent{ID: s.arg(0), Type: s.arg(1), Data: s.body})
	if err != nil {
		t.Fatal(err)
	}
	d, err := verifier.VerifyRequest(req)
	if err != nil || len(d.Events) == 0 {
		t.Fatal("webhook:", err)
	}
	if d.Events[0].ID != s.arg(0) && s.arg(0) != "" || s.arg(1) != "" && d.Events[0].Type != s.arg(1) {
		t.Errorf("webhook: id %q, type %q, wanted %v", d.Events[0].ID, d.Events[0].Type, s.args)
	}
}

// ecdsaKeys returns a private and a public key as webhook.SignTest and webhook.NewVerifier want them.
func ecdsaKeys(t *testing.T) (private, public belay.Secret) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	b, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return belay.NewSecret(base64.StdEncoding.EncodeToString(a)), belay.NewSecret(base64.StdEncoding.EncodeToString(b))
}

// The values by themselves.
func TestPartner(t *testing.T) {
	t.Parallel()
	p := &partners.Partner{Name: "x", Base: partners.Base{URL: "https://{shop}.x.example/{version}"}}
	if _, err := p.Client(); err == nil {
		t.Error("no error")
	}
	if got, err := p.URL("acme", "v1"); err != nil || got != "https://acme.x.example/v1" {
		t.Error(got, err)
	}
	for _, bad := range [][]string{{"acme"}, {"a", "b", "c"}, {"a/b", "v"}, {"evil.example#", "v"}, {"", "v"}, {"..", "v"}, {"a@b", "v"}} {
		if got, err := p.URL(bad...); err == nil {
			t.Error(bad, got)
		}
	}
	if got := partners.HubSpot.Page("contacts"); got == nil || got.ItemsPath() != "results" {
		t.Errorf("%#v", got)
	}
	if err := partners.HubSpot.Page("nothing").Check(); err == nil || !strings.Contains(err.Error(), "objects, contacts, companies, search") {
		t.Error(err)
	}
	if _, err := p.Webhook(""); err == nil {
		t.Error("no error")
	}
	if _, err := p.OAuthConfig("id", belay.NewSecret("s")); err == nil {
		t.Error("no error")
	}
}

// What is for one customer each is no limit of the client that all customers share.
func TestSharedOptions(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		p         *partners.Partner
		customers int
	}{{partners.Guesty, 3}, {partners.Mews, 1}, {partners.Attio, 2}, {partners.HubSpot, 2}, {partners.Hostaway, 1}, {partners.QuickBooks, 2}, {partners.Xero, 1}, {partners.Airtable, 1}} {
		limits := func(opts []belay.Option) int {
			c, err := belay.New("https://x.example", opts...)
			if err != nil {
				t.Fatal(err)
			}
			return len(c.Limiter().Status().Limits)
		}
		if n := len(x.p.CustomerLimits()); n != x.customers {
			t.Errorf("%s: %d limits of customers", x.p.Name, n)
		}
		if left := limits(x.p.Options()) - limits(x.p.SharedOptions()); left != x.customers {
			t.Errorf("%s: %d limits are not shared", x.p.Name, left)
		}
	}
}
