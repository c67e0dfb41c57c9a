package watch

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"time"

	"github.com/belay-go/belay/inbox"
)

var (
	//go:embed page.html
	pageHTML string
	//go:embed page.css
	pageCSS string

	pageTemplate = template.Must(template.New("page").Parse(pageHTML))
)

// PageConfig configures [NewPage]. History is required.
type PageConfig struct {
	// History is what the page shows. Checker, Rules and Inboxes, by name, add probes, alerts and inboxes; nil means
	// none.
	History *History
	Checker *Checker
	Rules   *Rules
	Inboxes map[string]func() inbox.Numbers
	// Title is the page's heading, empty for "Partners".
	Title string
	// Refresh is the time after which the page is loaded again. Zero means 15 s, negative never; less than a second is a
	// second.
	Refresh time.Duration
}

// NewPage returns a handler of a page for people on call: how each partner is, the sick first. It is one file of HTML
// without scripts, which asks for nothing else. Everybody who can reach the handler can read the names of partners and
// customers, and errors: protect it as you protect other internal pages. A nil History is an error.
func NewPage(cfg PageConfig) (http.Handler, error) {
	if cfg.History == nil {
		return nil, errors.New("watch: NewPage: History is nil")
	}
	cfg.Title = cmp.Or(shortName(cfg.Title), "Partners")
	switch {
	case cfg.Refresh == 0:
		cfg.Refresh = 15 * time.Second
	case cfg.Refresh > 0:
		cfg.Refresh = max(cfg.Refresh.Round(time.Second), time.Second)
	}
	sum := sha256.Sum256([]byte(pageCSS))
	return &page{cfg: cfg, policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"}, nil
}

type page struct {
	cfg    PageConfig
	policy string
	asked  asked
}

func (p *page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !readOnly(w, r) {
		return
	}
	var out bytes.Buffer // whole, so that a fault is no half page
	view := p.view(time.Now(), r.URL.Query())
	if err := pageTemplate.Execute(&out, view); err != nil {
		http.Error(w, "the page cannot be made", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", p.policy)
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	if view.Refresh != "" { // the whole query, so that what is open stays open
		h.Set("Refresh", fmt.Sprintf("%d", int(p.cfg.Refresh/time.Second)))
	}
	if r.Method != http.MethodHead {
		_, _ = w.Write(out.Bytes())
	}
}
