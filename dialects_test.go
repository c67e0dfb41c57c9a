package belay_test

import (
	"flag"
	"fmt"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay/internal/errbody"
	"github.com/belay-go/belay/internal/headers"
	"github.com/belay-go/belay/webhook"
)

var update = flag.Bool("update", false, "write docs/dialects.md")

// docs/dialects.md is made from the code's own tables: go test -run TestDialectsPage -update .
func TestDialectsPage(t *testing.T) {
	t.Parallel()
	page := dialects(t)
	if *update {
		require.NoError(t, os.WriteFile("docs/dialects.md", []byte(page), 0o644))
	}
	have, err := os.ReadFile("docs/dialects.md")
	require.NoError(t, err)
	require.Equal(t, string(have), page, "the page is not as the code: go test -run TestDialectsPage -update .")
}

func dialects(t *testing.T) string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	code := func(names []string) string { return "`" + strings.Join(names, "`, `") + "`" }

	say("# What partners say, and what is understood")
	say("")
	say("This page is made from the tables of the code. A test holds it to them.")
	say("")
	say("## Waits")
	say("")
	say("`Retry-After` as seconds (with decimals too), as an HTTP date in each of its three forms, with a zone as a number,")
	say("as RFC 3339, as seconds since 1970, or as a duration such as `30s`, `2 minutes` or `PT30S`; of several values the longest counts. A date is read against the answer's own")
	say("`Date`. Milliseconds are told by a reset in the same answer that is a thousandth. More than a year is a year. So are")
	say("`Retry-After-Ms`, `X-Ms-Retry-After-Ms`, and each header whose name ends in `Retry-After`, `RateLimit-After`,")
	say("`Retry-After-Seconds` or `Retry-After-Ms`. On a refusal also `X-Toggl-Quota-Resets-In`, `X-AircallApi-Reset`, and the")
	say("resets of the limits below that are used up.")
	say("")
	known := errbody.Known()
	say("In the JSON of an error, at its top, in `error`, `errors`, `details`, `extensions`, `data` or `meta`, in any case and")
	say("without `_` and `-`: %s (seconds), %s (milliseconds), and on a refusal %s (times); of a number with a", code(known.Seconds), code(known.Millis), code(known.Times))
	say("unit, and of a time in a field for seconds, the unit and the time count. On a refusal without any other wait also a sentence, such as")
	say("`please retry after 25s`, `try again in 1m30s` or `Retry after 2026-05-01T12:00:00Z`.")
	say("")
	say("## Limits")
	say("")
	say("| header | quota | says | window |")
	say("| --- | --- | --- | --- |")
	for _, k := range headers.Table() {
		window := ""
		if k.Window > 0 {
			window = short(k.Window)
		}
		quota := k.Quota
		if quota == "" {
			quota = "(the one)"
		}
		if !k.Counts {
			quota += ", not of requests"
		}
		say("| `%s` | %s | %s | %s |", k.Header, quota, k.Says, window)
	}
	say("")
	say("Other names are understood by their form: a partner's name before `RateLimit-`, `Limit`, `Remaining`, `Used` or `Reset`")
	say("after it, and a window (`Second`, `Minute`, `Hour`, `Day`) with words such as `Req` between them. Where only used and")
	say("left are told, the limit is their sum.")
	say("")
	say("A 402 or 403 is a limit if such a header says that it is used up, if it has a `Retry-After`, by the codes")
	say("%s, and by the words (regular expressions) %s.", code(known.LimitCodes), code(known.LimitTexts))
	say("")
	say("## Credentials that have ended")
	say("")
	say("A 401, a 440 and a 498; an answer below 500 with `error=\"invalid_token\"` in `WWW-Authenticate`; the codes, without `_` and")
	say("`-`, %s; and a message that says of an access token that it has expired or is invalid, or at 403 of a token or", code(known.EndedCodes))
	say("session that it has expired.")
	say("")
	say("## Repeating")
	say("")
	say("`Stripe-Should-Retry` and `X-Should-Retry`: `false` ends a call, `true` repeats what may be repeated. 413, 420, 423 and 430")
	say("with `Retry-After` are repeated after it, if the method allows. A 409 with one of the codes %s", code(known.InUseCodes))
	say("is waited for after an attempt of our own. 477 says that the account is being moved.")
	say("")
	partners, proxies := headers.RequestIDs()
	say("## Ids of calls")
	say("")
	say("%s, then `request_id`, `requestId`, `correlationId` or `trackingId` in the body of an error, then those of proxies: %s.", code(partners), code(proxies))
	say("")
	say("## Ways to page")
	say("")
	paginators(t, say)
	say("## Webhooks")
	say("")
	say("| scheme | signed | tolerance | sent again |")
	say("| --- | --- | --- | --- |")
	all := webhook.Presets()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		s := all[name]
		signed, tolerance := s.Signed, "no time is signed"
		if s.Algorithm == webhook.PlainToken {
			signed = "nothing"
		}
		signed = strings.ReplaceAll(strings.ReplaceAll(signed, "\n", `\n`), "NotificationRequestItem.", "")
		if s.Timestamp != "" {
			tolerance = "5m"
			if s.Tolerance != 0 {
				tolerance = short(s.Tolerance)
			}
		}
		require.NotEmpty(t, s.Retries, name)
		say("| %s | `%s` | %s | %s |", name, signed, tolerance, s.Retries)
	}
	return b.String()
}

// short writes a duration without the units that are zero.
func short(d time.Duration) string {
	s := d.String()
	if s = strings.TrimSuffix(s, "m0s") + map[bool]string{true: "m"}[strings.HasSuffix(s, "m0s")]; strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// paginators writes what the comments of the paginators say of how lists end.
func paginators(t *testing.T, say func(string, ...any)) {
	set := token.NewFileSet()
	var files []*ast.File
	for _, name := range []string{"paginate_kinds.go", "paginate_counted.go"} {
		f, err := parser.ParseFile(set, name, nil, parser.ParseComments)
		require.NoError(t, err)
		files = append(files, f)
	}
	p, err := doc.NewFromFiles(set, files, "github.com/belay-go/belay")
	require.NoError(t, err)
	n := 0
	for _, typ := range p.Types {
		spec, ok := typ.Decl.Specs[0].(*ast.TypeSpec)
		if !ok || !strings.HasSuffix(typ.Name, "Pages") {
			continue
		}
		n++
		say("**%s**: %s", typ.Name, strings.NewReplacer("\n", " ", "[", "`", "]", "`").Replace(strings.TrimSpace(typ.Doc)))
		say("")
		for _, field := range spec.Type.(*ast.StructType).Fields.List {
			if field.Doc == nil {
				continue
			}
			var names []string
			for _, name := range field.Names {
				names = append(names, name.Name)
			}
			text := strings.NewReplacer("\n", " ", "[", "`", "]", "`").Replace(strings.TrimSpace(field.Doc.Text()))
			say("- `%s`: %s", strings.Join(names, "`, `"), text)
		}
		say("")
	}
	require.Equal(t, 6, n)
	say("`EndAt(404)` ends a list at such an answer behind its first page, `PostForm` asks by a form, and a cursor that has expired")
	say("is `ErrCursorExpired`.")
	say("")
}
