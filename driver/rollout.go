package driver

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
)

// Rollout says which integrations use the next version of an adapter: a share of them that grows, always the same ones and those
// of before. The zero value gives it to nobody.
type Rollout struct {
	// Stable and Next are versions, as the driver names them.
	Stable, Next string
	// Percent of integrations get Next, from 0 to 100: 1, then 10, 50 and 100.
	Percent float64
	// Override names a version for single integrations, whatever the share. Nil is none.
	Override map[string]string
}

func (r Rollout) check() error {
	if !(r.Percent >= 0 && r.Percent <= 100) {
		return fmt.Errorf("driver: Rollout.Percent is %v, must be from 0 to 100", r.Percent)
	}
	if r.Percent > 0 && r.Next == "" {
		return errors.New("driver: Rollout.Next is empty")
	}
	return nil
}

// Version returns the version that an integration gets. It depends on nothing but the integration and the Rollout: every process
// says the same, and who has Next at 10 % has it at 50 %.
func (r Rollout) Version(integration string) string {
	if v, ok := r.Override[integration]; ok {
		return v
	}
	// The name of the next version is in it, lest the same integrations are the first each time.
	sum := sha256.Sum256([]byte(r.Next + "\x00" + integration))
	at := float64(binary.BigEndian.Uint64(sum[:8])) / math.MaxUint64 * 100
	if at < r.Percent || r.Percent >= 100 {
		return r.Next
	}
	return r.Stable
}

func (r Rollout) clone() Rollout {
	r.Override = maps.Clone(r.Override)
	return r
}
