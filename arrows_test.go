package belay_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// arrows says what each package of this module may import of this module. Guests are built on the core, which
// imports none of them. It imports schema, which stands below it; machines in internal know nothing of the core.
// Commands and examples may import anything.
var arrows = map[string][]string{
	".":      {"schema", "internal/..."},
	"schema": {},

	"webhook":                 {".", "internal/..."},
	"oauth":                   {".", "internal/..."},
	"bulk":                    {".", "internal/..."},
	"importer":                {".", "schema", "internal/..."},
	"inbox":                   {".", "webhook", "internal/..."},
	"inbox/storetest":         {".", "inbox", "internal/..."},
	"inbox/boltinbox":         {".", "inbox"},
	"belayprom":               {".", "inbox", "watch"},
	"belayotel":               {"."},
	"belaysql":                {".", "oauth", "importer", "inbox", "internal/..."},
	"tasks":                   {".", "belaysql", "importer", "inbox", "internal/..."},
	"tasks/ui":                {"tasks"},
	"driver":                  {".", "bulk", "internal/..."},
	"partners":                {".", "webhook", "oauth", "internal/..."},
	"examples/drivers/guesty": {".", "driver", "oauth", "partners", "webhook"},
	"examples/drivers/stripe": {".", "driver", "partners", "webhook"},
	"watch":                   {".", "driver", "inbox", "importer", "internal/..."},
	"belaytest":               {".", "driver", "webhook", "oauth", "internal/..."},

	"internal/charset":   {},
	"internal/deadline":  {"internal/heap"},
	"internal/delivery":  {"internal/errkit"},
	"internal/errbody":   {"internal/charset", "internal/moment", "internal/redact"},
	"internal/errkit":    {},
	"internal/headers":   {"internal/moment", "internal/redact"},
	"internal/heap":      {},
	"internal/httpcache": {},
	"internal/jsonscan":  {},
	"internal/keylock":   {},
	"internal/limiter":   {"internal/errkit", "internal/headers", "internal/heap", "internal/window"},
	"internal/link":      {},
	"internal/moment":    {},
	"internal/origin":    {},
	"internal/pgserver":  {},
	"internal/redact":    {"internal/errkit"},
	"internal/testkit":   {},
	"internal/window":    {},
}

// Packages import each other only along the arrows.
func TestArrows(t *testing.T) {
	t.Parallel()
	const module = "github.com/belay-go/belay"
	short := func(path string) string {
		if path == module {
			return "."
		}
		return strings.TrimPrefix(path, module+"/")
	}
	seen := 0
	for _, dir := range []string{".", "inbox/boltinbox", "belayprom", "belayotel", "belaysql", "tasks", "tasks/ui"} {
		list := exec.Command("go", "list", "-f", "{{.Name}} {{.ImportPath}} {{join .Imports \" \"}}", "./...")
		list.Dir = dir
		out, err := list.CombinedOutput()
		require.NoError(t, err, "%s", out)
		for line := range strings.Lines(string(out)) {
			f := strings.Fields(line)
			if f[0] == "main" {
				continue
			}
			from := short(f[1])
			allowed, known := arrows[from]
			require.True(t, known, "%s has no row in the table of arrows", from)
			seen++
			for _, path := range f[2:] {
				if path != module && !strings.HasPrefix(path, module+"/") {
					continue
				}
				to := short(path)
				ok := slices.ContainsFunc(allowed, func(a string) bool {
					under, tree := strings.CutSuffix(a, "...")
					return a == to || tree && strings.HasPrefix(to, under)
				})
				require.True(t, ok, "%s must not import %s", from, to)
			}
		}
	}
	require.Greater(t, seen, 20, "the packages were listed")
}
