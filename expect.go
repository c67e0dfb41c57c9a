package belay

import (
	"bytes"
	"net/http"

	"github.com/belay-go/belay/internal/charset"
	"github.com/belay-go/belay/schema"
)

// Expect compares the answer of a typed call with a schema, beside what decoding it finds: a field that is gone decodes to
// its zero value without an error. A difference is a [SchemaChanged], once for each; with [schema.Reject] and
// [schema.Fail] the call fails with ErrData, too. The schema's paths begin at the answer's body, as in "data[].address.full",
// and are those of each page of a list. It has no effect on an answer without a body and on a call that does not read it:
// one for None, a raw request, a download. A schema with a field out of range is an error; nil expects nothing.
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
	if err != nil {
		return err
	}
	if text := string(bytes.TrimSpace(data)); text == "" || text == "null" { // decoding it has found that it may be so
		return nil
	}
	return x.opts.expect.Look(data, func(d schema.Drift) {
		if x.observed() {
			call := x.info()
			x.emit(SchemaChanged{
				Partner: call.Partner, Integration: call.Integration, What: call.Method + " " + call.Endpoint(),
				Difference: d.String(),
			})
		}
	})
}
