package partners

import (
	"bytes"
	"encoding/json"

	"github.com/belay-go/belay"
)

// graphQLError is an error of GraphQL.
type graphQLError struct {
	Extensions struct{ Code, Type string }
}

// graphQLErrors returns the errors of an answer below 500 that holds no data. An answer with data is the caller's: a part
// of it may have been done.
func graphQLErrors(a *belay.Attempt) []graphQLError {
	if a.Err != nil || a.Response == nil || a.Response.StatusCode < 200 || a.Response.StatusCode >= 500 {
		return nil
	}
	body := a.Peek()
	if !bytes.Contains(body, []byte(`"errors"`)) {
		return nil
	}
	var answer struct {
		Data   json.RawMessage
		Errors []json.RawMessage
	}
	if json.Unmarshal(body, &answer) != nil || len(answer.Errors) == 0 {
		return nil
	}
	var data map[string]json.RawMessage
	if json.Unmarshal(answer.Data, &data) == nil {
		for _, value := range data {
			if string(value) != "null" {
				return nil
			}
		}
	}
	errs := make([]graphQLError, len(answer.Errors))
	for i, raw := range answer.Errors {
		_ = json.Unmarshal(raw, &errs[i]) // an old error of monday is a text
	}
	return errs
}

// asStatus is the verdict that an answer would get if it had another status.
func asStatus(a *belay.Attempt, status int) belay.Verdict {
	resp, b := *a.Response, *a
	resp.StatusCode = status
	b.Response = &resp
	v := belay.Classify(&b)
	a.Response.Body = resp.Body // Peek puts back what it has read
	return v
}
