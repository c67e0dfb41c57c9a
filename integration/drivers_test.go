package integration

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/driver"
	"github.com/belay-go/belay/examples/drivers/stripe"
)

// TestRecord records the cassettes that are shipped, with BELAY_RECORD=1: make cassettes.
func TestRecord(t *testing.T) {
	if os.Getenv("BELAY_RECORD") == "" {
		t.Skip("BELAY_RECORD is not set")
	}
	record := exec.Command("go", "test", "-count=1", "-run", "TestCassette", "./examples/drivers/stripe", "-mock", stripeMock(t))
	record.Dir = ".."
	if out, err := record.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// The driver for Stripe against Stripe's own mock server, which checks each request by the vendor's specification.
func TestStripeDriver(t *testing.T) {
	addr := stripeMock(t)
	r, err := driver.NewRegistry(func(context.Context, string, string) (driver.Settings, error) {
		return driver.Settings{BaseURL: "http://" + addr, Auth: belay.Bearer(belay.NewSecret(key))}, nil
	}, belay.WithInsecureCredentials())
	require.NoError(t, err)
	defer r.Close()
	f, err := stripe.Register(r)
	require.NoError(t, err)
	d, err := f.Open(t.Context(), "acct_1")
	require.NoError(t, err)

	require.NoError(t, d.Check(t.Context()))
	c, err := d.CreateCustomer(t.Context(), "key-1", stripe.Customer{Email: "a@example.com", Name: "A", Metadata: map[string]string{"plan": "pro"}})
	require.NoError(t, err)
	require.NotEmpty(t, c.ID)
	require.Equal(t, "a@example.com", c.Email)
	got, err := d.Customer(t.Context(), c.ID)
	require.NoError(t, err)
	require.Equal(t, c.ID, got.ID)
	found := 0
	for one, err := range d.Search(t.Context(), "email:'a@example.com'") {
		require.NoError(t, err)
		require.NotEmpty(t, one.ID)
		found++
	}
	require.Positive(t, found)
	for _, kind := range []string{"customers", "products", "invoices"} {
		all, err := d.ListResources(t.Context(), kind, "")
		require.NoError(t, err, kind)
		require.NotEmpty(t, all.Updated, kind)
		_, err = d.ListResources(t.Context(), kind, all.Mark)
		require.NoError(t, err, kind)
	}
	n := 0
	for one, err := range d.ListTransactions(t.Context(), time.Now().Add(-time.Hour)) {
		require.NoError(t, err)
		require.NotEmpty(t, one.ID)
		require.Len(t, one.Currency, 3)
		n++
	}
	require.Positive(t, n)
	require.NoError(t, d.PushStatus(t.Context(), c.ID, "won"))
}
