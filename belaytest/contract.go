package belaytest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/belay-go/belay"
)

// Contract checks against a live partner that its answers still have the fields, kinds of values and headers of limits
// that they had, in a test that runs each day. It sends only what Calls names, which must change nothing.
//
//	belaytest.Contract{Path: "testdata/contracts/crm.json", Calls: []string{"/me", "/contacts?limit=1"}, Update: *update}.Check(t, client)
//
// The file has names and kinds, and no value. Fields whose names are ids, such as those of a map by id, are folded into
// "{}".
type Contract struct {
	// Path is the file of what was seen. It is written with Update, which keeps the kinds of values that a field has had, and
	// when it is missing; then nothing is checked. Where
	// the environment variable CI is set, a missing one fails the test.
	Path   string
	Update bool
	// Calls are paths of GET requests. A path is its own name in the file.
	Calls []string
	// Optional are fields that may be missing, as they are written in the file, such as "data[].phone". Nil means none.
	Optional []string
	// Timeout bounds one call. Zero means 30 s.
	Timeout time.Duration
}

// answerShape is what is known of the answers to a call.
type answerShape struct {
	Status int `json:"status"`
	// Fields are the kinds of values by their paths: "text", "number", "bool", "null", "object", "array", and several of
	// them.
	Fields map[string][]string `json:"fields,omitempty"`
	// Limits are the headers that state limits, with their values where these do not change from call to call.
	Limits map[string]string `json:"limits,omitempty"`
}

// Report is what has changed at a partner.
type Report struct {
	// Broken are changes that break those who rely on what was: a field that is gone, a kind of value that was not there,
	// another status, a header of a limit that is gone, a limit that is lower. New are those that break nothing.
	Broken, New []string
}

// Check makes the calls, and compares the answers with the file. What has broken fails the test, what is new is logged,
// and both are returned. A call without an answer fails the test, too: then the file is not written.
func (c Contract) Check(t testing.TB, client *belay.Client) Report {
	t.Helper()
	if client == nil || c.Path == "" || len(c.Calls) == 0 {
		t.Fatal("belaytest: Contract: the client is nil, or Path or Calls is empty")
	}
	now := make(map[string]answerShape)
	for _, path := range c.Calls {
		s, err := c.ask(t.Context(), client, path)
		if err != nil {
			t.Errorf("belaytest: the contract of %s: %v", path, err)
			continue
		}
		now[path] = s
	}
	if t.Failed() {
		return Report{}
	}
	data, err := os.ReadFile(c.Path)
	missing := errors.Is(err, fs.ErrNotExist)
	if missing && !c.Update && inCI() { // it would be missing each day, and nothing would be checked
		t.Errorf("belaytest: the contract %s is missing: write it elsewhere than where CI is set, and commit it", c.Path)
		return Report{}
	}
	if c.Update || missing {
		var was map[string]answerShape
		_ = json.Unmarshal(data, &was) // what cannot be read is written anew
		for path, s := range now {
			s.widen(was[path])
		}
		if err := writeContract(c.Path, now); err != nil {
			t.Errorf("belaytest: the contract: %v", err)
		}
		return Report{}
	}
	var was map[string]answerShape
	if err == nil {
		err = json.Unmarshal(data, &was)
	}
	if err != nil {
		t.Errorf("belaytest: the contract %s: %v", c.Path, err)
		return Report{}
	}
	var r Report
	for _, path := range c.Calls {
		if old, known := was[path]; known {
			c.compare(&r, path, old, now[path])
		} else {
			r.New = append(r.New, path+": no contract yet")
		}
	}
	for _, one := range r.New {
		t.Logf("new: %s", one)
	}
	for _, one := range r.Broken {
		t.Errorf("broken: %s", one)
	}
	return r
}

func writeContract(path string, now map[string]answerShape) error {
	data, err := json.MarshalIndent(now, "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}

// widen adds the kinds of values that a field had before, so that one that is empty at times is not news each day.
func (s *answerShape) widen(was answerShape) {
	if was.Status != s.Status {
		return
	}
	for name, kinds := range was.Fields {
		if s.Fields[name] == nil {
			continue
		}
		for _, kind := range kinds {
			if !slices.Contains(s.Fields[name], kind) {
				s.Fields[name] = append(s.Fields[name], kind)
			}
		}
		slices.Sort(s.Fields[name])
	}
}

// largest bounds an answer.
const largest = 8 << 20

func (c Contract) ask(ctx context.Context, client *belay.Client, path string) (s answerShape, err error) {
	timeout := c.Timeout
	if timeout == 0 {
		timeout = 30 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := client.NewRequest(ctx, http.MethodGet, path, nil)
	if err != nil {
		return s, err
	}
	resp, err := client.HTTPClient().Do(req) // with the client's layers; a status is no error
	if err != nil {
		return s, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, largest+1))
	if err != nil {
		return s, err
	}
	if len(body) > largest {
		return s, fmt.Errorf("the answer has more than %d bytes", largest)
	}
	s = answerShape{Status: resp.StatusCode, Fields: make(map[string][]string), Limits: limitsOf(resp.Header)}
	var v any
	if len(body) > 0 {
		if err := json.Unmarshal(body, &v); err != nil {
			return s, fmt.Errorf("the answer (%d) is no JSON: %w", resp.StatusCode, err)
		}
		s.add("", v)
	}
	return s, nil
}

// add notes the kinds of a value and of what is in it.
func (s *answerShape) add(path string, v any) {
	kind := "null"
	switch v := v.(type) {
	case string:
		kind = "text"
	case float64:
		kind = "number"
	case bool:
		kind = "bool"
	case []any:
		kind = "array"
		for _, item := range v {
			s.add(path+"[]", item)
		}
	case map[string]any:
		kind = "object"
		for name, value := range v {
			if anID.MatchString(name) {
				name = "{}"
			}
			s.add(strings.TrimPrefix(path+"."+strings.ReplaceAll(name, ".", `\.`), "."), value)
		}
	}
	if path != "" && !slices.Contains(s.Fields[path], kind) {
		s.Fields[path] = append(s.Fields[path], kind)
		slices.Sort(s.Fields[path])
	}
}

// anID is a name of a field that is an id: a number, or one with many digits.
var anID = regexp.MustCompile(`^[0-9]+$|^[0-9a-fA-F-]{16,}$|^(?:[A-Za-z]+_)?(?:[A-Za-z]*[0-9]){6,}[A-Za-z0-9]*$`)

var (
	aLimit = regexp.MustCompile(`(?i)limit|quota`)
	// inText is a limit within a text: "32/40" (Shopify), "api-usage=18/5000" (Salesforce), `"default";q=100;w=60`.
	inText = regexp.MustCompile(`(?:[0-9]/|;q=)([0-9]+)`)
	moving = regexp.MustCompile(`(?i)remaining|reset|used|retry|current|left`)
)

// limitsOf returns the headers that state limits.
func limitsOf(h http.Header) map[string]string {
	all := make(map[string]string)
	for name, values := range h {
		if aLimit.MatchString(name) && len(values) > 0 {
			all[name] = values[0]
			found := inText.FindStringSubmatch(values[0])
			switch {
			case moving.MatchString(name):
				all[name] = ""
			case found != nil:
				all[name] = found[1]
			case !aNumber.MatchString(values[0]):
				all[name] = ""
			}
		}
	}
	return all
}

var aNumber = regexp.MustCompile(`^[0-9]+$`)

func (c Contract) compare(r *Report, path string, was, now answerShape) {
	broken := func(format string, args ...any) {
		r.Broken = append(r.Broken, path+": "+fmt.Sprintf(format, args...))
	}
	isNew := func(format string, args ...any) {
		r.New = append(r.New, path+": "+fmt.Sprintf(format, args...))
	}
	if was.Status != now.Status {
		broken("the status is %d, was %d", now.Status, was.Status)
		return // another answer altogether
	}
	for _, name := range slices.Sorted(maps.Keys(was.Fields)) {
		kinds, there := now.Fields[name]
		switch {
		case !there && slices.Contains(c.Optional, name), !there && c.beneath(name, now):
		case !there:
			broken("the field %s is gone", name)
		default:
			for _, kind := range kinds {
				switch {
				case slices.Contains(was.Fields[name], kind):
				case slices.Equal(was.Fields[name], []string{"null"}): // it has a value for the first time
					isNew("the field %s is %s, was null", name, kind)
				default:
					broken("the field %s is %s, was %s", name, kind, strings.Join(was.Fields[name], " or "))
				}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(now.Fields)) {
		if was.Fields[name] == nil {
			isNew("the field %s, %s", name, strings.Join(now.Fields[name], " or "))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(was.Limits)) {
		value, there := now.Limits[name]
		switch old := was.Limits[name]; {
		case !there:
			broken("the header %s is gone", name)
		case old == value:
		case len(value) < len(old) || len(value) == len(old) && value < old:
			broken("the header %s says %s, said %s", name, value, old)
		default:
			isNew("the header %s says %s, said %s", name, value, old)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(now.Limits)) {
		if _, there := was.Limits[name]; !there {
			isNew("the header %s", name)
		}
	}
}

// beneath reports whether a field is missing only because what holds it is: an array that is empty this time, a null,
// or an object that is reported by itself.
func (c Contract) beneath(name string, now answerShape) bool {
	for at := len(name); at > 0; {
		if at = max(strings.LastIndexByte(name[:at], '.'), strings.LastIndex(name[:at], "[]")); at <= 0 {
			return false
		}
		kinds, there := now.Fields[name[:at]]
		switch {
		case !there && (slices.Contains(c.Optional, name[:at]) || !strings.HasSuffix(name[:at], "[]")):
			return true // it is gone itself
		case there && strings.HasPrefix(name[at:], "[]") && now.Fields[name[:at]+"[]"] == nil:
			return true // an empty array
		case there && slices.Equal(kinds, []string{"null"}):
			return true
		}
	}
	return false
}
