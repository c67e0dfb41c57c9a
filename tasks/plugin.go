package tasks

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/errkit"
	"github.com/belay-go/belay/internal/redact"
)

// ExpiringArgs are arguments of tasks that are of no use if they begin too late, such as a look at a status. Such a
// task is canceled with [ErrExpired] if it has waited for longer; one that has begun before and is tried again, 55 minutes
// later. Zero means 5 minutes, negative never. Events and pushes must not have it.
type ExpiringArgs interface{ ExpiresAfter() time.Duration }

const (
	defaultExpiry = 5 * time.Minute
	staleAfter    = time.Hour - defaultExpiry // behind its end, a task that has begun before is stale
)

// LatestArgs are arguments of tasks of which only the newest matters, such as an import of everything. A task is
// canceled with [ErrSuperseded] if one with the same key, inserted later, has succeeded. An empty key means none.
type LatestArgs interface{ LatestKey() string }

var (
	// ErrExpired is the error of a task that has waited for too long (ExpiringArgs).
	ErrExpired = errors.New("tasks: the task has expired")
	// ErrSuperseded is the error of a task after a newer one has succeeded (LatestArgs).
	ErrSuperseded = errors.New("tasks: a newer run has succeeded")
)

// state is what this package keeps in a job's metadata.
type state struct {
	Expires     int64  `json:"tasks_expires,omitempty"` // ms since 1970
	Latest      string `json:"tasks_latest,omitempty"`
	Parent      int64  `json:"tasks_parent,omitempty"`
	Root        int64  `json:"tasks_root,omitempty"`
	Writer      string `json:"tasks_writer,omitempty"`
	Waits       int    `json:"tasks_waits,omitempty"` // for another writer
	Done        int64  `json:"tasks_done,omitempty"`
	Due         int64  `json:"tasks_due,omitempty"` // ms since 1970: before its company's turn has changed it
	Correlation string `json:"tasks_correlation,omitempty"`
	Snoozed     int64  `json:"tasks_snoozed,omitempty"` // ms since 1970: the first of the snoozes in a row
	Class       string `json:"tasks_class,omitempty"`   // of the last error
	Snoozes     int    `json:"snoozes,omitempty"`       // River's own
}

// plugin is what River calls.
type plugin[TTx any] struct {
	river.PluginDefaults
	c *Client[TTx]
}

// InsertBegin implements [rivertype.HookInsertBegin].
func (p *plugin[TTx]) InsertBegin(ctx context.Context, params *rivertype.JobInsertParams) error {
	now := time.Now()
	// River would leave a job that is due to the leader, which looks every five seconds.
	if params.State == rivertype.JobStateScheduled && params.ScheduledAt != nil && !params.ScheduledAt.After(now) {
		params.State = rivertype.JobStateAvailable
	}
	add := make(map[string]any)
	if e, ok := params.Args.(ExpiringArgs); ok && e.ExpiresAfter() >= 0 {
		from := now
		if params.ScheduledAt != nil && params.ScheduledAt.After(now) {
			from = *params.ScheduledAt
		}
		add["tasks_expires"] = from.Add(cmp.Or(e.ExpiresAfter(), defaultExpiry)).UnixMilli()
	}
	var latest, writer, company string
	var errs [3]error
	if l, ok := params.Args.(LatestArgs); ok {
		latest, errs[0] = keyOf("LatestKey", l.LatestKey())
	}
	if w, ok := params.Args.(WriterArgs); ok {
		writer, errs[1] = keyOf("WritesTo", w.WritesTo())
	}
	if one, ok := params.Args.(CompanyArgs); ok {
		company, errs[2] = keyOf("Company", one.Company())
	}
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	if latest != "" {
		add["tasks_latest"], add["tasks_inserted"] = params.Kind+" "+latest, now.UnixNano()
	}
	if writer != "" {
		add["tasks_writer"] = writer
	}
	if company != "" {
		add["tasks_company"], add["tasks_priority"] = company, min(params.Priority, PriorityLow)
		front := false
		if params.State == rivertype.JobStateAvailable {
			var err error
			if front, err = p.c.toFront(ctx, params.Queue, company); err != nil {
				return err
			}
		}
		if !front {
			params.Priority = behindFront
		}
	}
	if parent := runOf(ctx); parent != nil && parent.client == any(p.c) {
		add["tasks_parent"], add["tasks_root"] = parent.job.ID, parent.root
	}
	if id := belay.CorrelationID(ctx); id != "" {
		add["tasks_correlation"] = id
	}
	if len(add) == 0 {
		return nil
	}
	have := make(map[string]json.RawMessage)
	if len(params.Metadata) > 0 {
		if err := json.Unmarshal(params.Metadata, &have); err != nil {
			return fmt.Errorf("tasks: the metadata of the task is no JSON object: %w", err)
		}
	}
	for name, value := range add {
		if _, own := have[name]; !own {
			raw, err := json.Marshal(value)
			if err != nil {
				return err
			}
			have[name] = raw
		}
	}
	var err error
	params.Metadata, err = json.Marshal(have)
	return err
}

// Work implements [rivertype.WorkerMiddleware].
func (p *plugin[TTx]) Work(ctx context.Context, job *rivertype.JobRow, do func(context.Context) error) error {
	c := p.c
	c.retries.forget(job.ID)
	c.markRun(ctx, job)
	began := time.Now()
	// lost reports whether the task has run elsewhere since it began here. Whatever it ends with here is ignored then.
	lost := func() bool { return c.beat.gapSince(began, c.cfg.DeadAfter/2) && c.ranElsewhere(ctx, job) }
	var st state
	_ = json.Unmarshal(job.Metadata, &st) // what is not there is zero
	// later puts the task off because the database does not answer: nothing of it has run.
	later := func(err error) error { return fmt.Errorf("%w (%w)", river.JobSnooze(c.cfg.Heartbeat), err) }
	if c.beat.dead() { // after an outage of the database: others must know first that this process lives
		if err := c.sign(ctx); err != nil {
			return later(err)
		}
	}
	end := time.UnixMilli(st.Expires)
	if job.Attempt > 1 || st.Snoozes > 0 {
		end = end.Add(staleAfter)
	}
	if st.Expires > 0 && time.Now().After(end) {
		return c.canceled(ctx, ErrExpired)
	}
	if newer, err := c.superseded(ctx, &st, job.ID); err != nil || newer {
		if err != nil {
			return later(err)
		}
		return c.canceled(ctx, ErrSuperseded)
	}
	if st.Due > 0 {
		_ = river.MetadataSet(ctx, "tasks_due", nil)
	}
	if st.Writer != "" {
		release, err := c.takeWriter(ctx, st.Writer, job, st.Waits)
		var snooze *river.JobSnoozeError
		switch {
		case err != nil && lost():
			return err
		case err != nil && !errors.As(err, &snooze) && ctx.Err() == nil:
			return later(err)
		case err != nil:
			return err
		}
		defer release(false)
	}
	alive, done := c.beat.within(ctx)
	defer done()
	run := &run{client: c, job: job, root: cmp.Or(st.Root, job.ID), waits: st.Waits, before: st.Done, write: c.writeProgress}
	inner := context.WithValue(alive, runKey{}, run)
	correlation := st.Correlation
	if correlation == "" {
		correlation = fmt.Sprint("task-", job.ID)
	}
	inner = belay.CallContext(inner, belay.Correlation(correlation))
	result := c.apart(inner, job, do)
	run.storeLast(ctx)
	switch elsewhere := lost(); { // another process has run it meanwhile, and its row has ended
	case elsewhere && result.stack != nil:
		c.log.ErrorContext(ctx, "tasks: a run panicked whose task runs elsewhere", "task", job.ID, "kind", job.Kind)
		return nil
	case elsewhere:
		return result.err
	case result.stack != nil:
		panic(c.panicked(ctx, job, &result))
	case result.err == nil:
		return c.succeeded(ctx, &st, job.ID)
	}
	return c.apply(inner, job, result.err, &st)
}

// canceled gives a task up that is no dead letter, whatever an attempt before has left.
func (c *Client[TTx]) canceled(ctx context.Context, why error) error {
	_ = river.MetadataSet(ctx, "tasks_class", nil)
	return river.JobCancel(why)
}

// superseded reports whether a newer task has succeeded: one that was inserted later, by its id.
func (c *Client[TTx]) superseded(ctx context.Context, st *state, job int64) (bool, error) {
	if st.Latest == "" {
		return false, nil
	}
	var n int
	err := c.read.QueryRowContext(ctx, "select count(*) from tasks_newest where key = $1 and job > $2", st.Latest, job).Scan(&n)
	return n > 0, err
}

func (c *Client[TTx]) succeeded(ctx context.Context, st *state, job int64) error {
	if st.Latest == "" {
		return nil
	}
	_, err := c.db.ExecContext(context.WithoutCancel(ctx), `insert into tasks_newest (key, job) values ($1, $2)
		on conflict (key) do update set job = excluded.job where tasks_newest.job < excluded.job`, st.Latest, job)
	if err != nil {
		c.log.WarnContext(ctx, "tasks: noting a success", "error", err)
	}
	return nil
}

// remember notes the error of an attempt in the job's metadata: River keeps none of a snooze.
func (c *Client[TTx]) remember(ctx context.Context, job *rivertype.JobRow, class string, err error) {
	text := oneLine(err.Error())
	sum := sha256.Sum256([]byte(job.Kind + "\n" + class + "\n" + errkit.Fingerprint(text)))
	for name, value := range map[string]any{
		"tasks_class": class, "tasks_error": text, "tasks_fingerprint": hex.EncodeToString(sum[:8]),
	} {
		_ = river.MetadataSet(ctx, name, value)
	}
}

// storable returns an error whose text can be stored: without what looks like a credential, and without NUL, which
// PostgreSQL does not take.
func storable(err error) error {
	if text := storableText(err.Error()); text != err.Error() {
		return redact.Hidden(err, text)
	}
	return err
}

func storableText(text string) string { return withoutNUL(redact.Text(text)) }

func withoutNUL(text string) string { return strings.ReplaceAll(text, "\x00", "\uFFFD") }

// longestKey bounds the keys and names of arguments.
const longestKey = 1000

// keyOf returns a key or a name of arguments, as it can be stored.
func keyOf(what, text string) (string, error) {
	if len(text) > longestKey {
		return "", fmt.Errorf("tasks: %s has %d bytes, may have %d", what, len(text), longestKey)
	}
	return withoutNUL(strings.ToValidUTF8(text, "\uFFFD")), nil
}

// oneLine returns a text on one line, bounded, without what looks like a credential.
func oneLine(text string) string { return redact.Line(redact.Text(strings.TrimSpace(text)), 500) }
