package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/webhook"
)

// kept holds a delivery that outlives the function that verified it.
var kept belay.Delivery

// webhooks compares the verification of a webhook with the HMAC of its body alone, with a new hash each time,
// as in most code.
func webhooks() {
	const secret = "a webhook secret of some length"
	fmt.Printf("\nwebhooks, above or below one hmac.New and SHA-256 of the body\n  %-34s %9s %9s %8s\n",
		"", "ns", "ratio", "allocs")
	for _, size := range []int{1 << 10, 64 << 10} {
		body := []byte(`{"id":"evt_1","created":1700000000,"event_id":"ev1","data":{"object":{"id":"cus_1","note":"` +
			strings.Repeat("x", size-137) + `"}},"type":"customer.created"}`)
		raw := func() {
			m := hmac.New(sha256.New, []byte(secret))
			m.Write(body)
			if len(m.Sum(nil)) != 32 {
				panic("short")
			}
		}
		type row struct {
			name   string
			do     func()
			ns     []float64
			allocs float64
		}
		rows := []*row{{name: fmt.Sprintf("hmac.New, %d KiB", size>>10), do: raw}}
		signed, err := webhook.SignTest(webhook.GitHub(), belay.NewSecret(secret),
			belay.WebhookEvent{ID: "id", Type: "push", Data: body})
		if err != nil {
			panic(err)
		}
		rows = append(rows, &row{name: "by hand: header, hex, Equal, id, type", do: func() {
			text, ok := strings.CutPrefix(signed.Header.Get("X-Hub-Signature-256"), "sha256=")
			signature, err := hex.DecodeString(text)
			m := hmac.New(sha256.New, []byte(secret))
			m.Write(body)
			if !ok || err != nil || !hmac.Equal(m.Sum(nil), signature) ||
				signed.Header.Get("X-GitHub-Delivery") == "" || signed.Header.Get("X-GitHub-Event") == "" {
				panic("refused")
			}
		}})
		for _, s := range []webhook.Scheme{webhook.GitHub(), webhook.Slack(), webhook.Stripe()} {
			s.Tolerance = time.Hour
			req, err := webhook.SignTest(s, belay.NewSecret(secret), belay.WebhookEvent{ID: "id", Type: "push", Data: body})
			if err != nil {
				panic(err)
			}
			v, err := webhook.NewVerifier(s, belay.NewSecret(secret))
			if err != nil {
				panic(err)
			}
			h := http.Header(req.Header)
			rows = append(rows, &row{name: "belay, " + s.Name, do: func() {
				if d, err := v.Verify(h, body); err != nil || !bytes.Equal(d.Events[0].Data[:1], body[:1]) {
					panic(err)
				}
			}}, &row{name: "belay, " + s.Name + ", kept", do: func() {
				var err error
				if kept, err = v.Verify(h, body); err != nil {
					panic(err)
				}
			}})
		}
		for _, r := range rows {
			r.allocs = testing.AllocsPerRun(500, r.do)
		}
		n := max(50, 500*1024/size)
		for range *rounds {
			for _, r := range rows {
				start := time.Now()
				for range n {
					r.do()
				}
				r.ns = append(r.ns, float64(time.Since(start).Nanoseconds())/float64(n))
			}
		}
		for _, r := range rows {
			fmt.Printf("  %-34s %9.0f %9.2f %8.0f\n", r.name, median(r.ns), median(r.ns)/median(rows[0].ns), r.allocs)
		}
	}
}
