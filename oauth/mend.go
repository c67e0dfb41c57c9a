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

// tokenAnswers is a transport that reads a token endpoint's answer whole, so that an answer that breaks off
// is a transport error. It also corrects answers that x/oauth2 would refuse, because a refresh token in one
// may be the only valid one.
type tokenAnswers struct{ next http.RoundTripper }

// maxTokenAnswer is the most bytes of an answer that are read, after decompression. x/oauth2 reads no more
// either.
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
	data = mend(data)
	if len(data) > 0 && data[0] == '{' && json.Valid(data) {
		// x/oauth2 reads text/plain as a form, but that is also what a server sends that sets no Content-Type.
		resp.Header = resp.Header.Clone()
		if resp.Header == nil {
			resp.Header = make(http.Header)
		}
		resp.Header.Set("Content-Type", "application/json")
	}
	resp.Body = io.NopCloser(bytes.NewReader(data))
	return resp, nil
}

// mend corrects the fields of a JSON answer. expires_in becomes a whole number, 0 if it is no number. An
// error that is not text becomes its code; false and null are removed, and so is any other field that should
// be text but is not. Data that needs no correction, or is not JSON, is returned as it is.
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
		if name == "error" && raw[0] != 'f' && raw[0] != 'n' { // neither false nor null, for example an object
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
