package tasks

import "time"

// StandStill makes the client believe that it stood still for a time.
func StandStill[TTx any](c *Client[TTx], d time.Duration) {
	c.beat.mu.Lock()
	defer c.beat.mu.Unlock()
	now := time.Now()
	c.beat.gaps = append(c.beat.gaps, gap{now.Add(-d), now})
}
