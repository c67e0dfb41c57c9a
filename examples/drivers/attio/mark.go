package attio

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
)

// marks are hashes of records by their ids.
type marks map[string]string

const longestMark = 64 << 20 // some two million records

// readMark returns what a mark holds; an empty one holds nothing.
func readMark(mark string) (marks, error) {
	all := make(marks)
	if mark == "" {
		return all, nil
	}
	packed, err := base64.StdEncoding.DecodeString(mark)
	if err == nil {
		var z *gzip.Reader
		if z, err = gzip.NewReader(bytes.NewReader(packed)); err == nil {
			err = json.NewDecoder(io.LimitReader(z, longestMark)).Decode(&all)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("attio: the mark is not one of this driver: %w", err)
	}
	return all, nil
}

func (m marks) mark() (string, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if err := json.NewEncoder(z).Encode(m); err != nil {
		return "", err
	}
	if err := z.Close(); err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(b.Bytes()), nil
}

// without returns the ids that now does not have, sorted.
func (m marks) without(now marks) (gone []string) {
	for _, id := range slices.Sorted(maps.Keys(m)) {
		if _, there := now[id]; !there {
			gone = append(gone, id)
		}
	}
	return gone
}

// hashOf returns a hash of a record's values.
func hashOf(values map[string]json.RawMessage) string {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(values)) {
		fmt.Fprintf(h, "%q:", name)
		var compact bytes.Buffer
		if json.Compact(&compact, values[name]) == nil {
			h.Write(compact.Bytes())
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}
