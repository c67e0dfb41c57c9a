package belay

import (
	"fmt"
	"time"
)

// CachePolicy says how answers are kept, for [WithCache].
type CachePolicy struct {
	// TTL is how long an answer is used that does not say for how long it may be. Zero means that it is not used without
	// asking; negative and above 24 h are errors.
	TTL time.Duration
	// FreeNotModified says that the partner does not count a request that it answers with 304, as GitHub does: it gives
	// its permits back.
	FreeNotModified bool
}

// WithCache keeps the answers to GET calls, and answers the same call from the cache as long as the partner says
// (Cache-Control and Expires, RFC 9111), or for the policy's TTL if it does not say. After that the call asks whether
// the answer has changed, by ETag or Last-Modified. A kept answer is for the same URL, headers, cookies, integration
// and credential only ([Identified]). What a middleware or the transport adds to requests is not looked at: with one
// that adds the user of the call, keep no answers. A write to the same URL that succeeds forgets it, and so does a 401,
// 403, 404 or 410. Lists ([Pages]), [Poll], [Await] and [Download] are not kept, nor are answers with no-store or above
// 4 MiB. [Info].Age tells a kept answer. Nil, the default, keeps none.
func WithCache(c Cache, p CachePolicy) Option {
	return func(cfg *config) error {
		if p.TTL < 0 || p.TTL > 24*time.Hour {
			return fmt.Errorf("WithCache: TTL is %s, must be from 0 to 24h", p.TTL)
		}
		s := cfg.own()
		s.caching.cache, s.caching.policy, s.caching.writes = c, p, new(writes)
		return nil
	}
}

// WithStaleIfError keeps the answers to GET calls, and answers the same call with the kept one, no older than maxAge,
// when the partner cannot: after a 5xx, a 429, a timeout or a connection that failed, with all retries done, for an
// answer that cannot be used, and while the circuit is open. The call succeeds then: [Info].Stale and Info.Age tell,
// and for raw responses the header Cache-Status (RFC 9211). [CallDone] has the failure, and Stale. What a refused
// credential or a switched-off client may not have is not served. What is kept, and for whom, is as for [WithCache],
// and both may have the same cache; must-revalidate, which many frameworks send with every answer, is ignored here.
// Zero and negative are errors; nil, the default, keeps none.
func WithStaleIfError(c Cache, maxAge time.Duration) Option {
	return func(cfg *config) error {
		if c != nil && maxAge <= 0 {
			return fmt.Errorf("WithStaleIfError: maxAge is %s, must be above 0", maxAge)
		}
		s := cfg.own()
		s.caching.stale, s.caching.maxAge, s.caching.writes = c, maxAge, new(writes)
		return nil
	}
}

// Uncached asks the partner itself: no kept answer is used for the call, and its own is not kept. The probes of package
// watch have it.
func Uncached() CallOption { return callOption(func(o *callOptions) { o.uncached = true }) }
