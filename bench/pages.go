package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/belay-go/belay"
)

const (
	pageCount = 10_000
	pageSize  = 100
)

// contact is an item of about 200 bytes.
type contact struct {
	ID      int      `json:"id"`
	Name    string   `json:"name"`
	Email   string   `json:"email"`
	Company string   `json:"company"`
	Tags    []string `json:"tags"`
	Score   float64  `json:"score"`
	Updated string   `json:"updated_at"`
}

// library is a transport that answers with pages by offset, after a latency.
type library struct {
	pages   [10][]byte // repeated until pageCount is reached
	latency time.Duration
}

func newLibrary() *library {
	l := new(library)
	for p := range l.pages {
		var b bytes.Buffer
		b.WriteString(`{"data":[`)
		for i := range pageSize {
			if i > 0 {
				b.WriteByte(',')
			}
			_ = json.NewEncoder(&b).Encode(contact{
				p*pageSize + i, "Ada Lovelace the " + strconv.Itoa(i), "ada.lovelace@example.test",
				"Analytical Engines, Ltd.",
				[]string{"customer", "engine"},
				0.25, "2026-11-22T10:00:00Z",
			})
		}
		fmt.Fprintf(&b, `],"total":%d}`, pageCount*pageSize)
		l.pages[p] = b.Bytes()
	}
	return l
}

func (l *library) RoundTrip(req *http.Request) (*http.Response, error) {
	if l.latency > 0 {
		time.Sleep(l.latency)
	}
	offset, _ := strconv.Atoi(req.URL.Query().Get("offset"))
	body := []byte(`{"data":[]}`)
	if page := offset / pageSize; page < pageCount {
		body = l.pages[page%len(l.pages)]
	}
	return &http.Response{
		StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}},
		ContentLength: int64(len(body)), Body: io.NopCloser(bytes.NewReader(body)), Request: req,
	}, nil
}

// decoderLoop reads n pages with the usual hand-written code: one json.Decoder for each page, item by item.
func decoderLoop(rt http.RoundTripper, n int) (items int, err error) {
	client := &http.Client{Transport: rt}
	for page := range n {
		resp, err := client.Get("https://partner.test/contacts?limit=100&offset=" + strconv.Itoa(page*pageSize))
		if err != nil {
			return items, err
		}
		d := json.NewDecoder(resp.Body)
		for {
			t, err := d.Token()
			if err != nil {
				return items, err
			}
			if t == json.Delim('[') {
				break
			}
		}
		for d.More() {
			var c contact
			if err := d.Decode(&c); err != nil {
				return items, err
			}
			items++
		}
		_ = resp.Body.Close()
	}
	return items, nil
}

func belayLoop(rt http.RoundTripper, n, prefetch int, each func(items int)) (items int, err error) {
	client, err := belay.New("https://partner.test", belay.WithTransport(rt))
	if err != nil {
		return 0, err
	}
	for _, err := range belay.Items[contact](
		context.Background(), client, "/contacts",
		belay.OffsetPages{Items: "data", Limit: pageSize}, belay.Prefetch(prefetch),
	) {
		if err != nil {
			return items, err
		}
		if items++; items == n*pageSize {
			break
		}
		if each != nil {
			each(items)
		}
	}
	return items, nil
}

// heap returns the bytes of reachable objects. Call it from within the measured loop: otherwise objects that
// the loop allocates meanwhile would count.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// pages compares the time to read a million items.
func pages() {
	l := newLibrary()
	must := func(n int, err error) {
		if err != nil || n == 0 {
			panic(fmt.Sprint(n, err))
		}
	}
	time1 := func(f func()) float64 {
		runtime.GC()
		began := time.Now()
		f()
		return time.Since(began).Seconds()
	}
	const slice = pageCount / 50 // pages in a run: the two loops alternate, 50 runs each
	var plain, ours []float64
	for i := range 50 {
		for j := range 2 {
			if (i+j)%2 == 0 {
				plain = append(plain, time1(func() { must(decoderLoop(l, slice)) }))
			} else {
				ours = append(ours, time1(func() { must(belayLoop(l, slice, 0, nil)) }))
			}
		}
	}
	ratios := make([]float64, len(plain)) // of neighboring runs, because the machine's speed changes
	for i := range plain {
		ratios[i] = plain[i] / ours[i]
	}
	a, b := median(plain), median(ours)
	rate := func(s float64) float64 { return slice * pageSize / s }
	fmt.Printf("\nA million items of %d bytes over %d pages\n", len(l.pages[0])/pageSize, pageCount)
	fmt.Printf("  json.Decoder loop     %9.0f items/s\n  Items                 %9.0f items/s, %.2f of that\n",
		rate(a), rate(b), median(ratios))
	debug.FreeOSMemory()
	before, peak := heap(), uint64(0)
	must(belayLoop(l, pageCount, 0, func(items int) {
		if items%9973 == 0 { // in the middle of pages
			peak = max(peak, heap())
		}
	}))
	peak = max(peak, before) - before
	fmt.Printf("  live heap above the start, at its highest: %d KiB\n", peak>>10)
	l.latency = 10 * time.Millisecond
	without := time1(func() { must(belayLoop(l, 200, 0, nil)) })
	with := time1(func() { must(belayLoop(l, 200, 2, nil)) })
	fmt.Printf("  at 10 ms a page: Prefetch(2) is %.2f times as fast\n", without/with)
}
