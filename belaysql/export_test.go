package belaysql

import "time"

// SetLease makes leases of tokens shorter, for tests.
func (t *Tokens) SetLease(d time.Duration) { t.ttl = d }
