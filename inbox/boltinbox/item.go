package boltinbox

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"net/http"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/belay-go/belay/inbox"
)

// number returns the key for n. It is big-endian, so that keys sort as their numbers do.
func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func itemSize(value []byte) int64 { return int64(len(value)) + 64 }

func encode(it *inbox.Item) ([]byte, error) {
	text, err := json.Marshal(stored{
		it.Partner, it.Integration, it.Delivery, it.ID, it.Type, it.Key,
		it.Time.UTC(), it.Received.UTC(), it.Header, crc32.Checksum(it.Body, castagnoli),
	})
	if err != nil {
		return nil, fmt.Errorf("boltinbox: %w", err)
	}
	value := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(text)+len(it.Body)), uint32(len(text)))
	return append(append(value, text...), it.Body...), nil
}

func decode(seq, value []byte) (it inbox.Item, err error) {
	var m stored
	if len(value) < 4 || int(binary.BigEndian.Uint32(value)) > len(value)-4 {
		return it, fmt.Errorf("boltinbox: item %x cannot be read", seq)
	}
	end := 4 + binary.BigEndian.Uint32(value)
	if err := json.Unmarshal(value[4:end], &m); err != nil {
		return it, fmt.Errorf("boltinbox: item %x: %w", seq, err)
	}
	if m.Sum != 0 && m.Sum != crc32.Checksum(value[end:], castagnoli) {
		return it, fmt.Errorf("boltinbox: item %x: its body is not as it was stored", seq)
	}
	return inbox.Item{
		Seq: binary.BigEndian.Uint64(seq), Partner: m.Partner, Integration: m.Integration,
		Delivery: m.Delivery, ID: m.ID, Type: m.Type, Key: m.Key,
		Time: m.Time, Received: m.Received, Header: m.Header, Body: bytes.Clone(value[end:]), Due: m.Received,
	}, nil
}

// read returns an item in the state that Settle recorded.
func read(tx *bolt.Tx, seq []byte) (inbox.Item, error) {
	v := tx.Bucket(items).Get(seq)
	if v == nil {
		return inbox.Item{}, fmt.Errorf("%w: %d", inbox.ErrNoItem, binary.BigEndian.Uint64(seq))
	}
	it, err := decode(seq, v)
	if text := tx.Bucket(states).Get(seq); err == nil && text != nil {
		var n note
		if err = json.Unmarshal(text, &n); err == nil {
			it.State, it.Attempts, it.Due, it.Error, it.Failures = n.State, n.Attempts, n.Due, n.Error, n.Failures
		}
	}
	return it, err
}

// stored is the stored form of an item, without its body.
type stored struct {
	Partner, Integration, Delivery, ID, Type, Key string
	Time, Received                                time.Time
	Header                                        http.Header `json:",omitempty"`
	Sum                                           uint32      `json:",omitempty"` // CRC-32C of the body
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// note is the stored form of an item's state, as Settle writes it.
type note struct {
	State    inbox.State
	Attempts int
	Due      time.Time
	Error    string          `json:",omitempty"`
	Failures []inbox.Failure `json:",omitempty"`
}
