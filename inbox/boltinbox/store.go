// Package boltinbox stores webhooks in one file, for a service without a database for them. An event is on
// disk before the partner is answered: it survives a crash of the process and, if the disk honors fsync, a
// crash of the machine. Deliveries that arrive together share one fsync.
//
// It is an [inbox.Store], over bbolt. Only one process at a time can have the file open.
package boltinbox

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/belay-go/belay/inbox"
)

// Config bounds a store. The zero value works.
type Config struct {
	// Days is the number of days for which the IDs of events are remembered and dead letters are kept. If a
	// partner sends an event again later than that, the event is handled again. Zero means 30; negative is an
	// error, as is more than 36,500.
	Days int
	// MaxBytes bounds the IDs and events together; the file may be twice as large. At the bound the oldest
	// dead letters are deleted first, then the IDs that are older than a day, and then Add returns
	// [inbox.ErrFull]. An ID takes 120 bytes: 100 events a second for a day are 1 GiB. Zero means 1 GiB;
	// negative is an error.
	MaxBytes int64
}

// Store is an [inbox.Store] in a file. It is safe for concurrent use.
type Store struct {
	db  *bolt.DB
	cfg Config

	commits   sync.Mutex   // held during a transaction
	bytes     atomic.Int64 // in use; changed only under commits
	deadBytes int64        // the part of bytes that dead letters take

	mu      sync.Mutex
	waiting []*change // changes for the next transaction
}

// change is one caller's part of a transaction.
type change struct {
	do   func(tx *bolt.Tx, g *growth) error
	over bool // a transaction has tried it
	err  error
}

// commit runs do in a transaction, together with the changes of all callers that wait for the same
// transaction. They share one fsync.
func (s *Store) commit(do func(tx *bolt.Tx, g *growth) error) error {
	c := &change{do: do}
	s.mu.Lock()
	s.waiting = append(s.waiting, c)
	s.mu.Unlock()

	s.commits.Lock()
	defer s.commits.Unlock()
	if c.over { // the transaction of another caller included it
		return c.err
	}
	s.mu.Lock()
	batch := s.waiting
	s.waiting = nil
	s.mu.Unlock()
	for _, c := range batch { // if bbolt panics, no caller may take its change for done
		c.over, c.err = true, errAborted
	}
	if err := s.update(batch); err != nil && len(batch) > 1 { // one of them failed: run each alone
		for i := range batch {
			batch[i].err = s.update(batch[i : i+1])
		}
	} else {
		for _, c := range batch {
			c.err = err
		}
	}
	return c.err
}

var errAborted = errors.New("the transaction was aborted")

// update runs the changes of batch in one transaction.
func (s *Store) update(batch []*change) error {
	var g growth
	err := s.db.Update(func(tx *bolt.Tx) error {
		for _, c := range batch {
			if err := c.do(tx, &g); err != nil {
				return err
			}
		}
		if g.items == 0 {
			return nil
		}
		return tx.Bucket(counts).Put(items, number(count(tx)+uint64(g.items)))
	})
	if err == nil {
		s.bytes.Add(g.bytes)
		s.deadBytes += g.deadBytes
	}
	return err
}

// growth is the change of the store's counts by one transaction.
type growth struct{ bytes, deadBytes, items int64 }

var (
	items       = []byte("items")        // seq → meta, body
	states      = []byte("states")       // seq → note
	known       = []byte("known")        // DedupeKey → 1
	knownAt     = []byte("known at")     // time received, DedupeKey → nothing
	deadLetters = []byte("dead_letters") // seq → time received
	counts      = []byte("counts")       // "items" → number of items, to find out whether some are missing
)

// count returns the number of items.
func count(tx *bolt.Tx) uint64 {
	if v := tx.Bucket(counts).Get(items); len(v) == 8 {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

const (
	knownSize = 120    // approximate bytes of an ID, with its share of pages
	maxDays   = 36_500 // a hundred years
)

// Open opens the file, and creates it if there is none. A file that another process has open, or that is not
// such a file, is an error. Open reads the whole file first: one that is damaged, cut off for example, is an error that
// says where, and stays as it is.
func Open(path string, cfg Config) (*Store, error) {
	if cfg.Days < 0 || cfg.MaxBytes < 0 || cfg.Days > maxDays {
		return nil, fmt.Errorf("boltinbox: Days %d, MaxBytes %d: must not be negative, nor Days above %d",
			cfg.Days, cfg.MaxBytes, maxDays)
	}
	cfg.Days, cfg.MaxBytes = cmp.Or(cfg.Days, 30), cmp.Or(cfg.MaxBytes, 1<<30)
	s := &Store{cfg: cfg}
	if err := s.open(path); err != nil {
		return nil, err
	}
	return s, nil
}

// open opens the database, once its file was found whole. If bbolt panics or faults nevertheless, open returns that as
// an error.
func (s *Store) open(path string) (err error) {
	if err := audit(path); err != nil {
		return fmt.Errorf("boltinbox: %s: %w", path, err)
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("boltinbox: %s is damaged: %v", path, p)
		}
	}()
	s.db, err = bolt.Open(path, 0o600, &bolt.Options{
		Timeout: time.Second, FreelistType: bolt.FreelistMapType, NoFreelistSync: true,
	})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return fmt.Errorf("boltinbox: %s is open in another process", path)
	}
	if err != nil {
		return fmt.Errorf("boltinbox: %s: %w", path, err)
	}
	err = s.db.Update(func(tx *bolt.Tx) error {
		if file, err := os.Stat(path); err != nil || file.Size() < tx.Size() {
			return errors.Join(errors.New("the file was cut off"), err)
		}
		for _, name := range [][]byte{items, states, known, knownAt, deadLetters, counts} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		all, deadBytes, n := int64(tx.Bucket(known).Inspect().KeyN)*knownSize, int64(0), uint64(0)
		err := tx.Bucket(items).ForEach(func(k, v []byte) error {
			n++
			all += itemSize(v)
			if tx.Bucket(deadLetters).Get(k) != nil {
				deadBytes += itemSize(v)
			}
			return nil
		})
		s.bytes.Store(all)
		s.deadBytes = deadBytes
		if err == nil && n != count(tx) { // a file from before they were counted
			err = tx.Bucket(counts).Put(items, number(n))
		}
		return err
	})
	if err != nil {
		return errors.Join(fmt.Errorf("boltinbox: %s: %w", path, err), s.db.Close())
	}
	return nil
}

// Close closes the file. Shut down the [inbox.Worker] that uses it first.
func (s *Store) Close() error { return s.db.Close() }

// Durable returns true.
func (s *Store) Durable() bool { return true }

// Bytes returns the bytes in use, out of Config.MaxBytes.
func (s *Store) Bytes() int64 { return s.bytes.Load() }

// Add implements [inbox.Store].
func (s *Store) Add(_ context.Context, add []*inbox.Item) error {
	if len(add) == 0 {
		return nil
	}
	keys := make([][sha256.Size]byte, len(add))
	values := make([][]byte, len(add))
	for i, it := range add {
		keys[i] = it.DedupeKey()
		value, err := encode(it)
		if err != nil {
			return err
		}
		values[i] = value
	}
	full := false
	err := s.commit(func(tx *bolt.Tx, g *growth) error { // may run more than once
		s.expire(tx, add[0].Received, 2*len(add)+2, g)
		ids, times, all := tx.Bucket(known), tx.Bucket(knownAt), tx.Bucket(items)
		all.FillPercent, times.FillPercent = 0.9, 0.9 // keys come in order
		need := int64(0)
		for i, it := range add {
			if it.Seq = 0; ids.Get(keys[i][:]) == nil {
				need += itemSize(values[i]) + knownSize
			}
		}
		if full = need > 0 && !s.room(tx, need, add[0].Received, keys, g); full {
			return nil
		}
		for i, it := range add {
			if ids.Get(keys[i][:]) != nil {
				continue
			}
			seq, err := all.NextSequence()
			if err == nil {
				err = all.Put(number(seq), values[i])
			}
			if err == nil {
				err = ids.Put(keys[i][:], []byte{1})
			}
			if err == nil {
				err = times.Put(append(number(uint64(it.Received.UnixNano())), keys[i][:]...), nil)
			}
			if err != nil {
				return err
			}
			it.Seq = seq
			g.bytes += itemSize(values[i]) + knownSize
			g.items++
		}
		return nil
	})
	switch {
	case err != nil:
		for _, it := range add {
			it.Seq = 0
		}
		return fmt.Errorf("boltinbox: %w", err)
	case full:
		return fmt.Errorf("%w: %d bytes are held, %d may be", inbox.ErrFull, s.bytes.Load(), s.cfg.MaxBytes)
	}
	return nil
}

// Known implements [inbox.Store].
func (s *Store) Known(_ context.Context, it *inbox.Item) (is bool, err error) {
	key := it.DedupeKey()
	err = s.db.View(func(tx *bolt.Tx) error {
		is = tx.Bucket(known).Get(key[:]) != nil
		return nil
	})
	return is, err
}

// Get implements [inbox.Store].
func (s *Store) Get(_ context.Context, seq uint64) (it inbox.Item, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		it, err = read(tx, number(seq))
		return err
	})
	return it, err
}

// Settle implements [inbox.Store].
func (s *Store) Settle(_ context.Context, changes []inbox.Change) error {
	err := s.commit(func(tx *bolt.Tx, g *growth) error {
		for _, c := range changes {
			seq := number(c.Seq)
			v := tx.Bucket(items).Get(seq)
			switch {
			case v == nil:
				continue
			case c.State == inbox.Handled:
				s.drop(tx, seq, g)
				continue
			}
			if old := tx.Bucket(states).Get(seq); c.Failures == nil && old != nil {
				var n note
				if json.Unmarshal(old, &n) == nil {
					c.Failures = n.Failures
				}
			}
			text, err := json.Marshal(note{c.State, c.Attempts, c.Due, c.Error, c.Failures})
			if err != nil {
				return err
			}
			if err := tx.Bucket(states).Put(seq, text); err != nil {
				return err
			}
			was, is := tx.Bucket(deadLetters).Get(seq) != nil, c.State != inbox.Pending
			switch {
			case was && !is:
				g.deadBytes -= itemSize(v)
				err = tx.Bucket(deadLetters).Delete(seq)
			case is && !was:
				g.deadBytes += itemSize(v)
				it, _ := decode(seq, v)
				err = tx.Bucket(deadLetters).Put(seq, number(uint64(it.Received.UnixNano())))
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("boltinbox: %w", err)
	}
	return nil
}

// Items implements [inbox.Store]. It reads items in batches, so that the file does not grow while the caller
// looks at them. An unreadable item is Dead, with only its Seq and the error.
func (s *Store) Items(ctx context.Context) iter.Seq2[inbox.Item, error] {
	return func(yield func(inbox.Item, error) bool) {
		next := number(0)
		for {
			var some []inbox.Item
			size := 0
			err := s.db.View(func(tx *bolt.Tx) error {
				c := tx.Bucket(items).Cursor()
				for k, v := c.Seek(next); k != nil && len(some) < 256 && size < 1<<20; k, v = c.Next() {
					it, err := read(tx, k)
					if err != nil { // a damaged item must not hold up the others
						it = inbox.Item{Seq: binary.BigEndian.Uint64(k), State: inbox.Dead, Error: err.Error()}
					}
					size += len(v)
					some = append(some, it)
				}
				return ctx.Err()
			})
			if err != nil {
				yield(inbox.Item{}, err)
				return
			}
			if len(some) == 0 {
				return
			}
			for _, it := range some {
				if !yield(it, nil) {
					return
				}
			}
			next = number(some[len(some)-1].Seq + 1)
		}
	}
}
