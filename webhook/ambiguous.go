package webhook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode"

	"github.com/belay-go/belay"
)

// ambiguous returns an error if an object on the way to one of paths has two names that differ only in case, or not at
// all. Where single fields are signed, and not the body, encoding/json would otherwise read the value of the name that
// is not signed: it takes the last of them, without regard to case.
func ambiguous(data []byte, paths []string) error {
	type level struct {
		path   string
		names  map[string]bool // nil for an array, or an object that is on no path
		object bool
		name   string // whose value comes next, empty if a name does
	}
	for i, p := range paths {
		paths[i] = folded(p)
	}
	onPath := func(path string) bool {
		for _, p := range paths {
			if path == "" || strings.HasPrefix(p, path+".") {
				return true
			}
		}
		return false
	}
	var levels []level
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	for {
		token, err := dec.Token()
		if err != nil {
			return nil // the end, or no JSON, which is found elsewhere
		}
		var top *level
		if len(levels) > 0 {
			top = &levels[len(levels)-1]
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			next := level{object: token == json.Delim('{')}
			if top != nil {
				next.path = strings.TrimPrefix(top.path+"."+top.name, ".")
				if !top.object {
					next.path = top.path + ".[]"
				}
				top.name = ""
			}
			if next.object && onPath(next.path) {
				next.names = make(map[string]bool)
			}
			levels = append(levels, next)
			continue
		case json.Delim('}'), json.Delim(']'):
			levels = levels[:len(levels)-1]
			continue
		}
		if top == nil || !top.object {
			continue
		}
		if top.name != "" {
			top.name = ""
			continue
		}
		name, _ := token.(string)
		top.name = folded(name)
		if top.names != nil && top.names[top.name] {
			return fmt.Errorf("%w: the body has two members %.40q in one object", belay.ErrMalformedSignature, name)
		}
		if top.names != nil {
			top.names[top.name] = true
		}
		if top.name == "" {
			top.name = "\x00"
		}
	}
}

// folded returns s so that two texts are equal if encoding/json takes them for the same name.
func folded(s string) string {
	return strings.Map(func(r rune) rune {
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) { // the smallest rune of those that are equal
			if f < r {
				r = f
			}
		}
		return r
	}, s)
}
