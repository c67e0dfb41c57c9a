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

// A secret is found as .NET, XML and a link within a link write it.
func TestFormsOfOtherWriters(t *testing.T) {
	const secret = `ab+c/d&"e'<ü=`
	for _, text := range []string{
		`ab\u002Bc/d\u0026\u0022e\u0027\u003C\u00FC=`, `ab\u002bc/d\u0026\u0022e\u0027\u003c\u00fc=`,
		`ab+c/d&amp;&quot;e&apos;&lt;ü=`, `ab%252Bc%252Fd%2526%2522e%2527%253C%25C3%25BC%253D`,
	} {
		require.Equal(t, "x "+Mask+" y", Values("x "+text+" y", []string{secret}), text)
	}
}
