package belay

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"maps"
	"net/http"
	"net/textproto"
	"reflect"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/belay-go/belay/internal/httpcache"
)

// Identified is an [Authenticator] that tells its credentials from others': two with the same identity get the same
// answers. Bearer, APIKey, APIKeyQuery, Basic, Rotating and those of package oauth are. The answers that any other one
// gets are not kept, because its credential may depend on the call.
type Identified interface {
	// CredentialID returns the identity, which must hold no credential. Empty means that answers are not kept.
	CredentialID() string
}

// caching holds the options of the layer that keeps answers.
type caching struct {
	cache  Cache // for fresh answers; nil means none
	policy CachePolicy
	stale  Cache // for failures; nil means none
	maxAge time.Duration
	writes *writes // not nil if there is a cache
}

// writes counts what forgets answers, by the first byte of their keys: an answer that was on its way meanwhile may be
// the one before, and is not kept. Writes elsewhere keep few answers from being kept, one in 256.
type writes [256]atomic.Uint64

func (w *writes) of(key string) *atomic.Uint64 {
	n, _ := strconv.ParseUint(key[:2], 16, 8)
	return &w[n]
}

const (
	mostKept  = 4 << 20 // bytes of a kept body
	cacheTime = time.Second
)

// kept is what the layer knows of a call.
type kept struct {
	key    string
	writes uint64 // when the call began
	served bool   // from the cache
	age    time.Duration
	stale  bool
	// The failure that a stale answer stands for.
	err     error
	verdict Verdict
	status  int
}

// keep is the layer that keeps answers, and serves them.
func (x *exchange) keep(next *next) (*http.Response, error) {
	look, store := x.mayKeep()
	if !look && !store {
		return next.send(x)
	}
	k := &kept{}
	if k.key = x.cacheKey(); k.key == "" {
		return next.send(x)
	}
	x.record().kept = k
	if m := x.method(); m != http.MethodGet {
		resp, err := next.send(x)
		if err == nil && x.verdict.Class == ClassOK || x.unread {
			x.forget(k.key)
		}
		return resp, err
	}
	c := &x.set.caching
	k.writes = c.writes.of(k.key).Load()
	var have httpcache.Entry
	found, asked, req := false, false, x.req
	if c.cache != nil && look {
		if have, found = x.kept(c.cache, k.key); found && time.Now().Before(have.Fresh) {
			return x.serve(have, "hit"), nil
		}
		asked = found && x.askIfChanged(have)
	}
	decode := x.decode
	resp, err := next.send(x)
	if x.req = req; resp != nil {
		resp.Request = req // a redirect goes on without what was added
	}
	if asked && err == nil && resp.StatusCode == http.StatusNotModified && x.verdict.Class == ClassOK {
		_ = resp.Body.Close()
		x.freeBuffer()
		newer, ok := have.Refreshed(resp.Header, time.Now(), c.policy.TTL)
		if ok {
			c.store(x.ctx, k, newer)
		} else {
			x.forget(k.key)
		}
		return x.serve(newer, "hit; detail=REVALIDATED"), nil
	}
	if err == nil && x.decode != nil { // now, because an answer that cannot be used is a failure too
		x.decoded(resp)
	}
	switch {
	case err != nil:
	case x.verdict.Class == ClassOK:
		if store {
			x.remember(resp, k)
		}
	case slices.Contains(gone, resp.StatusCode): // what is refused or deleted does not come back with the next outage
		x.forget(k.key)
	}
	if c.stale == nil || !look || !x.unavailable() {
		return resp, err
	}
	if have, found = x.kept(c.stale, k.key); !found || time.Since(have.Stored) > c.maxAge {
		return resp, err
	}
	k.stale, k.err, k.verdict = true, err, x.verdict
	if err == nil {
		k.status = resp.StatusCode
		_ = resp.Body.Close()
	}
	if err = x.past().note; err != nil {
		k.err, x.record().note = err, nil
	}
	x.freeBuffer()
	x.decode, x.verdict, x.data = decode, Verdict{}, nil
	return x.serve(have, "hit; detail=STALE"), nil
}

// gone are the statuses after which a kept answer is none any more.
var gone = []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusGone}

// mayKeep reports whether a kept answer may be looked for, and whether the answer may be kept.
func (x *exchange) mayKeep() (look, store bool) {
	switch x.method() {
	case http.MethodGet:
	case http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
		return false, true
	default:
		return false, false
	}
	h := x.req.Header
	if x.opts.uncached || h["Range"] != nil || h["If-None-Match"] != nil || h["If-Modified-Since"] != nil ||
		h["If-Match"] != nil || h["If-Unmodified-Since"] != nil || h["If-Range"] != nil ||
		x.req.Body != nil && x.req.Body != http.NoBody {
		return false, false
	}
	return httpcache.Bypass(h)
}

// askIfChanged makes the request conditional, if the kept answer has a validator.
func (x *exchange) askIfChanged(have httpcache.Entry) bool {
	validators := have.Validators()
	if validators == nil {
		return false
	}
	clone := *x.req
	clone.Header = x.req.Header.Clone()
	if clone.Header == nil {
		clone.Header = make(http.Header)
	}
	maps.Copy(clone.Header, validators)
	x.req = &clone
	return true
}

// unavailable reports whether the partner could not answer.
func (x *exchange) unavailable() bool {
	switch x.verdict.Class {
	case ClassTransient, ClassRateLimited, ClassData, ClassRefused:
		return x.enabled == nil || x.enabled()
	}
	return false
}

// ignoredInKey are headers of a request that do not change what a partner answers.
var ignoredInKey = []string{
	"Accept-Encoding", "Baggage", "Cache-Control", "Content-Encoding", "Content-Length", "Content-Md5", "Content-Type",
	"Expect", "Idempotency-Key", "If-Match", "If-Modified-Since", "If-None-Match", "If-Unmodified-Since", "Pragma", "Prefer",
	"Request-Id", "Traceparent", "Tracestate", "User-Agent", "X-Correlation-Id", "X-Request-Id",
}

// cacheKey returns the key of the call's URL for its credential, empty if it has none that can be told from others.
func (x *exchange) cacheKey() string {
	identity := "none"
	if a := x.authenticator(); a != nil {
		i, ok := a.(Identified)
		if !ok {
			return ""
		}
		if identity = i.CredentialID(); identity == "" {
			return ""
		}
	}
	h := sha256.New()
	put := func(s string) { _, _ = io.WriteString(h, strconv.Itoa(len(s))+":"+s) }
	put("belay 1")
	put(x.set.name)
	put(x.integration)
	put(identity)
	if x.set.jar != nil {
		for _, c := range x.set.jar.Cookies(x.req.URL) {
			put(c.Name)
			put(c.Value)
		}
	}
	put(x.req.URL.String())
	put(x.req.Host)
	names := slices.Sorted(maps.Keys(x.req.Header))
	for _, name := range names {
		if name != x.set.keyHeader && name != x.set.correlation && !slices.Contains(ignoredInKey, textproto.CanonicalMIMEHeaderKey(name)) {
			put(name)
			for _, value := range x.req.Header[name] {
				put(value)
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// kept looks for an answer. A cache is asked although the call's context may have ended, but not for long.
func (x *exchange) kept(c Cache, key string) (e httpcache.Entry, found bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.ctx), cacheTime)
	defer cancel()
	defer func() { // of the cache, which is the user's
		if recover() != nil {
			e, found = httpcache.Entry{}, false
		}
	}()
	data, found := c.Get(ctx, key)
	if !found {
		return e, false
	}
	e, err := httpcache.Parse(data, mostKept)
	return e, err == nil
}

// forget forgets the answer for a URL that was written to.
func (x *exchange) forget(key string) {
	x.set.caching.writes.of(key).Add(1)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.ctx), cacheTime)
	defer cancel()
	defer func() { _ = recover() }()
	for _, c := range []Cache{x.set.caching.cache, x.set.caching.stale} {
		if c != nil {
			c.Delete(ctx, key)
		}
	}
}

// serve answers from a kept answer.
func (x *exchange) serve(e httpcache.Entry, status string) *http.Response {
	k := x.past().kept
	k.served, k.age = true, max(0, time.Since(e.Stored))
	h := e.Header.Clone()
	h.Set("Age", strconv.Itoa(int(k.age/time.Second)))
	h.Add("Cache-Status", "belay; "+status)
	h.Set("Content-Length", strconv.Itoa(len(e.Body)))
	h.Del("Content-Encoding")
	x.verdict = Verdict{}
	return &http.Response{
		Status: "200 OK", StatusCode: e.Status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: h,
		ContentLength: int64(len(e.Body)), Body: io.NopCloser(bytes.NewReader(e.Body)), Request: x.req,
	}
}

// remember keeps an answer: at once if it was read whole, otherwise when the caller has read it to its end.
func (x *exchange) remember(resp *http.Response, k *kept) {
	e, ok := httpcache.Keep(resp.StatusCode, resp.Header, time.Now(), x.set.caching.policy.TTL)
	if !ok {
		x.forget(k.key)
		return
	}
	switch {
	case resp.Header.Get("Content-Encoding") != "": // the caller decodes it
	case x.buffer != nil || x.data != nil:
		if len(x.data) <= mostKept {
			e.Body = bytes.Clone(x.data)
			x.set.caching.store(x.ctx, k, e)
		}
	case resp.Body == nil || resp.ContentLength > mostKept || eventStream(resp.Header):
	default:
		c, ctx := &x.set.caching, x.ctx // the exchange is used again before the body has been read
		resp.Body = &keptBody{ReadCloser: resp.Body, done: func(body []byte) {
			e.Body = body
			c.store(ctx, k, e)
		}}
	}
}

// store puts an answer into the caches, unless something was written since its call began.
func (c *caching) store(ctx context.Context, k *kept, e httpcache.Entry) {
	key := k.key
	if c.writes.of(key).Load() != k.writes {
		return
	}
	data, err := e.Bytes()
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cacheTime)
	defer cancel()
	defer func() { _ = recover() }()
	now := time.Now()
	fresh, stale := e.Fresh.Sub(now), e.Stored.Add(c.maxAge).Sub(now)
	if e.Validators() != nil { // long enough to ask whether it has changed
		fresh = max(fresh, 24*time.Hour)
	}
	one := c.cache != nil && c.stale != nil && reflect.TypeOf(c.cache).Comparable() && c.cache == c.stale
	if one {
		fresh = max(fresh, stale)
	}
	if c.cache != nil && fresh > 0 {
		c.cache.Set(ctx, key, data, fresh)
	}
	if c.stale != nil && !one && stale > 0 {
		c.stale.Set(ctx, key, data, stale)
	}
}

// keptBody copies a body while it is read, and hands the copy over at its end.
type keptBody struct {
	io.ReadCloser
	copied []byte
	done   func([]byte) // nil after the end
}

func (b *keptBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.done == nil {
		return n, err
	}
	if b.copied = append(b.copied, p[:n]...); len(b.copied) > mostKept || err != nil && err != io.EOF {
		b.copied, b.done = nil, nil
	} else if err == io.EOF {
		b.done(b.copied)
		b.copied, b.done = nil, nil
	}
	return n, err
}
