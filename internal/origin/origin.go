// Package origin compares origins: scheme, host and port (RFC 6454 section 4).
package origin

import (
	"net"
	"net/url"
	"strings"
)

// Of returns the origin of u in one spelling, such as "https://api.example.com:443". It returns "" if u is
// nil or has no host.
func Of(u *url.URL) string {
	if u == nil || u.Host == "" {
		return ""
	}
	scheme := strings.ToLower(u.Scheme)
	port := u.Port()
	if port == "" {
		switch scheme {
		case "https":
			port = "443"
		case "http":
			port = "80"
		}
	}
	return scheme + "://" + strings.ToLower(strings.TrimSuffix(u.Hostname(), ".")) + ":" + port
}

// Same reports whether a and b have the same origin.
func Same(a, b *url.URL) bool {
	return a.Host == b.Host && a.Scheme == b.Scheme && a.Host != "" || same(a, b)
}

func same(a, b *url.URL) bool {
	o := Of(a)
	return o != "" && o == Of(b)
}

// Partner reports whether u leads to the partner: to the origin of base, or to a trusted one. A credential goes nowhere
// else.
func Partner(u, base *url.URL, trusted []*url.URL) bool {
	if Same(base, u) {
		return true
	}
	for _, t := range trusted {
		if Same(t, u) {
			return true
		}
	}
	return false
}

// Loopback reports whether u leads to this machine only.
func Loopback(u *url.URL) bool {
	host := strings.ToLower(u.Hostname())
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
