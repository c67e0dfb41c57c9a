package tasks_test

import (
	"strings"
	"testing"

	"github.com/belay-go/belay/internal/testkit"
)

// What the pages show compiles.
func TestDocs(t *testing.T) {
	t.Parallel()
	blocks := testkit.Blocks(t, "../docs/tasks.md")
	if len(blocks) != 4 {
		t.Fatal(len(blocks))
	}
	testkit.Compile(t, blocks[0])
	var b strings.Builder
	b.WriteString(`package main
import ("context"; "database/sql"; "encoding/json"; "fmt"; "hash/crc32"; "iter"; "time"
"github.com/riverqueue/river"
"github.com/belay-go/belay"; "github.com/belay-go/belay/importer"; "github.com/belay-go/belay/tasks")
type ImportContacts struct{ Integration string }
func (ImportContacts) Kind() string { return "import_contacts" }
type Contact struct{}
func adapt(json.RawMessage) (c Contact, err error) { return c, nil }
func upsert(context.Context, *sql.Tx, []Contact) error { return nil }
var paging belay.CursorPages; var client *tasks.Client[*sql.Tx]; var ctx context.Context; var integration string
func main() {}
`)
	b.WriteString(blocks[1])
	b.WriteString("func deploy() {\n" + blocks[2] + "fmt.Println(running, err, time.Now())\n}\n")
	b.WriteString("func sharded() {\n" + testkit.Blocks(t, "../docs/scaling.md")[0] + "fmt.Println(queue)\n}\n")
	testkit.Compile(t, b.String())
}
