package belay

import (
	"context"
	"log/slog"
	"time"
)

// DeliveryReceived says that a webhook was verified and is kept, or was known already.
type DeliveryReceived struct {
	Partner, Integration string
	ID                   string // the delivery's
	Events               int    // in it
	Stored               bool   // false when all of them were known already
	Bytes                int
	Duration             time.Duration // from the first byte of the body to the answer
}

// DeliveryRejected says that a webhook was not taken.
type DeliveryRejected struct {
	Partner, Integration string
	Status               int    // of the answer
	Reason               string // one of a few words, for a metric's label: "signature", "size", …
	Err                  error
}

// EventHandled says how an attempt to handle a webhook's event has ended.
type EventHandled struct {
	Partner, Integration string
	ID, Type             string
	Attempt              int           // from 1
	Age                  time.Duration // since it was received
	Duration             time.Duration // of the attempt
	// Retry is when the next attempt follows, zero when none does: Err is nil then, or the event is set aside.
	Retry time.Duration
	// Aside is set when no more attempts follow, and the event is kept as it is.
	Aside bool
	Err   error
}

func (DeliveryReceived) event() {}
func (DeliveryRejected) event() {}
func (EventHandled) event()     {}

// logWebhook writes the events of webhooks.
func (o logObserver) logWebhook(ctx context.Context, e Event) {
	level, msg := slog.LevelDebug, ""
	var attrs []slog.Attr
	var err error
	switch e := e.(type) {
	case DeliveryReceived:
		msg = "belay: webhook received"
		attrs = []slog.Attr{
			slog.String("partner", e.Partner), slog.String("integration", e.Integration), slog.String("id", e.ID),
			slog.Int("events", e.Events), slog.Bool("stored", e.Stored), slog.Int("bytes", e.Bytes), slog.Int64("duration_ms", e.Duration.Milliseconds()),
		}
	case DeliveryRejected:
		level, msg, err = slog.LevelWarn, "belay: webhook rejected", e.Err
		attrs = []slog.Attr{
			slog.String("partner", e.Partner), slog.String("integration", e.Integration), slog.Int("status", e.Status), slog.String("reason", e.Reason),
		}
	case EventHandled:
		msg, err = "belay: webhook handled", e.Err
		switch {
		case e.Aside:
			level, msg = slog.LevelError, "belay: webhook set aside"
		case e.Err != nil:
			level, msg = slog.LevelWarn, "belay: webhook failed"
		}
		attrs = []slog.Attr{
			slog.String("partner", e.Partner), slog.String("integration", e.Integration), slog.String("id", e.ID), slog.String("type", e.Type),
			slog.Int("attempt", e.Attempt), slog.Int64("age_ms", e.Age.Milliseconds()), slog.Int64("duration_ms", e.Duration.Milliseconds()),
		}
		if e.Retry > 0 {
			attrs = append(attrs, slog.Int64("retry_ms", e.Retry.Milliseconds()))
		}
	}
	if err != nil {
		attrs = append(attrs, slog.String("error", err.Error()))
	}
	o.log.LogAttrs(ctx, level, msg, attrs...)
}
