package belaytest_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/belaytest"
)

// A list that is asked for by POST can be simulated: the body can be read, and is recorded with the query.
func TestAnswerReadsTheBody(t *testing.T) {
	t.Parallel()
	const all = 4321
	answer := func(req *http.Request) (int, any) {
		var ask struct{ Offset, Limit int }
		if err := json.NewDecoder(req.Body).Decode(&ask); err != nil {
			return 400, map[string]string{"message": err.Error()}
		}
		items := []int{}
		for i := ask.Offset; i < min(ask.Offset+ask.Limit, all); i++ {
			items = append(items, i)
		}
		return 200, map[string]any{"data": items}
	}
	seen := 0
	p := belaytest.New(belaytest.Config{
		Answer: answer,
		Cost: func(req *http.Request) int { // which reads it too
			_ = json.NewDecoder(req.Body).Decode(new(any))
			seen++
			return 1
		},
	})
	server := p.Server()
	defer server.Close()
	direct, err := belay.New("https://partner.test", belay.WithTransport(p))
	require.NoError(t, err)
	overPort, err := belay.New(server.URL)
	require.NoError(t, err)
	for _, c := range []*belay.Client{direct, overPort} {
		n := 0
		for item, err := range belay.Items[int](t.Context(), c, "/records/query?v=2",
			belay.OffsetPages{Items: "data", Limit: 500, InBody: true}, belay.PostBody(nil)) {
			require.NoError(t, err)
			require.Equal(t, n, item)
			n++
		}
		require.Equal(t, all, n)
	}
	log := p.Log()
	require.Len(t, log, 18)
	require.Equal(t, 18, seen)
	require.Equal(t, "v=2", log[0].Query)
	require.JSONEq(t, `{"offset":0,"limit":500}`, string(log[0].Body))
	require.NoError(t, overPort.Close())
}
