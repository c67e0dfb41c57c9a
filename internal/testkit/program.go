package testkit

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// Blocks returns the blocks of Go of a page of documentation.
func Blocks(t *testing.T, page string) (all []string) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range regexp.MustCompile("(?s)```go\n(.*?)```").FindAllSubmatch(text, -1) {
		all = append(all, string(block[1]))
	}
	if len(all) == 0 {
		t.Fatal("there is no block of Go in " + page)
	}
	return all
}

// Compile compiles a program within the module of the test.
func Compile(t *testing.T, source string) {
	t.Helper()
	dir, err := os.MkdirTemp(".", "_doc") // within the module, but not in its ./...
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "vet", "./"+dir).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
