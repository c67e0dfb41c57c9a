package belaysql_test

import (
	"testing"

	"github.com/belay-go/belay/internal/testkit"
)

func TestDocs(t *testing.T) {
	t.Parallel()
	testkit.Compile(t, testkit.Blocks(t, "../docs/sql.md")[0])
}
