package headers

import "testing"

// RequestID looks only at headers that end so.
func TestRequestIDsEndAlike(t *testing.T) {
	partners, _ := RequestIDs()
	for _, name := range partners {
		if name[len(name)-1] != 'd' {
			t.Error(name)
		}
	}
}
