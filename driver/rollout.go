package driver

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
)

// Rollout decides which integrations use the next version of an adapter: a share of them that grows. The
// choice is always the same, and a larger share includes the smaller one. The zero value gives the next
// version to no integration.
type Rollout struct {
	// Stable and Next are versions, as the driver names them.
	Stable, Next string
	// Percent is the share of integrations that get Next, from 0 to 100: 1, then 10, 50 and 100.
	Percent float64
	// Override names the version for single integrations, whatever the share. Nil means none.
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

// Version returns the version for an integration. It depends only on the integration and the Rollout: every
// process returns the same version, and an integration that has Next at 10 % has it at 50 %.
func (r Rollout) Version(integration string) string {
	if v, ok := r.Override[integration]; ok {
		return v
	}
	// The hash includes the name of the next version, so that each rollout begins with other integrations.
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
