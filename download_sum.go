package belay

import (
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"net/http"
	"strings"
)

// sum is a checksum that the partner sent, with the hash to compare it with.
type sum struct {
	hash.Hash
	kind, want string
}

// sumOf returns the strongest checksum of the whole content in h, nil if there is none. Content-MD5 is of the body
// that it comes with (RFC 1864), which may be a part.
func sumOf(h http.Header, whole bool) *sum {
	sent := make(map[string]string)
	for _, name := range [...]string{"Digest", "Repr-Digest"} {
		for part := range strings.SplitSeq(h.Get(name), ",") {
			if kind, value, ok := strings.Cut(strings.TrimSpace(part), "="); ok {
				sent[strings.ToLower(kind)] = strings.Trim(value, ":") // RFC 9530 puts colons around the value
			}
		}
	}
	if v := h.Get("Content-Md5"); v != "" && whole {
		sent["md5"] = v
	}
	for _, known := range [...]struct {
		kind string
		of   func() hash.Hash
	}{{"sha-512", sha512.New}, {"sha-256", sha256.New}, {"md5", md5.New}} {
		if want := sent[known.kind]; want != "" {
			return &sum{known.of(), known.kind, want}
		}
	}
	return nil
}

// check returns the name of the checksum if it matches, or an error. For a nil s it returns "".
func (s *sum) check() (string, error) {
	if s == nil {
		return "", nil
	}
	got := s.Sum(nil)
	if s.want == base64.StdEncoding.EncodeToString(got) || strings.EqualFold(s.want, hex.EncodeToString(got)) {
		return s.kind, nil
	}
	return "", fmt.Errorf("the %s of what came is not the one that the partner sent", s.kind)
}
