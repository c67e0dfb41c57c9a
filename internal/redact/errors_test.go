package redact

import (
	"errors"
	"fmt"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
)

// Each URL of a tree of errors goes.
func TestWithoutURLOfSeveral(t *testing.T) {
	one := &url.Error{Op: "Get", URL: "https://h/?token=canary-1", Err: errors.New("a")}
	two := &url.Error{Op: "Get", URL: "https://h/?token=canary-2", Err: errors.New("b")}
	inner := &url.Error{Op: "Get", URL: "https://h/?token=canary-3", Err: fmt.Errorf("x: %w", two)}
	for _, err := range []error{
		errors.Join(one, two), fmt.Errorf("both: %w, %w", one, two), inner, errors.Join(inner, errors.Join(one, two)),
		fmt.Errorf("at %s: %w", one.URL, one),
	} {
		got := WithoutURL(err)
		require.NotContains(t, got.Error(), "canary")
		require.ErrorIs(t, got, got)
	}
	require.ErrorIs(t, WithoutURL(errors.Join(one, two)), two.Err)
	require.NoError(t, WithoutURL(nil))
}
