package errbody

import (
	"bytes"
	"encoding/xml"
	"io"
	"strings"
)

// xml reads the texts of elements whose names say what they are, as in errors of Amazon S3 and of SOAP. A page for
// people says nothing.
func (in *Info) xml(body []byte) {
	if head := strings.ToLower(string(body[:min(len(body), 200)])); strings.Contains(head, "<html") || strings.Contains(head, "<!doctype") {
		return
	}
	d := xml.NewDecoder(bytes.NewReader(body))
	d.Strict, d.CharsetReader = false, func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	fields := map[string]*string{
		"code": &in.Code, "faultcode": &in.Code, "errorcode": &in.Code, "error_code": &in.Code,
		"message": &in.Message, "faultstring": &in.Message, "description": &in.Message, "detail": &in.Message,
		"errormessage": &in.Message, "error_description": &in.Message, "requestid": &in.RequestID,
	}
	var name string
	for range 1000 {
		t, err := d.RawToken()
		if err != nil {
			return
		}
		switch t := t.(type) {
		case xml.StartElement:
			name = strings.ToLower(t.Name.Local)
		case xml.EndElement:
			name = ""
		case xml.CharData:
			to := fields[name]
			if s := strings.TrimSpace(string(t)); to != nil && *to == "" && s != "" {
				*to = s
			}
		}
	}
}
