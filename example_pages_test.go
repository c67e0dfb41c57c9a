package belay_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/bulk"
	"github.com/belay-go/belay/internal/testkit"
)

// contactsPartner has five contacts, two a page.
var contactsPartner = testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
	body := map[string]string{
		"":   `{"data":[{"id":1},{"id":2}],"next":"c1"}`,
		"c1": `{"data":[{"id":3},{"id":4}],"next":"c2"}`,
		"c2": `{"data":[{"id":5}],"next":null}`,
	}[req.URL.Query().Get("cursor")]
	return testkit.Raw(200, "application/json", body), nil
})

var byCursor = belay.CursorPages{Items: "data", Cursor: "next", Param: "cursor"}

type contact struct {
	ID int `json:"id"`
}

// All contacts, however many: one page is held at a time.
func ExampleItems() {
	client, err := belay.New("https://partner.test", belay.WithTransport(contactsPartner))
	if err != nil {
		panic(err)
	}
	for c, err := range belay.Items[contact](context.Background(), client, "/contacts", byCursor) {
		if err != nil {
			panic(err)
		}
		fmt.Print(c.ID, " ")
	}
	// Output: 1 2 3 4 5
}

// A page says where the next one begins, to go on from there another time.
func ExamplePages() {
	client, _ := belay.New("https://partner.test", belay.WithTransport(contactsPartner))
	ctx, cursor := context.Background(), ""
	for page, err := range belay.Pages[contact](ctx, client, "/contacts", byCursor) {
		fmt.Println(page.Items, page.Cursor, err)
		cursor = page.Cursor
		break // the process ends here
	}
	for page, err := range belay.Pages[contact](
		ctx, client, "/contacts", byCursor, belay.StartAt(cursor), belay.Prefetch(1),
	) {
		fmt.Println(page.Items, page.Cursor, err)
	}
	// Output:
	// [{1} {2}] c1 <nil>
	// [{3} {4}] c2 <nil>
	// [{5}]  <nil>
}

// Contacts in batches of three, whatever the pages are.
func ExampleBatch() {
	client, _ := belay.New("https://partner.test", belay.WithTransport(contactsPartner))
	for batch, err := range bulk.Batch(belay.Items[contact](context.Background(), client, "/contacts", byCursor), 3) {
		fmt.Println(batch, err)
	}
	// Output:
	// [{1} {2} {3}] <nil>
	// [{4} {5}] <nil>
}

// A file of any length, with its checksum compared.
func ExampleDownload() {
	partner := testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
		return replyWithBody("hello", "Repr-Digest", "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:"), nil
	})
	client, _ := belay.New("https://partner.test", belay.WithTransport(partner))
	var file strings.Builder // or an *os.File
	d, err := belay.Download(context.Background(), client, "/exports/7", &file)
	fmt.Println(file.String(), d.Bytes, d.Verified, err)
	// Output: hello 5 sha-256 <nil>
}

// An export that takes a while: the partner answers 202 until it is there.
func ExampleAwait() {
	n := 0
	partner := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
		if n++; n == 1 {
			return testkit.Reply(202, "Location", "/exports/7"), nil
		}
		return testkit.Raw(200, "application/json", `{"url":"https://partner.test/files/7"}`), nil
	})
	client, _ := belay.New("https://partner.test", belay.WithTransport(partner))
	export, err := belay.Await[struct{ URL string }](
		context.Background(),
		client,
		"POST",
		"/exports",
		map[string]string{"of": "contacts"},
	)
	fmt.Println(export.URL, err)
	// Output: https://partner.test/files/7 <nil>
}

// An operation whose own JSON says how far it is.
func ExamplePoll() {
	partner := testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
		return testkit.Raw(200, "application/json", `{"status":"succeeded"}`), nil
	})
	client, _ := belay.New("https://partner.test", belay.WithTransport(partner))
	type operation struct{ Status string }
	op, err := belay.Poll(context.Background(), client, "/operations/{id}", func(o operation) (bool, error) {
		if o.Status == "failed" {
			return true, fmt.Errorf("the export failed")
		}
		return o.Status == "succeeded", nil
	}, belay.PathValue("id", "7"))
	fmt.Println(op.Status, err)
	// Output: succeeded <nil>
}

// Server-sent events come as a stream, which may be silent for as long as it likes.
func ExampleClient_Do_events() {
	partner := testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
		return replyWithBody("data: 1\n\ndata: 2\n\n", "Content-Type", "text/event-stream"), nil
	})
	client, _ := belay.New("https://partner.test", belay.WithTransport(partner))
	req, err := client.NewRequest(context.Background(), http.MethodGet, "/events", nil)
	if err != nil {
		panic(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		panic(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	fmt.Printf("%q %v\n", data, err)
	// Output: "data: 1\n\ndata: 2\n\n" <nil>
}
