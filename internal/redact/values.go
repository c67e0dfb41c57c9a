package redact

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"html"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// shortest is the length below which a secret is not looked for: replacing it would garble the text.
const shortest = 4

// depth is how often a text may be escaped: a link within a link within JSON within a log.
const depth = 6

// Values replaces each of secrets in s. A secret is found in any letter case, with any of its characters escaped as in
// URLs, JSON, JavaScript, HTML and XML, up to six times over, in hex, and within a text in base64.
func Values(s string, secrets []string) string {
	return Replace(s, secrets, func(string) string { return Mask })
}

// Replace does what Values does, with a mask for each secret.
func Replace(s string, secrets []string, mask func(secret string) string) string {
	found := find(s, secrets, false)
	if len(found) == 0 {
		return s
	}
	slices.SortStableFunc(found, func(a, b match) int {
		return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(b.to, a.to)) // the longest first: one may begin another
	})
	var b strings.Builder
	at := 0
	for i := 0; i < len(found); {
		m := found[i]
		for i++; i < len(found) && found[i].from < m.to; i++ {
			m.to = max(m.to, found[i].to)
		}
		b.WriteString(s[at:m.from])
		b.WriteString(mask(m.secret))
		at = m.to
	}
	b.WriteString(s[at:])
	return b.String()
}

// Holds reports whether Values would replace something.
func Holds(s string, secrets []string) bool { return len(find(s, secrets, true)) > 0 }

// A match is a part of a text that holds a secret.
type match struct {
	from, to int
	secret   string
}

// A form is a way to write a secret.
type form struct {
	text, secret string
	base64       bool // in the middle of a longer text, in which the letter case matters
}

func forms(secrets []string) []form {
	all := make([]form, 0, 8*len(secrets))
	for _, secret := range secrets {
		if len(secret) < shortest {
			continue
		}
		all = append(all, form{text: fold([]byte(secret)), secret: secret})
		if plain := Decoded(secret); plain != secret && len(plain) >= shortest {
			all = append(all, form{text: fold([]byte(plain)), secret: secret})
		}
		if len(secret) >= 2*shortest {
			all = append(all, form{text: hex.EncodeToString([]byte(secret)), secret: secret})
		}
		for before := range 3 { // bytes of a group of three that stand before it
			plain := append(make([]byte, before), secret...)
			// The characters that depend on the secret alone.
			coded := base64.StdEncoding.EncodeToString(plain)[(before*8+5)/6 : len(plain)*8/6]
			if len(coded) <= shortest {
				continue
			}
			all = append(all, form{text: coded, secret: secret, base64: true})
			if inURL := toURL.Replace(coded); inURL != coded {
				all = append(all, form{text: inURL, secret: secret, base64: true})
			}
		}
	}
	return all
}

var toURL = strings.NewReplacer("+", "-", "/", "_")

// find returns the parts of s that hold one of secrets, the first one only if any is enough.
func find(s string, secrets []string, first bool) (found []match) {
	if len(s) < shortest || len(secrets) == 0 {
		return nil
	}
	wanted := forms(secrets)
	t, more := text{bytes: []byte(s)}, true
	for level := 0; more && level <= depth; level++ {
		if found = append(found, t.find(wanted, first)...); first && len(found) > 0 {
			return found
		}
		t, more = t.decode()
	}
	// Writers of several kinds leave backslashes over, or too few of them.
	t, changed := t.without('\\')
	for i := range wanted {
		if plain := strings.ReplaceAll(wanted[i].text, `\`, ""); plain != wanted[i].text && len(plain) >= shortest {
			wanted[i].text, changed = plain, true
		}
	}
	if changed {
		found = append(found, t.find(wanted, first)...)
	}
	return found
}

// find returns the parts of the first text that hold one of wanted in t.
func (t text) find(wanted []form, first bool) (found []match) {
	plain, folded := string(t.bytes), fold(t.bytes)
	for _, f := range wanted {
		in := folded
		if f.base64 {
			in = plain
		}
		for at := 0; ; {
			i := strings.Index(in[at:], f.text)
			if i < 0 {
				break
			}
			from, to := at+i, at+i+len(f.text)
			if f.base64 {
				from, to = run(in, from, to)
			}
			at = to
			found = append(found, match{t.source(from), t.source(to), f.secret})
			if first {
				return found
			}
		}
	}
	return found
}

// run returns the bounds of the text in base64 around s[from:to].
func run(s string, from, to int) (int, int) {
	is := func(c byte) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '+' || c == '-' || c == '_'
	}
	for from > 0 && is(s[from-1]) {
		from--
	}
	for to < len(s) && (is(s[to]) || s[to] == '=') {
		to++
	}
	return from, to
}

// fold returns b in lower case, with a blank for a plus sign: a plus sign is a blank in a query, and itself in a path.
// What is not ASCII stays, so that each byte keeps its place.
func fold(b []byte) string {
	out := make([]byte, len(b))
	for i, c := range b {
		switch {
		case c >= 'A' && c <= 'Z':
			c += 'a' - 'A'
		case c == '+':
			c = ' '
		}
		out[i] = c
	}
	return string(out)
}

// A text is what some decoding has made of a text. Its byte i stands for the bytes of the first text from at[i] to
// at[i+1]. Without at it is the first text itself.
type text struct {
	bytes []byte
	at    []int
}

func (t text) source(i int) int {
	if t.at == nil {
		return i
	}
	return t.at[i]
}

// decode returns t with each escape undone once, and whether there was one.
func (t text) decode() (text, bool) {
	if !bytes.ContainsAny(t.bytes, `%\&`) {
		return t, false
	}
	out := text{bytes: make([]byte, 0, len(t.bytes)), at: make([]int, 0, len(t.bytes)+1)}
	changed := false
	for i := 0; i < len(t.bytes); {
		plain, n := unescape(t.bytes[i:])
		if n == 0 {
			plain, n = t.bytes[i:i+1], 1
		} else {
			changed = true
		}
		from := t.source(i)
		for _, c := range plain {
			out.bytes, out.at = append(out.bytes, c), append(out.at, from)
			from = t.source(i + n) // an escape is replaced as a whole
		}
		i += n
	}
	out.at = append(out.at, t.source(len(t.bytes)))
	return out, changed
}

// without returns t without the bytes c, and whether there was one.
func (t text) without(c byte) (text, bool) {
	if bytes.IndexByte(t.bytes, c) < 0 {
		return t, false
	}
	out := text{bytes: make([]byte, 0, len(t.bytes)), at: make([]int, 0, len(t.bytes)+1)}
	for i, b := range t.bytes {
		if b != c {
			out.bytes, out.at = append(out.bytes, b), append(out.at, t.source(i))
		}
	}
	out.at = append(out.at, t.source(len(t.bytes)))
	return out, true
}

// Decoded returns s with all escapes undone.
func Decoded(s string) string {
	t, changed := text{bytes: []byte(s)}, true
	for i := 0; changed && i < depth; i++ {
		t, changed = t.decode()
	}
	return string(t.bytes)
}

// unescape returns the character that the escape at the beginning of b stands for, and the escape's length, 0 if there
// is none.
func unescape(b []byte) (plain []byte, n int) {
	switch b[0] {
	case '%':
		if c, ok := number(b[1:], 2, 16); ok {
			return []byte{byte(c)}, 3
		}
		if len(b) > 1 && b[1] == 'u' { // JavaScript's escape
			if c, ok := number(b[2:], 4, 16); ok {
				return utf8.AppendRune(nil, rune(c)), 6
			}
		}
	case '\\':
		return unescapeBackslash(b)
	case '&':
		end := bytes.IndexByte(b[:min(len(b), 12)], ';')
		if end < 2 {
			return nil, 0
		}
		entity := string(b[:end+1])
		if plain := html.UnescapeString(entity); plain != entity {
			return []byte(plain), end + 1
		}
	}
	return nil, 0
}

// unescapeBackslash does it for the escapes that begin with a backslash. Any number of them is one: each writer that a
// text has gone through doubles them.
func unescapeBackslash(b []byte) (plain []byte, n int) {
	slashes := len(b) - len(bytes.TrimLeft(b, `\`))
	b = b[slashes:]
	one := func(r uint64, n int, ok bool) ([]byte, int) {
		if !ok {
			return nil, 0
		}
		return utf8.AppendRune(nil, rune(r)), slashes + n
	}
	if len(b) == 0 {
		return single(slashes)
	}
	switch c := b[0]; {
	case c == 'u' && len(b) > 2 && b[1] == '{':
		if end := bytes.IndexByte(b[:min(len(b), 12)], '}'); end > 0 {
			r, ok := number(b[2:end], end-2, 16)
			plain, n = one(r, end+1, ok)
		}
	case c == 'u':
		r, ok := number(b[1:], 4, 16)
		if plain, n = one(r, 5, ok); ok && utf16.IsSurrogate(rune(r)) {
			next := bytes.TrimLeft(b[5:], `\`)
			if more := len(b) - 5 - len(next); more > 0 && len(next) > 0 && next[0] == 'u' {
				if low, ok := number(next[1:], 4, 16); ok {
					plain, n = one(uint64(utf16.DecodeRune(rune(r), rune(low))), 5+more+5, true)
				}
			}
		}
	case c == 'U':
		r, ok := number(b[1:], 8, 16)
		plain, n = one(r, 9, ok)
	case c == 'x':
		if r, ok := number(b[1:], 2, 16); ok {
			return []byte{byte(r)}, slashes + 3
		}
	case c >= '0' && c <= '3':
		if r, ok := number(b, 3, 8); ok {
			return []byte{byte(r)}, slashes + 3
		}
	case c == '"' || c == '\'' || c == '/':
		return b[:1], slashes + 1
	case strings.IndexByte("nrtbf", c) >= 0:
		return []byte{"\n\r\t\b\f"[strings.IndexByte("nrtbf", c)]}, slashes + 1
	}
	if n == 0 {
		return single(slashes)
	}
	return plain, n
}

// single returns one backslash for several of them.
func single(slashes int) (plain []byte, n int) {
	if slashes == 1 {
		return nil, 0
	}
	return []byte{'\\'}, slashes
}

// number returns the number that the first n bytes of b write.
func number(b []byte, n, base int) (uint64, bool) {
	if n < 1 || len(b) < n || b[0] == '+' || b[0] == '-' || b[0] == '_' {
		return 0, false
	}
	v, err := strconv.ParseUint(string(b[:n]), base, 32)
	return v, err == nil
}
