package boltinbox

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// expire lets go of some of what is older than Days.
func (s *Store) expire(tx *bolt.Tx, now time.Time, most int, g *growth) {
	before := earlier(now, s.cfg.Days)
	c := tx.Bucket(knownAt).Cursor()
	for k, _ := c.First(); k != nil && most > 0 && bytes.Compare(k[:8], before) < 0; k, _ = c.First() {
		s.forget(tx, bytes.Clone(k), g)
		most--
	}
	c = tx.Bucket(deadLetters).Cursor()
	for k, v := c.First(); k != nil && most > 0 && bytes.Compare(v, before) < 0; k, v = c.First() {
		s.drop(tx, bytes.Clone(k), g)
		most--
	}
}

// room makes room for more bytes, of what was set aside and of IDs but those of keep, and reports whether there is. When there is not,
// it takes nothing.
func (s *Store) room(tx *bolt.Tx, more int64, now time.Time, keep [][sha256.Size]byte, g *growth) bool {
	over := func() int64 { return s.bytes.Load() + g.bytes + more - s.cfg.MaxBytes }
	var old [][]byte // of knownAt
	if left := over() - s.deadBytes - g.deadBytes; left > 0 {
		before, c := earlier(now, rememberedDays), tx.Bucket(knownAt).Cursor()
		for k, _ := c.First(); left > 0; k, _ = c.Next() {
			if k == nil || bytes.Compare(k[:8], before) >= 0 {
				return false
			}
			if !slices.Contains(keep, [sha256.Size]byte(k[8:])) {
				old = append(old, bytes.Clone(k))
				left -= knownSize
			}
		}
	}
	for over() > 0 {
		k, _ := tx.Bucket(deadLetters).Cursor().First()
		if k == nil {
			break
		}
		s.drop(tx, bytes.Clone(k), g)
	}
	for _, k := range old {
		s.forget(tx, k, g)
	}
	return over() <= 0
}

// rememberedDays is for how long IDs are remembered at least, however full it is.
const rememberedDays = 1

// forget deletes an ID; at is its key in knownAt.
func (s *Store) forget(tx *bolt.Tx, at []byte, g *growth) {
	_ = tx.Bucket(known).Delete(at[8:])
	_ = tx.Bucket(knownAt).Delete(at)
	g.bytes -= knownSize
}

// earlier is the key of a time that was days before now.
func earlier(now time.Time, days int) []byte {
	return number(uint64(max(0, now.AddDate(0, 0, -days).UnixNano())))
}

// drop deletes an item, but not its ID.
func (s *Store) drop(tx *bolt.Tx, seq []byte, g *growth) {
	if v := tx.Bucket(items).Get(seq); v != nil {
		g.bytes -= itemSize(v)
		if tx.Bucket(deadLetters).Get(seq) != nil {
			g.deadBytes -= itemSize(v)
		}
		_ = tx.Bucket(items).Delete(seq)
	}
	_ = tx.Bucket(states).Delete(seq)
	_ = tx.Bucket(deadLetters).Delete(seq)
}
