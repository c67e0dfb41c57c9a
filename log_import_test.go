package belay_test

import (
	"bytes"
	"errors"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
)

// Imports are logged by what became of their records, without what looks like a credential.
func TestLogOfImports(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := belay.NewLogObserver(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})))
	for _, c := range []struct {
		e    belay.Event
		want string
	}{
		{belay.ImportProgress{Partner: "crm", Import: "people", Read: 3}, `level=DEBUG msg="belay: import" partner=crm import=people ended=false read=3`},
		{belay.ImportProgress{Import: "people", Added: 4, Ended: true}, `level=INFO msg="belay: import" import=people ended=true`},
		{belay.ImportProgress{Ended: true, Err: errors.New("no")}, `level=ERROR msg="belay: import" ended=true`},
		{belay.RecordImported{ID: "7", Change: "updated"}, `level=DEBUG msg="belay: record updated" id=7`},
		{belay.RecordImported{ID: "7", Change: "rejected", Err: errors.New("password=canary12345")}, `level=WARN msg="belay: record rejected" id=7`},
		{belay.SchemaChanged{What: "people", Difference: "missing id"}, `level=WARN msg="belay: other fields than expected" of=people difference="missing id"`},
	} {
		out.Reset()
		log.Observe(t.Context(), c.e)
		require.Contains(t, out.String(), c.want)
		require.NotContains(t, out.String(), "canary")
	}
}
