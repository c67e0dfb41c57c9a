package tasks_test

import (
	"testing"

	"github.com/belay-go/belay/internal/testkit"
)

func TestDocs(t *testing.T) {
	t.Parallel()
	testkit.Program(t, "../docs/tasks.md")
}
