package belay

import (
	"bytes"
	"errors"
	"net/http"

	"github.com/belay-go/belay/internal/charset"
	"github.com/belay-go/belay/internal/redact"
	"github.com/belay-go/belay/schema"
)

// Expect checks the answer of a typed call against a schema. Decoding alone does not notice a missing field: it leaves
// the zero value. Each new difference is a [SchemaChanged]; with [schema.Reject] or [schema.Fail] the call also fails
// with ErrData. Paths begin at the root of the body, as in "data[].address.full"; for a list, at that of each page.
// Calls whose body is not decoded (None, raw requests, downloads), and empty and null answers, are not checked. Make
// the schema once, and not for each call: it remembers what it has reported. A nil s checks nothing. If s is out of
// range, the call fails with ErrInvalid.
func Expect(s *schema.Schema) CallOption {
	var err error
	if s != nil {
		err = s.Check()
	}
	return callOption(func(o *callOptions) {
		if err != nil {
			o.fail("Expect: %w", err)
		}
		o.expect = s
	})
}

// expected compares the body of an answer with the call's schema.
func (x *exchange) expected(data []byte, resp *http.Response) error {
	if x.opts.expect == nil {
		return nil
	}
	data, err := charset.UTF8(data, resp.Header.Get("Content-Type"))
	if err != nil && !errors.Is(err, charset.ErrNotUTF8) { // raw items need not be UTF-8
		return err
	}
	if text := bytes.TrimSpace(data); len(text) == 0 || string(text) == "null" { // decoding it has found that it may be so
		return nil
	}
	secrets := x.secrets()
	clean := func(name string) string { return redact.Values(name, secrets) }
	return x.opts.expect.Compare(data, clean, func(d schema.Drift) {
		if x.observed() {
			call := x.info()
			x.emit(SchemaChanged{
				Partner: call.Partner, Integration: call.Integration, What: call.Method + " " + call.Endpoint(),
				Difference: d.String(),
			})
		}
	})
}
