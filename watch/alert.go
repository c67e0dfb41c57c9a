package watch

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/belay-go/belay"
)

// Severity says how soon somebody must look.
type Severity uint8

const (
	// P1 is for now: it may wake somebody.
	P1 Severity = iota + 1
	// P2 is for today.
	P2
)

// String returns "P1" or "P2".
func (s Severity) String() string { return "P" + strconv.Itoa(int(s)) }

// MarshalText implements [encoding.TextMarshaler].
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (s *Severity) UnmarshalText(text []byte) error {
	switch string(text) {
	case "P1":
		*s = P1
	case "P2":
		*s = P2
	default:
		return fmt.Errorf("watch: the severity is %.20q, must be P1 or P2", text)
	}
	return nil
}

// Alert says that something is wrong with a partner, or that it is right again. It holds no credential.
type Alert struct {
	// ID is the same for all that is sent of one alert.
	ID string `json:"id"`
	// Resolved is when it was over, zero while it fires.
	Resolved time.Time `json:"resolved,omitzero"`
	// Kind is the kind of cause, which stays the same: "outage", "credentials", "limits", "content", "backlog" or
	// "memory".
	Kind string `json:"kind"`
	// Rule is the name of the rule, as in docs/observing.md: of those that fire for this cause, the most severe.
	Rule     string   `json:"rule"`
	Severity Severity `json:"severity"`
	Partner  string   `json:"partner"`
	// Integration is the integration that it concerns, empty if it concerns the partner or several integrations.
	// Integrations are those, at most 20, and Affected their number.
	Integration  string   `json:"integration,omitempty"`
	Integrations []string `json:"integrations,omitempty"`
	Affected     int      `json:"affected,omitempty"`
	// What says what is wrong, with its numbers. Also names other rules that fire for what is probably the same cause.
	What string   `json:"what"`
	Also []string `json:"also,omitempty"`
	// Since is when it began, and LastSuccess the end of the last call that succeeded, zero for none.
	Since       time.Time `json:"since"`
	LastSuccess time.Time `json:"last_success,omitzero"`
	// Cause is the likely cause, Action what to do, and Runbook the link of RulesConfig.Runbook, empty without one.
	Cause   string `json:"cause"`
	Action  string `json:"action"`
	Runbook string `json:"runbook,omitempty"`
}

// String returns the alert on one line.
func (a Alert) String() string {
	state := "firing"
	if !a.Resolved.IsZero() {
		state = "resolved after " + a.Resolved.Sub(a.Since).Round(time.Second).String()
	}
	who := a.Partner
	switch {
	case a.Integration != "":
		who += "/" + a.Integration
	case a.Affected > 1:
		who += fmt.Sprintf(" (%d integrations)", a.Affected)
	}
	return fmt.Sprintf("%s %s %s: %s: %s", a.Severity, state, a.Rule, who, a.What)
}

// Sink receives alerts. Send is called from one goroutine, with a context that ends after ten seconds. It gets an alert
// when it fires, again if it has become worse, and when it is resolved.
type Sink interface {
	Send(ctx context.Context, a Alert) error
}

// Repeater is a [Sink] that wants open alerts again, each time Repeat has passed. Less than a second means once.
type Repeater interface {
	Sink
	Repeat() time.Duration
}

// SinkFunc is a function that is a [Sink].
type SinkFunc func(ctx context.Context, a Alert) error

// Send calls f.
func (f SinkFunc) Send(ctx context.Context, a Alert) error { return f(ctx, a) }

// LogSink returns a sink that writes alerts to a log: P1 at error, P2 at warn, what is resolved at info. A nil l is an
// error of the sink.
func LogSink(l *slog.Logger) Sink {
	return SinkFunc(func(ctx context.Context, a Alert) error {
		if l == nil {
			return errors.New("watch: LogSink: the logger is nil")
		}
		level, text := slog.LevelError, "belay: alert"
		switch {
		case !a.Resolved.IsZero():
			level, text = slog.LevelInfo, "belay: alert resolved"
		case a.Severity == P2:
			level = slog.LevelWarn
		}
		l.LogAttrs(ctx, level, text, slog.String("rule", a.Rule), slog.String("severity", a.Severity.String()),
			slog.String("partner", a.Partner), slog.String("integration", a.Integration), slog.Int("affected", a.Affected),
			slog.String("what", a.What), slog.Any("also", a.Also), slog.Time("since", a.Since),
			slog.Time("last_success", a.LastSuccess), slog.String("cause", a.Cause), slog.String("action", a.Action),
			slog.String("runbook", a.Runbook), slog.String("id", a.ID))
		return nil
	})
}

// WebhookSink returns a sink that posts alerts as JSON to url. They are signed as Standard Webhooks are
// (standardwebhooks.com), in the headers webhook-id, webhook-timestamp and webhook-signature: package webhook verifies
// them. The secret is used as it is, or decoded if it begins with "whsec_". The options are those of the client that
// sends; it retries by itself. An empty secret and an invalid url are errors.
func WebhookSink(url string, secret belay.Secret, opts ...belay.Option) (Sink, error) {
	key := []byte(secret.Reveal())
	if encoded, ok := strings.CutPrefix(string(key), "whsec_"); ok {
		var err error
		if key, err = base64.StdEncoding.DecodeString(encoded); err != nil {
			return nil, errors.New("watch: WebhookSink: the secret behind whsec_ is not base64")
		}
	}
	if len(key) == 0 {
		return nil, errors.New("watch: WebhookSink: the secret is empty")
	}
	c, err := belay.New(url, append([]belay.Option{belay.WithName("alerts")}, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("watch: WebhookSink: %w", err)
	}
	return SinkFunc(func(ctx context.Context, a Alert) error {
		body, err := json.Marshal(a)
		if err != nil {
			return err
		}
		state := "firing"
		if !a.Resolved.IsZero() {
			state = "resolved"
		}
		id, at := a.ID+"-"+state+"-"+a.Severity.String(), strconv.FormatInt(time.Now().Unix(), 10)
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(id + "." + at + "."))
		mac.Write(body)
		_, err = belay.Post[belay.None](ctx, c, "", belay.JSONBody(body),
			belay.Header("Webhook-Id", id), belay.Header("Webhook-Timestamp", at),
			belay.Header("Webhook-Signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil))), belay.Idempotent())
		return err
	}), nil
}
