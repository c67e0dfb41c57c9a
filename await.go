package belay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/belay-go/belay/internal/charset"
	"github.com/belay-go/belay/internal/errbody"
	"github.com/belay-go/belay/internal/redact"
)

// Await sends a request whose work may take the partner longer, and returns the result. Between two looks it waits for
// the answer's Retry-After or for a backoff that begins at one second and grows to 30 seconds, whichever is longer.
//
// After an answer with Operation-Location or Azure-AsyncOperation (200, 201 or 202) it asks that URL, a monitor, until
// the status in its JSON is final. A monitor without a status is the result. A final status of failure is an error with
// the monitor's code and message, and its JSON in [Error].Body. After a final status of success the result is what the
// monitor's resourceLocation leads to, and otherwise the monitor's JSON (Microsoft Azure REST API Guidelines,
// "Long-Running Operations"). After Azure-AsyncOperation it is what path leads to for PUT and PATCH, and the Location
// of the first answer for POST, if there is something (Azure Resource Manager RPC, "Asynchronous Operations").
//
// Otherwise, while the answer is 202 (RFC 9110 section 15.3.3), it asks the latest Location of the answers, or path if
// there was none, and the first answer that is not 202 is the result, unless its JSON says of itself that it is running
// (the status Running, InProgress, NotStarted or Queued, or a percentage below 100): then it is a monitor. In the first
// 30 seconds, a 404 of a link means that the partner does not know the operation yet.
//
// The context bounds it: without a deadline it may take as long as the partner likes. A link must lead to the partner's
// own origin or to a trusted one. Method, path, body, T and opts are as for [Send]; the body and an idempotency key are
// sent with the first request only.
func Await[T any](ctx context.Context, c *Client, method, path string, body any, opts ...CallOption) (T, error) {
	var out, zero T
	_, nothing := any(out).(None)
	w := await{c: c, method: method, path: path, target: path, nothing: nothing}
	if err := w.run(ctx, body, opts); err != nil {
		return zero, err
	}
	switch to := any(&out).(type) {
	case *None:
	case *[]byte:
		*to = w.body
	default:
		if w.status == http.StatusNoContent || w.status == http.StatusResetContent {
			return zero, nil
		}
		if err := decodeJSON(w.body, w.header, &out); err != nil {
			return zero, w.fail(err)
		}
	}
	return out, nil
}

// unknownFor is how long a 404 means that the partner does not know an operation yet.
const unknownFor = 30 * time.Second

// await is the state of one Await.
type await struct {
	c            *Client
	method, path string
	target       string // the path or URL to ask next
	monitor      bool   // target is a monitor, whose JSON says how far the operation is
	ended        bool   // target is the resource of an operation that has ended
	nothing      bool   // nobody wants the result
	azure        bool   // the first answer had an Azure-AsyncOperation
	location     string // of the first answer

	last looked // the monitor's last one, if it is the result where the resource cannot be had
	looked
}

// looked is an answer that has come.
type looked struct {
	x      *exchange
	status int
	header http.Header
	asked  *url.URL
	body   json.RawMessage
}

// run sends the request and asks for its result. The result is the last answer.
func (w *await) run(ctx context.Context, body any, opts []CallOption) error {
	if err := w.send(ctx, w.method, body, opts); err != nil {
		return err
	}
	w.azure = w.header.Get("Azure-Asyncoperation") != ""
	if u, err := w.asked.Parse(w.header.Get("Location")); err == nil && len(w.header["Location"]) > 0 {
		w.location = u.String()
	}
	linked := pollOptions(w.path, opts)
	again := append(append([]CallOption{}, opts...), callOption(func(o *callOptions) { o.key = "" }))
	began, known := time.Now(), false
	for wait := firstPoll; ; wait = longer(wait) {
		over, err := w.over()
		if over || err != nil {
			return err
		}
		if !w.ended {
			if err := w.c.pause(ctx, w.path, wait, w.header); err != nil {
				return err
			}
		}
		options := again
		if w.target != w.path {
			options = linked
		}
		for {
			err := w.send(ctx, http.MethodGet, nil, options)
			if err == nil {
				known = true
				break
			}
			var e *Error
			if w.last.x != nil && errors.As(err, &e) && (e.StatusCode == http.StatusNotFound || e.StatusCode == http.StatusMethodNotAllowed) {
				w.looked = w.last
				return nil
			}
			if known || w.target == w.path || !errors.As(err, &e) || e.StatusCode != http.StatusNotFound ||
				time.Since(began) > unknownFor {
				return err
			}
			if err := w.c.pause(ctx, w.path, wait, nil); err != nil {
				return err
			}
			wait = longer(wait)
		}
	}
}

// send makes one request to the target and keeps the answer.
func (w *await) send(ctx context.Context, method string, body any, opts []CallOption) error {
	x, resp, err := w.c.open(ctx, method, w.target, body, append(slices.Clip(opts), Uncached()), func(data []byte, _ *http.Response) error {
		w.body = append(json.RawMessage(nil), data...)
		return nil
	})
	if err != nil {
		return err
	}
	w.x, w.status, w.header, w.asked = x, resp.StatusCode, resp.Header, resp.Request.URL
	if w.status == http.StatusNoContent || w.status == http.StatusResetContent {
		w.body = w.body[:0]
	}
	_ = resp.Body.Close()
	x.freeBuffer()
	return nil
}

// over reports whether the last answer is the result. Otherwise it sets the target of the next request.
func (w *await) over() (bool, error) {
	if !w.monitor && !w.ended && w.target != w.path && w.status == http.StatusOK && w.saysRunning() {
		w.monitor = true
	}
	if w.monitor {
		status, resource := w.progress()
		switch ending(status) {
		case succeeded:
			return w.succeeded(resource)
		case failed:
			return true, w.failed(status)
		case running:
			if status != "" {
				return false, w.follow(w.monitorLink())
			}
		}
	}
	if w.last.x != nil && w.status == http.StatusAccepted {
		w.looked = w.last
		return true, nil
	}
	switch link := w.monitorLink(); {
	case w.ended && w.status != http.StatusAccepted:
		return true, nil
	case link != "" && w.status >= 200 && w.status <= 202 && !w.monitor:
		w.monitor = true
		return false, w.follow(link)
	case w.status != http.StatusAccepted:
		return true, nil
	case w.monitor:
		return false, w.follow(link)
	}
	return false, w.follow(w.header.Get("Location"))
}

// succeeded reports whether the JSON of a monitor that says so is the result. Otherwise it sets the target to the
// result.
func (w *await) succeeded(resource string) (bool, error) {
	if w.monitor = false; w.nothing {
		return true, nil
	}
	w.ended = true
	switch {
	case resource != "":
		return false, w.follow(resource)
	case !w.azure:
		return true, nil
	case w.method == http.MethodPut, w.method == http.MethodPatch:
		w.target, w.last = w.path, w.looked
		return false, nil
	case w.method == http.MethodPost && w.location != "":
		w.last = w.looked
		return false, w.follow(w.location)
	}
	return true, nil
}

// saysRunning reports whether the answer of a Location says in its JSON that the operation is running. The words are
// those of machines: an order that is new, pending or being processed is a result.
func (w *await) saysRunning() bool {
	status, _ := w.progress()
	switch plainStatus(status) {
	case "running", "inprogress", "notstarted", "queued":
		return true
	}
	return false
}

// monitorLink returns the link to a monitor in the last answer, empty if there is none.
func (w *await) monitorLink() string {
	if link := w.header.Get("Operation-Location"); link != "" {
		return link
	}
	return w.header.Get("Azure-Asyncoperation")
}

// follow sets the target to a link in the last answer. An empty link changes nothing.
func (w *await) follow(link string) error {
	if link == "" {
		return nil
	}
	u, err := w.asked.Parse(link)
	if err != nil {
		return w.fail(errors.New("the link to the operation is no URL"))
	}
	if err := w.c.checkLink(u.String()); err != nil {
		return w.fail(fmt.Errorf("the link to the operation %w", err))
	}
	w.target = w.x.unsigned(u.String())
	return nil
}

// progress returns the status that a monitor tells, empty if it tells none, and the link to the finished resource.
func (w *await) progress() (status, resource string) {
	var m struct {
		Status, State, ProvisioningState, JobStatus, OperationStatus any
		Done, IsDone, IsComplete, IsCompleted, Finished, IsFinished  *bool
		PercentComplete, PercentageComplete, PercentDone             *float64

		Error            json.RawMessage
		ResourceLocation string
		Properties, Data struct{ ProvisioningState, Status, State any }
	}
	data, _ := charset.UTF8(w.body, w.header.Get("Content-Type"))
	_ = json.Unmarshal(data, &m) // a field of another type is left out
	for _, v := range []any{m.Status, m.State, m.ProvisioningState, m.JobStatus, m.OperationStatus, m.Properties.ProvisioningState} {
		if object, ok := v.(map[string]any); ok { // {"status":{"state":"running"}}
			v = object["state"]
		}
		if text, ok := v.(string); ok && text != "" {
			status = text
			break
		}
	}
	// An envelope's "ok" says that the question was answered. What is within it may say more.
	if plain := strings.ToLower(status); plain == "" || plain == "ok" || plain == "success" {
		for _, v := range []any{
			m.State, m.ProvisioningState, m.Data.Status, m.Data.State, m.Data.ProvisioningState, m.Properties.Status, m.Properties.State,
		} {
			text, ok := v.(string)
			if !ok {
				continue
			}
			if end, known := known(text); known && (end != succeeded || status == "") {
				return text, m.ResourceLocation
			}
		}
	}
	if status != "" {
		return status, m.ResourceLocation
	}
	done, told := false, false
	for _, v := range []*bool{m.Done, m.IsDone, m.IsComplete, m.IsCompleted, m.Finished, m.IsFinished} {
		if v != nil {
			done, told = *v, true
		}
	}
	for _, v := range []*float64{m.PercentComplete, m.PercentageComplete, m.PercentDone} {
		if v != nil && !told {
			done, told = *v >= 100, true
		}
	}
	switch {
	case !told && !emptyStatus(data):
		return "", m.ResourceLocation
	case !done: // or there is no word for it yet
		return "running", ""
	case len(m.Error) > 0 && string(m.Error) != "null":
		return "failed", ""
	}
	return "done", m.ResourceLocation
}

// emptyStatus reports whether JSON has a status that is null or empty.
func emptyStatus(data []byte) bool {
	var m map[string]json.RawMessage
	if json.Unmarshal(data, &m) != nil {
		return false
	}
	for name, v := range m {
		if strings.EqualFold(name, "status") && (string(v) == "null" || string(v) == `""`) {
			return true
		}
	}
	return false
}

// end is what a status says of an operation.
type end uint8

const (
	running end = iota
	succeeded
	failed
)

var endings = map[string]end{
	"succeeded": succeeded, "success": succeeded, "successful": succeeded, "completed": succeeded, "complete": succeeded,
	"done": succeeded, "finished": succeeded, "ready": succeeded, "ok": succeeded,
	"canceled": failed, "cancelled": failed, "aborted": failed, "rejected": failed, "expired": failed, "timedout": failed,
	"stopped": failed, "terminated": failed, "deadlettered": failed, "denied": failed, "skipped": failed,
	"faulted": failed, "timeout": failed, "invalid": failed, "declined": failed, "unsuccessful": failed,
	"completedwithwarnings": succeeded, "running": running, "pending": running, "processing": running, "inprogress": running,
	"queued": running, "started": running, "accepted": running, "notstarted": running, "waiting": running, "new": running,
	"partiallysucceeded": failed, "partiallycompleted": failed, "partialsuccess": failed, "partial": failed,
}

// ending returns what a status says. An unknown status says that the operation is running.
func ending(status string) end {
	e, _ := known(status)
	return e
}

// known returns what a status says, and whether it is one that is known.
func known(status string) (end, bool) {
	plain := plainStatus(status)
	if e, ok := endings[plain]; ok {
		return e, true
	}
	if strings.Contains(plain, "fail") || strings.Contains(plain, "error") {
		return failed, true
	}
	return running, false
}

// plainStatus returns a status in lower case, without "_", "-" and blanks.
func plainStatus(status string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r == '-' || r == ' ' {
			return -1
		}
		return r
	}, strings.ToLower(status))
}

// fail returns the error for an answer that is not as promised. The request itself was accepted.
func (w *await) fail(err error) error {
	e := w.c.dataFault(w.method, w.path, w.x.clean(err)).(*Error)
	e.StatusCode, e.Done = w.status, true
	return e
}

// failed returns the error for an operation that has failed.
func (w *await) failed(status string) error {
	secrets := w.x.secrets()
	told := errbody.Decode(w.body, secrets)
	if told.Code == "" || strings.EqualFold(told.Code, status) {
		told.Code = redact.Line(redact.Values(status, secrets), 100)
	}
	v := Verdict{Class: ClassClient, Scope: ScopeCall, Code: told.Code, Message: told.Message}
	e := w.c.fault(w.method, w.path, v, errors.New("the operation has failed")).(*Error)
	e.fill(nil, w.body[:min(len(w.body), errbody.MaxBytes)], secrets)
	e.StatusCode, e.RequestID = w.status, told.RequestID
	return e
}
