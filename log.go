package belay

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/belay-go/belay/internal/redact"
)

// logObserver writes events as slog records.
type logObserver struct {
	log        *slog.Logger
	outages    outages
	largeHeaps largeHeaps
}

func (o *logObserver) Observe(ctx context.Context, e Event) {
	switch e := e.(type) {
	case AttemptDone:
		o.ObserveAttempt(ctx, &e)
	case CallDone:
		o.ObserveCall(ctx, &e)
	case Retrying:
		o.write(ctx, o.attemptLevel(slog.LevelInfo, &e.Call), "retrying", e.Call, e.Verdict, nil,
			slog.Int("attempt", e.Attempt), slog.Int64("wait_ms", e.Wait.Milliseconds()))
	case Paused:
		o.write(ctx, slog.LevelWarn, "paused", e.Call, e.Verdict, nil,
			slog.String("scope", e.Scope.String()), slog.Int64("for_ms", e.For.Milliseconds()))
	case Deprecated:
		o.write(ctx, slog.LevelWarn, "deprecated", e.Call, Verdict{}, nil,
			slog.Time("since", e.Since), slog.Time("sunset", e.Sunset), slog.String("link", e.Link))
	case Resumed:
		o.write(ctx, slog.LevelInfo, "resumed", e.Call, e.Verdict, nil,
			slog.String("scope", e.Scope.String()), slog.Int64("after_ms", e.After.Milliseconds()))
	case LimitNear:
		o.write(ctx, slog.LevelInfo, "limit near", e.Call, Verdict{}, nil,
			slog.String("limit", e.Limit), slog.String("source", e.Source.String()),
			slog.Int("used", e.Used), slog.Int("max", e.Max))
	case TokenLoaded, TokenRefreshed, TokenRefreshFailed, TokenRevoked, CredentialRotated, RotationRolledBack:
		o.logToken(ctx, e)
	case DeliveryReceived, DeliveryRejected, EventHandled:
		o.logWebhook(ctx, e)
	case ImportProgress, RecordImported, SchemaChanged:
		o.logImport(ctx, e)
	case CircuitChanged:
		o.write(ctx, slog.LevelWarn, "circuit", e.Call, Verdict{}, nil,
			slog.String("state", e.State.String()), slog.String("origin", e.Origin), slog.String("of_route", e.Route),
			slog.String("of_integration", e.Integration), slog.Int64("probe_in_ms", e.OpenFor.Milliseconds()),
			slog.Int64("lasted_ms", e.Lasted.Milliseconds()))
	}
}

// ObserveAttempt writes the record of an attempt.
func (o *logObserver) ObserveAttempt(ctx context.Context, e *AttemptDone) {
	level := o.attemptLevel(min(slog.LevelInfo, failureLevel(e.Verdict, e.StatusCode, e.Err)), &e.Call)
	o.write(ctx, level, "attempt", e.Call, e.Verdict, e.Err,
		slog.Int("status", e.StatusCode), slog.Int64("duration_ms", e.Duration.Milliseconds()),
		slog.Int("attempt", e.Number), slog.String("request_id", e.RequestID), slog.Int("limit_left", e.LimitLeft),
		slog.String("request_body", e.RequestBody), slog.String("ignored_header", e.Ignored))
}

// ObserveCall writes the record of a call, at debug if it is one of many that fail alike.
func (o *logObserver) ObserveCall(ctx context.Context, e *CallDone) {
	level, now := failureLevel(e.Verdict, e.StatusCode, e.Err), time.Now()
	quiet, notices := o.outages.note(e, now)
	if quiet {
		level = slog.LevelDebug
	}
	err := e.Err
	if of, ok := err.(*Error); ok && of.Err == nil {
		err = nil // the fields say the same
	}
	if o.log.Enabled(ctx, level) {
		body := ""
		if e.AnswerBody != "" && o.log.Enabled(ctx, slog.LevelDebug) {
			body = e.AnswerBody
		}
		o.write(ctx, level, "call", e.Call, e.Verdict, err,
			slog.Int("status", e.StatusCode), slog.Int64("duration_ms", e.Duration.Milliseconds()),
			slog.Int("attempts", e.Attempts), slog.Int64("waited_ms", e.Waits.Total().Milliseconds()),
			slog.String("kept", keptAs(e)), slog.String("answer_body", body))
	}
	for i := range notices {
		o.logOutage(ctx, &notices[i], now)
	}
}

// attemptLevel returns the level for a line about an attempt: debug while its partner fails.
func (o *logObserver) attemptLevel(level slog.Level, call *CallInfo) slog.Level {
	if level > slog.LevelDebug && o.outages.counting(call) {
		return slog.LevelDebug
	}
	return level
}

// keptAs says whether the caller got a kept answer; empty for none.
func keptAs(e *CallDone) string {
	switch {
	case e.Stale:
		return "stale"
	case e.Kept:
		return "fresh"
	}
	return ""
}

// failureLevel returns the level for the outcome of a call; attempts are logged at info at most, so that one failed
// call is one line of warnings. It is error if somebody has to look at the partner or at the
// credential, lower for failures that a caller may have expected, debug for a success.
func failureLevel(v Verdict, status int, err error) slog.Level {
	switch v.Class {
	case ClassOK:
		return slog.LevelDebug
	case ClassCanceled:
		if errors.Is(err, context.DeadlineExceeded) {
			return slog.LevelWarn
		}
		return slog.LevelInfo
	case ClassRefused:
		return slog.LevelWarn
	case ClassClient:
		if status == http.StatusNotFound || status == http.StatusGone || status == http.StatusConflict {
			return slog.LevelInfo
		}
		return slog.LevelWarn
	}
	return slog.LevelError
}

// logToken writes a record for an event of a credential.
func (o *logObserver) logToken(ctx context.Context, e Event) {
	switch e := e.(type) {
	case TokenLoaded:
		o.record(ctx, slog.LevelDebug, "token loaded", nil, slog.String("partner", e.Partner),
			slog.String("integration", e.Integration), slog.Time("obtained", e.Obtained), slog.Time("expiry", e.Expiry))
	case TokenRefreshed:
		o.record(ctx, slog.LevelInfo, "token refreshed", nil,
			slog.String("partner", e.Partner), slog.String("integration", e.Integration), slog.Time("expiry", e.Expiry))
	case TokenRefreshFailed:
		o.record(ctx, slog.LevelWarn, "token refresh failed", e.Err,
			slog.String("partner", e.Partner), slog.String("integration", e.Integration),
			slog.Time("last_worked", e.LastWorked), slog.String("action", e.Action))
	case TokenRevoked:
		o.record(ctx, slog.LevelError, "token revoked", e.Err,
			slog.String("partner", e.Partner), slog.String("integration", e.Integration),
			slog.Time("last_worked", e.LastWorked), slog.String("action", e.Action))
	case CredentialRotated:
		o.record(ctx, slog.LevelInfo, "credential rotated", nil,
			slog.String("integration", e.Integration), slog.Time("was", e.Was))
	case RotationRolledBack:
		o.record(ctx, slog.LevelError, "rotation rolled back", e.Err,
			slog.String("integration", e.Integration), slog.String("action", e.Action))
	}
}

// NewLogObserver returns an observer that writes its events to l, as [WithLogger] does. With a nil l it writes nothing.
// Each call ends with one line: debug for a success, info to error for a failure, of which the attempts have lines at
// info, too. After five failures in a row of a partner or an integration, further failures of a known kind are at
// debug, and one line a minute has their number. Lines about a call have the attributes of [LogContext], and the
// context itself goes to the logger's handler.
func NewLogObserver(l *slog.Logger) Observer {
	if l == nil {
		l = slog.New(slog.DiscardHandler)
	}
	return &logObserver{log: l}
}

type logKey struct{}

// LogContext returns a context whose attributes Belay's log adds to each line about what is done with it, such as the
// ids of a tenant and of a job. They come after those of ctx. A nil ctx means context.Background.
func LogContext(ctx context.Context, attrs ...slog.Attr) context.Context {
	if ctx == nil {
		ctx = context.Background()
	}
	have, _ := ctx.Value(logKey{}).([]slog.Attr)
	return context.WithValue(ctx, logKey{}, slices.Concat(have, attrs))
}

// write writes a record about a call.
func (o *logObserver) write(
	ctx context.Context, level slog.Level, msg string, call CallInfo, v Verdict, err error, attrs ...slog.Attr,
) {
	if !o.log.Enabled(ctx, level) {
		return
	}
	all := make([]slog.Attr, 0, 16)
	route := call.Route
	if route == "" {
		route = call.URL
	}
	all = append(all, slog.String("partner", call.Partner), slog.String("integration", call.Integration),
		slog.String("method", call.Method), slog.String("route", route), slog.String("correlation_id", call.Correlation))
	all = append(all, attrs...)
	if v.Class != ClassOK {
		all = append(all, slog.String("class", v.Class.String()),
			slog.String("code", v.Code), slog.String("message", v.Message))
	}
	o.record(ctx, level, msg, err, all...)
}

// record writes a record without the attributes that are empty strings or zero times. It changes attrs.
func (o *logObserver) record(ctx context.Context, level slog.Level, msg string, err error, attrs ...slog.Attr) {
	if !o.log.Enabled(ctx, level) {
		return
	}
	if err != nil {
		attrs = append(attrs, slog.String("error", err.Error()))
	}
	if own, ok := ctx.Value(logKey{}).([]slog.Attr); ok {
		attrs = append(attrs, own...)
	}
	attrs = slices.DeleteFunc(attrs, func(a slog.Attr) bool {
		return a.Value.Kind() == slog.KindString && a.Value.String() == "" ||
			a.Value.Kind() == slog.KindTime && a.Value.Time().IsZero()
	})
	o.log.LogAttrs(ctx, level, "belay: "+msg, attrs...)
}

// logWebhook writes a record for an event of a webhook.
func (o *logObserver) logWebhook(ctx context.Context, e Event) {
	level, msg := slog.LevelDebug, ""
	var attrs []slog.Attr
	var err error
	switch e := e.(type) {
	case DeliveryReceived:
		msg = "webhook received"
		attrs = []slog.Attr{
			slog.String("partner", e.Partner), slog.String("integration", e.Integration), slog.String("id", e.ID),
			slog.Int("events", e.Events), slog.Bool("stored", e.Stored), slog.Int("bytes", e.Bytes),
			slog.Int64("duration_ms", e.Duration.Milliseconds()),
		}
	case DeliveryRejected:
		level, msg, err = slog.LevelWarn, "webhook rejected", e.Err
		attrs = []slog.Attr{
			slog.String("partner", e.Partner), slog.String("integration", e.Integration),
			slog.Int("status", e.Status), slog.String("reason", e.Reason),
		}
	case EventHandled:
		msg, err = "webhook handled", e.Err
		switch {
		case e.DeadLettered:
			level, msg = slog.LevelError, "webhook is a dead letter"
		case e.Err != nil:
			level, msg = slog.LevelWarn, "webhook failed"
		}
		attrs = []slog.Attr{
			slog.String("partner", e.Partner), slog.String("integration", e.Integration),
			slog.String("id", e.ID), slog.String("type", e.Type), slog.Int("attempt", e.Attempt),
			slog.Int64("age_ms", e.Age.Milliseconds()), slog.Int64("duration_ms", e.Duration.Milliseconds()),
		}
		if e.Stack != "" {
			attrs = append(attrs, slog.String("stack", e.Stack))
		}
		if e.Retry > 0 {
			attrs = append(attrs, slog.Int64("retry_ms", e.Retry.Milliseconds()))
		}
	}
	if err != nil { // of a user's function, which may quote what it sent
		err = redact.Hidden(err, redact.Text(redact.WithoutURL(err).Error()))
	}
	o.record(ctx, level, msg, err, attrs...)
}
