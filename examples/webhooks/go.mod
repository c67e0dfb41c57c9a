module github.com/belay-go/belay/examples/webhooks

go 1.26.0
