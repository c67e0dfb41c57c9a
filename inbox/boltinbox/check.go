package boltinbox

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
)

// check reads the whole file and returns an error that says what is damaged, before bbolt maps it into memory: bbolt
// trusts what it reads, and ends the process on a page that is cut off or zeroed. It calls entry with each key and
// value of each bucket. It knows bbolt's format of version 2: pages with a header of 16 bytes, of which two hold the
// state, and the others a tree for each bucket. An empty file is no error.
func check(f *os.File, entry func(bucket string, key, value []byte, sequence uint64) error) error {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return err
	}
	c := &checker{f: f, size: info.Size(), entry: entry}
	m, err := c.state()
	if err != nil {
		return err
	}
	if m.pages > uint64(c.size)/c.pageSize {
		return fmt.Errorf("it was cut off: %d pages of %d bytes are in use, and the file has %d bytes", m.pages, c.pageSize, c.size)
	}
	c.pages, c.seen = m.pages, make(map[uint64]bool)
	if err := c.tree(m.root, "", 0, 0, nil, nil); err != nil {
		return err
	}
	if c.buckets == 0 && m.tx > 2 { // a store's first transaction makes its buckets
		return errors.New("its buckets are missing")
	}
	return nil
}

// The parts of bbolt's format.
const (
	boltMagic   = 0xED0CDAED
	boltVersion = 2

	headerSize  = 16 // of a page: id, flags, count, overflow
	elementSize = 16 // of an entry in a page
	metaSize    = 64
	bucketSize  = 16 // of a bucket in its parent: root, sequence

	branchPage = 1
	leafPage   = 2
	bucketLeaf = 1 // flag of an entry that is a bucket

	deepest = 100 // levels of a tree; bbolt needs a handful
)

type checker struct {
	f        *os.File
	size     int64
	pageSize uint64
	pages    uint64 // in use
	seen     map[uint64]bool
	buckets  int
	entry    func(bucket string, key, value []byte, sequence uint64) error
}

// meta is the state of the file after a transaction.
type meta struct{ root, pages, tx uint64 }

// state returns the newer of the two states. Each of them must be whole: the older one alone could lack the last
// transaction, whose events were acknowledged.
func (c *checker) state() (meta, error) {
	var first [headerSize + metaSize]byte
	if _, err := c.f.ReadAt(first[:], 0); err != nil {
		return meta{}, fmt.Errorf("it is too short to be a store: %w", err)
	}
	a, size, err := parseMeta(first[:])
	if err != nil {
		return meta{}, fmt.Errorf("its first page is damaged: %w", err)
	}
	if size < 512 || size > 1<<20 || size&(size-1) != 0 {
		return meta{}, fmt.Errorf("its pages have %d bytes", size)
	}
	c.pageSize = uint64(size)
	if _, err := c.f.ReadAt(first[:], int64(size)); err != nil {
		return meta{}, fmt.Errorf("its second page is cut off: %w", err)
	}
	b, again, err := parseMeta(first[:])
	if err != nil || again != size {
		return meta{}, errors.Join(errors.New("its second page is damaged"), err)
	}
	if b.tx > a.tx {
		return b, nil
	}
	return a, nil
}

func parseMeta(page []byte) (m meta, pageSize uint32, err error) {
	p := page[headerSize:]
	u32, u64 := binary.LittleEndian.Uint32, binary.LittleEndian.Uint64
	sum := fnv.New64a()
	_, _ = sum.Write(p[:metaSize-8])
	switch {
	case u32(p) != boltMagic:
		return m, 0, errors.New("it is not that of a store")
	case u32(p[4:]) != boltVersion:
		return m, 0, fmt.Errorf("its version is %d", u32(p[4:]))
	case u64(p[metaSize-8:]) != sum.Sum64():
		return m, 0, errors.New("its checksum is wrong")
	}
	return meta{root: u64(p[16:]), pages: u64(p[40:]), tx: u64(p[48:])}, u32(p[8:]), nil
}

// tree checks the page id and those below it. Their keys are from low on and below high; nil means no bound.
func (c *checker) tree(id uint64, bucket string, sequence uint64, depth int, low, high []byte) error {
	switch {
	case id < 2 || id >= c.pages:
		return fmt.Errorf("a page %d is named, of %d", id, c.pages)
	case c.seen[id]:
		return fmt.Errorf("page %d belongs to two places", id)
	case depth > deepest:
		return errors.New("its pages are nested too deeply")
	}
	var header [headerSize]byte
	if _, err := c.f.ReadAt(header[:], int64(id*c.pageSize)); err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	more := uint64(binary.LittleEndian.Uint32(header[12:]))
	if binary.LittleEndian.Uint64(header[:]) != id || id+more >= c.pages {
		return fmt.Errorf("page %d is damaged", id)
	}
	for k := range more + 1 {
		c.seen[id+k] = true
	}
	data := make([]byte, (more+1)*c.pageSize)
	if n, err := c.f.ReadAt(data, int64(id*c.pageSize)); n < len(data) {
		return fmt.Errorf("page %d: %w", id, errors.Join(io.ErrUnexpectedEOF, err))
	}
	if err := c.page(data, bucket, sequence, depth, low, high); err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	return nil
}

var errEntries = errors.New("its entries are damaged")

// page checks the entries of a page.
func (c *checker) page(data []byte, bucket string, sequence uint64, depth int, low, high []byte) error {
	u32, u64 := binary.LittleEndian.Uint32, binary.LittleEndian.Uint64
	kind, count := binary.LittleEndian.Uint16(data[8:]), int(binary.LittleEndian.Uint16(data[10:]))
	leaf := kind == leafPage
	switch {
	case kind != branchPage && kind != leafPage:
		return fmt.Errorf("its kind is %d", kind)
	case headerSize+count*elementSize > len(data):
		return errEntries
	case count == 0 && (depth > 0 && low != nil || !leaf):
		return errors.New("it has no entry")
	}
	part := func(i int, at, size uint64) []byte {
		at += uint64(headerSize + i*elementSize)
		if at < uint64(headerSize+count*elementSize) || at+size > uint64(len(data)) {
			return nil
		}
		return data[at : at+size : at+size]
	}
	var last []byte
	for i := range count {
		e := data[headerSize+i*elementSize:]
		var key, value []byte
		if leaf {
			position, keySize, valueSize := uint64(u32(e[4:])), uint64(u32(e[8:])), uint64(u32(e[12:]))
			both := part(i, position, keySize+valueSize)
			if both == nil || keySize == 0 {
				return errEntries
			}
			key, value = both[:keySize:keySize], both[keySize:]
		} else if key = part(i, uint64(u32(e)), uint64(u32(e[4:]))); len(key) == 0 {
			return errEntries
		}
		if i > 0 && bytes.Compare(last, key) >= 0 || low != nil && bytes.Compare(key, low) < 0 ||
			high != nil && bytes.Compare(key, high) >= 0 {
			return errors.New("its keys are not in their order")
		}
		last = key
		var err error
		switch {
		case !leaf:
			next := high
			if i+1 < count {
				after := data[headerSize+(i+1)*elementSize:]
				if next = part(i+1, uint64(u32(after)), uint64(u32(after[4:]))); len(next) == 0 {
					return errEntries
				}
			}
			err = c.tree(u64(e[8:]), bucket, sequence, depth+1, key, next)
		case u32(e) == bucketLeaf:
			err = c.bucket(string(key), value, depth)
		case u32(e) != 0:
			return errEntries
		case bucket == "":
			return errors.New("an entry is in no bucket")
		default:
			err = c.entry(bucket, key, value, sequence)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// bucket checks a bucket, whose entries are in a tree of their own or, if they are few, in its parent.
func (c *checker) bucket(name string, value []byte, depth int) error {
	if len(value) < bucketSize {
		return errEntries
	}
	c.buckets++
	root, sequence := binary.LittleEndian.Uint64(value), binary.LittleEndian.Uint64(value[8:])
	if root != 0 {
		return c.tree(root, name, sequence, depth+1, nil, nil)
	}
	inline := value[bucketSize:]
	if len(inline) < headerSize || binary.LittleEndian.Uint16(inline[8:]) != leafPage {
		return errEntries
	}
	return c.page(inline, name, sequence, depth+1, nil, nil)
}
