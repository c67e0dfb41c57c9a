package oauth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/belay-go/belay/internal/errbody"
)

// tokenAnswers reads a token endpoint's answer whole, so that one that breaks off is trouble on the way, and mends what
// x/oauth2 would refuse: a refresh token in it may be the only good one.
type tokenAnswers struct{ next http.RoundTripper }

// maxTokenAnswer is how much is read, after decompression; x/oauth2 looks at no more.
const maxTokenAnswer = 1 << 20

func (t tokenAnswers) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(req)
	if err == nil && resp == nil {
		err = errors.New("the transport returned neither response nor error")
	}
	if err != nil {
		return nil, err
	}
	var data []byte
	if resp.Body != nil {
		data, err = io.ReadAll(io.LimitReader(resp.Body, maxTokenAnswer))
		_ = resp.Body.Close()
		if err != nil {
			return nil, fmt.Errorf("reading the answer: %w", err)
		}
	}
	resp.Body = io.NopCloser(bytes.NewReader(mend(data)))
	return resp, nil
}

// mend makes fields of a JSON answer what they should be: expires_in a whole number, the others text. What is neither is left out.
func mend(data []byte) []byte {
	trimmed := bytes.TrimSpace(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")))
	var fields map[string]json.RawMessage
	if len(trimmed) == 0 || trimmed[0] != '{' || json.Unmarshal(trimmed, &fields) != nil {
		return data
	}
	changed := len(trimmed) != len(data)
	for _, name := range [...]string{"token_type", "refresh_token", "error", "error_description", "error_uri"} {
		raw, ok := fields[name]
		if !ok || raw[0] == '"' {
			continue
		}
		changed = true
		delete(fields, name)
		if name == "error" && raw[0] != 'f' && raw[0] != 'n' { // neither false nor null: an object, say
			code := errbody.Decode(trimmed, nil).Code
			if code == "" {
				code = "error"
			}
			fields[name], _ = json.Marshal(code)
		}
	}
	if raw, ok := fields["expires_in"]; ok {
		seconds, err := strconv.ParseFloat(strings.Trim(string(raw), `" `), 64)
		whole := []byte("0")
		if err == nil && !math.IsNaN(seconds) {
			whole = strconv.AppendInt(nil, int64(max(-1, min(seconds, math.MaxInt32))), 10)
		}
		if changed = changed || !bytes.Equal(raw, whole); changed {
			fields["expires_in"] = whole
		}
	}
	if !changed {
		return data
	}
	out, err := json.Marshal(fields)
	if err != nil {
		return data
	}
	return out
}
