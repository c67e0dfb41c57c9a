package driver

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/belay-go/belay"
)

// Snapshot holds a hash of each record of a list, for a [ResourceLister] whose partner cannot say what has changed: the
// list is read whole, and compared with what it was. A record takes some 25 bytes of a mark. It is not safe for
// concurrent use.
type Snapshot struct{ sums map[string]string }

// NewSnapshot returns an empty snapshot.
func NewSnapshot() *Snapshot { return &Snapshot{make(map[string]string)} }

// largestSnapshot bounds what a mark may hold, unpacked: some two million records.
const largestSnapshot = 64 << 20

// OpenSnapshot returns the snapshot that a mark holds. An empty mark is an empty one.
func OpenSnapshot(mark string) (*Snapshot, error) {
	s := NewSnapshot()
	if mark == "" {
		return s, nil
	}
	packed, err := base64.StdEncoding.DecodeString(mark)
	if err == nil {
		var z *gzip.Reader
		if z, err = gzip.NewReader(bytes.NewReader(packed)); err == nil {
			err = json.NewDecoder(io.LimitReader(z, largestSnapshot)).Decode(&s.sums)
		}
	}
	if err == nil && s.sums == nil {
		err = errors.New("it holds nothing")
	}
	if err != nil {
		return nil, fmt.Errorf("driver: the mark is not one of a Snapshot: %w", err)
	}
	return s, nil
}

// Mark returns the snapshot as a mark. One of more than 64 MiB, unpacked, is an error: it could not be opened again.
func (s *Snapshot) Mark() (string, error) {
	data, err := json.Marshal(s.sums)
	if err != nil {
		return "", err
	}
	if len(data) > largestSnapshot {
		return "", fmt.Errorf("driver: the snapshot of %d records has %d bytes, may have %d", len(s.sums), len(data), largestSnapshot)
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(data); err != nil {
		return "", err
	}
	if err := z.Close(); err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(b.Bytes()), nil
}

// Add adds a record, by what it is as JSON. An empty id is an error.
func (s *Snapshot) Add(id string, record any) error {
	if id == "" {
		return fmt.Errorf("driver: a record has no id")
	}
	data, err := json.Marshal(record) // the names of a map are sorted, and raw JSON is compacted
	if err != nil {
		return fmt.Errorf("driver: the record %q: %w", id, err)
	}
	sum := sha256.Sum256(data)
	s.sums[id] = hex.EncodeToString(sum[:8])
	return nil
}

// keep adds a record as it was before, if it was there.
func (s *Snapshot) keep(before *Snapshot, id string) {
	if sum, there := before.sums[id]; there {
		s.sums[id] = sum
	}
}

// Since returns what has changed since before, sorted, without a Mark. If before is empty, all records are in Updated.
func (s *Snapshot) Since(before *Snapshot) (d Delta) {
	for _, id := range slices.Sorted(maps.Keys(s.sums)) {
		switch was, known := before.sums[id]; {
		case !known && len(before.sums) > 0:
			d.Added = append(d.Added, id)
		case was != s.sums[id]:
			d.Updated = append(d.Updated, id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(before.sums)) {
		if _, there := s.sums[id]; !there {
			d.Deleted = append(d.Deleted, id)
		}
	}
	return d
}

// Missing asks what became of each record in d.Deleted, which was not on the pages: ask returns the id that it has now.
// Another id goes to d.Merged; its own means that it is still there, as it was before; an error that is
// belay.ErrNotFound, that it is deleted. Any other error ends it.
func (s *Snapshot) Missing(ctx context.Context, before *Snapshot, d *Delta, ask func(ctx context.Context, id string) (now string, err error)) error {
	missing := d.Deleted
	d.Deleted = nil
	for _, id := range missing {
		now, err := ask(ctx, id)
		switch {
		case errors.Is(err, belay.ErrNotFound):
			d.Deleted = append(d.Deleted, id)
		case err != nil:
			return err
		case now == id:
			s.keep(before, id)
		default:
			if d.Merged == nil {
				d.Merged = make(map[string]string)
			}
			d.Merged[id] = now
		}
	}
	return nil
}
