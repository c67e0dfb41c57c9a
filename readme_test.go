package belay_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The README is short, and the programs in it and in docs compile as they stand.
func TestReadme(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("README.md")
	require.NoError(t, err)
	text := string(data)
	require.Less(t, len(strings.Fields(text)), 900)
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(text, -1)
	require.Len(t, blocks, 5)
	program := blocks[0][1]
	lines := 0
	for _, l := range strings.Split(program, "\n") {
		if strings.TrimSpace(l) != "" {
			lines++
		}
	}
	require.Less(t, lines, 15)

	// The fragments compile within a program that declares what they use.
	fragments := "package main\nimport (\"errors\"; \"log\"; \"net/http\"; \"testing\"; \"testing/synctest\"; \"time\"\n" +
		"\"github.com/belay-go/belay\"; \"github.com/belay-go/belay/belaytest\")\n" +
		"var client *belay.Client; var policy belay.RetryPolicy; var breaker *belay.Breaker; var limiter *belay.Limiter; var err error\n" +
		"type p struct{}; func (p) NewClient(any) any { return nil }; func (p) WithHTTPClient(*http.Client) any { return nil }; var partner p\n" +
		"func a() {\n" + blocks[1][1] + "_ = sdk }\nfunc b() {\n" + blocks[2][1] + "_ = rt }\n" +
		"func c() {\n" + blocks[3][1] + "}\n" +
		"func d(t *testing.T) {\n" + blocks[4][1] + "}\nfunc main() {}\n"
	sources := map[string]string{"program": program, "fragments": fragments}
	for _, doc := range []string{
		"docs/auth.md", "docs/drivers.md", "docs/importing.md", "docs/webhooks.md", "docs/observing.md",
	} {
		data, err := os.ReadFile(doc)
		require.NoError(t, err)
		whole := regexp.MustCompile("(?s)```go\n((?:// Package|package) .*?)```").FindAllStringSubmatch(string(data), -1)
		require.NotEmpty(t, whole, doc)
		for i, block := range whole {
			name := fmt.Sprint(doc, " ", i+1)
			sources[name] = block[1]
			if strings.Contains(block[1], "package main") && !strings.Contains(block[1], "func main()") {
				sources[name] += "\nfunc main() { _ = run }\n"
			}
		}
	}
	guide, err := os.ReadFile("docs/webhooks.md")
	require.NoError(t, err)
	rest := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(guide), -1)
	require.Len(t, rest, 4)
	sources["fragments of docs/webhooks.md"] = "package main\nimport (\"context\"; \"fmt\"; \"net/http\"; \"net/http/httptest\"; \"testing\"; \"time\"\n" +
		"\"github.com/belay-go/belay\"; \"github.com/belay-go/belay/inbox\"; \"github.com/belay-go/belay/webhook\")\n" +
		"var ctx context.Context; var worker *inbox.Worker; var yesterday time.Time; var secret belay.Secret\n" +
		"func a() {\n" + rest[1][1] + "_ = scheme }\nfunc b() {\n" + rest[2][1] + "fmt.Println(n, err) }\n" +
		"func c(t *testing.T) {\n" + rest[3][1] + "}\nfunc main() {}\n"
	seeing, err := os.ReadFile("docs/observing.md")
	require.NoError(t, err)
	var parts []string
	for _, block := range regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(seeing), -1)[1:] {
		if !strings.Contains(block[1], "belayprom") && !strings.Contains(block[1], "belayotel") { // modules of their own
			parts = append(parts, block[1])
		}
	}
	require.Len(t, parts, 6)
	program = "package main\nimport (\"context\"; \"expvar\"; \"log/slog\"; \"net/http\"\n" +
		"\"github.com/belay-go/belay\"; \"github.com/belay-go/belay/inbox\"; \"github.com/belay-go/belay/schema\"; \"github.com/belay-go/belay/watch\")\n" +
		"type Person struct{}; type probed struct{}; func (probed) Check(context.Context) error { return nil }\n" +
		"var ctx context.Context; var client *belay.Client; var tenant, jobID, id string; var calls *expvar.Map; var handler http.Handler; var crm, pay probed\n" +
		"var worker *inbox.Worker; var logger *slog.Logger; func yourLogin(h http.Handler) http.Handler { return h }\n"
	for i, part := range parts {
		program += fmt.Sprintf("func f%d() {\n", i)
		if i == 5 {
			program += "var checker *watch.Checker\n"
		}
		program += part
		for _, name := range []string{"client", "err", "p", "checker", "page", "rules"} {
			if regexp.MustCompile(`(?m)^[\w, ]*\b` + name + `\b[\w, ]* :=`).MatchString(part) {
				program += "_ = " + name + "\n"
			}
		}
		program += "}\n"
	}
	sources["fragments of docs/observing.md"] = program + "func main() {}\n"
	for name, source := range sources {
		dir, err := os.MkdirTemp("examples", "_readme") // within the module, but not in its ./...
		require.NoError(t, err)
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte(source), 0o600))
		out, err := exec.Command("go", "vet", "./"+filepath.ToSlash(dir)).CombinedOutput()
		require.NoError(t, err, "%s: %s", name, out)
	}
}
