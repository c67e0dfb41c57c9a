package boltinbox

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"
)

// audit checks a store's file before it is opened: its pages, and that every event in it is whole. It changes nothing.
// A file that another process has open is left to bbolt, which says so.
func audit(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	for range 20 {
		locked, err := lock(f)
		if err != nil {
			return err
		}
		if locked {
			var a auditor
			if err := check(f, a.entry); err != nil {
				return fmt.Errorf("it is damaged, and was left as it is: %w", err)
			}
			if err := a.complete(); err != nil {
				return fmt.Errorf("it is damaged, and was left as it is: %w", err)
			}
			return nil
		}
		time.Sleep(50 * time.Millisecond) // bbolt waits as long
	}
	return nil
}

// auditor checks the entries of the buckets against each other.
type auditor struct {
	items    map[string]int64 // the time at which each item was received
	refer    []string         // keys of items that other buckets name
	dead     map[string]int64 // the times in the bucket of dead letters
	counted  uint64           // items, as the last transaction counted them
	isCount  bool
	sequence uint64
}

func (a *auditor) entry(bucket string, key, value []byte, sequence uint64) error {
	if a.items == nil {
		a.items, a.dead = make(map[string]int64), make(map[string]int64)
	}
	switch bucket {
	case string(items):
		it, err := decode(key, value)
		if err != nil || len(key) != 8 {
			return fmt.Errorf("event %x: %w", key, errors.Join(err, errNotWhole))
		}
		if n := binary.BigEndian.Uint64(key); n > sequence {
			return fmt.Errorf("event %d comes after the last one, %d", n, sequence)
		}
		a.items[string(key)] = it.Received.UnixNano()
	case string(states):
		var n note
		if err := json.Unmarshal(value, &n); err != nil {
			return fmt.Errorf("the state of event %x: %w", key, err)
		}
		a.refer = append(a.refer, string(key))
	case string(deadLetters):
		if len(value) != 8 {
			return errNotWhole
		}
		a.refer = append(a.refer, string(key))
		a.dead[string(key)] = int64(binary.BigEndian.Uint64(value))
	case string(counts):
		if bytes.Equal(key, items) && len(value) == 8 {
			a.counted, a.isCount = binary.BigEndian.Uint64(value), true
		}
	}
	return nil
}

var errNotWhole = errors.New("it is not whole")

// complete checks what only all entries together show.
func (a *auditor) complete() error {
	if a.isCount && a.counted != uint64(len(a.items)) {
		return fmt.Errorf("%d events are there of %d", len(a.items), a.counted)
	}
	for _, key := range a.refer {
		if _, ok := a.items[key]; !ok {
			return fmt.Errorf("event %x is missing", key)
		}
	}
	for key, at := range a.dead {
		if a.items[key] != at {
			return fmt.Errorf("the dead letter %x has another time", key)
		}
	}
	return nil
}
