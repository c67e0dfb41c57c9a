package oauth

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
)

// The end of a refresh token is read in the fields that partners send.
func TestRefreshExpiry(t *testing.T) {
	t.Parallel()
	got := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		field, value string
		want         time.Duration // 0 for none
	}{
		{"refresh_token_expires_in", "15897600", 184 * 24 * time.Hour},
		{"refresh_expires_in", "5184000", 60 * 24 * time.Hour},
		{"x_refresh_token_expires_in", "8726400", 101 * 24 * time.Hour},
		{"refresh_expires_in", "0", 0},
		{"refresh_expires_in", "-1", 0},
		{"refresh_expires_in", "NaN", 0},
		{"refresh_expires_in", "1e300", 0},
		{"refresh_expires_in", "soon", 0},
		{"expires_in", "60", 0},
	} {
		token := Token{
			Refresh: belay.NewSecret("r"), Obtained: got, Extra: map[string]belay.Secret{c.field: belay.NewSecret(c.value)},
		}
		want := time.Time{}
		if c.want != 0 {
			want = got.Add(c.want)
		}
		require.Equal(t, want, token.RefreshExpiry(), "%s=%s", c.field, c.value)
		token.Refresh = belay.Secret{}
		require.Zero(t, token.RefreshExpiry(), "without a refresh token")
	}
}
