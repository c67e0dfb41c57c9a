package driver_test

import (
	"context"
	"errors"
	"iter"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay/driver"
)

// plain has no ability but those of a Driver, and able has all.
type plain struct{}

func (plain) Name() string                { return "plain" }
func (plain) Check(context.Context) error { return nil }

type able struct{ plain }

func (able) Authenticate(context.Context) error { return nil }
func (able) ListResources(context.Context, string, string) (driver.Delta, error) {
	return driver.Delta{Mark: "1"}, nil
}

func (able) ListTransactions(context.Context, time.Time) iter.Seq2[driver.Transaction, error] {
	return func(func(driver.Transaction, error) bool) {}
}
func (able) PushStatus(context.Context, string, string) error { return nil }

func TestAbilities(t *testing.T) {
	t.Parallel()
	require.Empty(t, driver.Abilities(plain{}))
	require.Equal(t, []string{"Authenticator", "ResourceLister", "StatusPusher", "TransactionLister"}, driver.Abilities(able{}))
}

// The integrations of each company are listed whether they are open or not, without those that are switched off
// anywhere.
func TestActive(t *testing.T) {
	t.Parallel()
	r, err := driver.NewRegistry(func(context.Context, string, string) (driver.Settings, error) { return driver.Settings{}, nil })
	require.NoError(t, err)
	open := func(context.Context, driver.Integration) (plain, error) { return plain{}, nil }
	crm, err := driver.Register(r, driver.Partner{Name: "crm", BaseURL: "https://crm.test", Rollout: driver.Rollout{Stable: "v1", Next: "v2", Percent: 100}}, open)
	require.NoError(t, err)
	_, err = driver.Register(r, driver.Partner{Name: "pms", BaseURL: "https://pms.test"}, open)
	require.NoError(t, err)
	list := func(context.Context) ([]driver.Stored, error) {
		return []driver.Stored{
			{Company: "b", Partner: "pms", Integration: "b1"},
			{Company: "a", Partner: "pms", Integration: "a2"},
			{Company: "a", Partner: "crm", Integration: "a1"},
			{Company: "a", Partner: "crm", Integration: "a0"},
			{Company: "a", Partner: "crm", Integration: "off", Disabled: true},
			{Company: "c", Partner: "gone", Integration: "c1"},
			{Company: "c", Partner: "crm", Integration: "switched"},
		}, nil
	}
	for _, integration := range []string{"a1", "switched"} {
		_, err = crm.Open(t.Context(), integration)
		require.NoError(t, err)
	}
	crm.SetDisabled("switched", true)
	all, err := r.Active(t.Context(), list)
	require.NoError(t, err)
	require.Equal(t, map[string][]driver.Active{
		"a": {{"crm", "a0", "v2", false}, {"crm", "a1", "v2", true}, {"pms", "a2", "", false}},
		"b": {{"pms", "b1", "", false}},
	}, all)

	_, err = r.Active(t.Context(), nil)
	require.Error(t, err)
	away := errors.New("away")
	_, err = r.Active(t.Context(), func(context.Context) ([]driver.Stored, error) { return nil, away })
	require.ErrorIs(t, err, away)
	_, err = r.Active(t.Context(), func(context.Context) ([]driver.Stored, error) { return []driver.Stored{{Company: "x"}}, nil })
	require.ErrorContains(t, err, "is empty")
	require.NoError(t, r.Close())
	_, err = r.Active(t.Context(), list)
	require.ErrorIs(t, err, driver.ErrClosed)
}
