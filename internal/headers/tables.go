package headers

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Known is a header of the table, for the page that lists them.
type Known struct {
	Header, Quota, Says string
	Window              time.Duration
	Counts              bool // its quota counts requests
}

// Table returns the headers of quotas that are known by their names, by quota. Others are understood by their form.
func Table() []Known {
	says := map[role]string{
		isLimit: "the limit", isLeft: "what is left", isUsed: "what is used", isReset: "when it begins anew",
		isWindow: "its window", isShare: "used and limit", isUsage: "used and limit, by name", isTriple: "all three",
		isItems: "all, by name", isPolicy: "limit and window, by name", isResource: "its name",
	}
	var all []Known
	for _, r := range slices.Collect(maps.Values(table)) {
		all = append(all, Known{r.header, r.quota, says[r.role], r.window, !r.other})
	}
	slices.SortFunc(all, func(a, b Known) int { return cmp.Or(cmp.Compare(a.Quota, b.Quota), cmp.Compare(a.Header, b.Header)) })
	return all
}

// RequestIDs returns the headers that hold the id of a call, in the order in which they count, and those of proxies.
func RequestIDs() (partners, proxies []string) { return requestIDs[:], proxyIDs[:] }
