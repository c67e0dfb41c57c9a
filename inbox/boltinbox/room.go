package boltinbox

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// expire deletes IDs and dead letters that are older than Days. The argument most bounds their number.
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

// room makes room for more bytes, and reports whether it could. It deletes the oldest dead letters, and then
// IDs that are older than a day, except those in keep. If all of that is not enough, it deletes nothing.
func (s *Store) room(tx *bolt.Tx, more int64, now time.Time, keep [][sha256.Size]byte, g *growth) bool {
	over := func() int64 { return s.bytes.Load() + g.bytes + more - s.cfg.MaxBytes }
	var old [][]byte // keys of knownAt
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

// rememberedDays is the number of days for which IDs are remembered even if the store is full.
const rememberedDays = 1

// forget deletes an ID. The argument at is its key in knownAt.
func (s *Store) forget(tx *bolt.Tx, at []byte, g *growth) {
	_ = tx.Bucket(known).Delete(at[8:])
	_ = tx.Bucket(knownAt).Delete(at)
	g.bytes -= knownSize
}

// earlier returns the key of the time that was days before now.
func earlier(now time.Time, days int) []byte {
	return number(uint64(max(0, now.AddDate(0, 0, -days).UnixNano())))
}

// drop deletes an item, but not its ID.
func (s *Store) drop(tx *bolt.Tx, seq []byte, g *growth) {
	if v := tx.Bucket(items).Get(seq); v != nil {
		g.bytes -= itemSize(v)
		g.items--
		if tx.Bucket(deadLetters).Get(seq) != nil {
			g.deadBytes -= itemSize(v)
		}
		_ = tx.Bucket(items).Delete(seq)
	}
	_ = tx.Bucket(states).Delete(seq)
	_ = tx.Bucket(deadLetters).Delete(seq)
}
