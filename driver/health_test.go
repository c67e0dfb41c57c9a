package driver_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay/driver"
)

// The health of a registry has each partner and, behind it, its open integrations.
func TestRegistryHealth(t *testing.T) {
	t.Parallel()
	r, f := office(t, func(_ context.Context, _, integration string) (driver.Settings, error) {
		return driver.Settings{Disabled: integration == "off"}, nil
	}, func(req *http.Request) (*http.Response, error) {
		if strings.Contains(req.URL.Path, "me") {
			return answer(200), nil
		}
		return answer(503), nil
	}, driver.Rollout{})
	_, err := driver.Register(r, driver.Partner{Name: "unused", BaseURL: "https://unused.test"}, open)
	require.NoError(t, err)
	require.Empty(t, r.Health(), "nothing was called")
	for _, name := range []string{"b", "off", "a", "gone"} {
		d, err := f.Open(t.Context(), name)
		require.NoError(t, err)
		if name != "b" {
			_ = d.Check(t.Context())
		}
	}
	require.NoError(t, f.Reload("gone"))
	var got []string
	for _, h := range r.Health() {
		got = append(got, fmt.Sprint(h.Partner, "/", h.Integration, " ", h.State))
	}
	require.Equal(t, []string{"crm/ unknown", "crm/a up", "crm/b unknown", "crm/off disabled"}, got)
	require.NoError(t, r.Close())
	require.Empty(t, r.Health())
}
