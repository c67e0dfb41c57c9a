package belaysql

import "time"

// SetLease makes leases of tokens shorter, for tests.
func (t *Tokens) SetLease(d time.Duration) { t.ttl = d }

// SetLease makes claims shorter, for tests.
func (b *Inbox) SetLease(d time.Duration) { b.ttl = d }

// Held reports whether the process has claimed the inbox.
func (b *Inbox) Held() bool { return b.fence.Load() > 0 }
