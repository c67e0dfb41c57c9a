module github.com/belay-go/belay/inbox/boltinbox

go 1.26.0

require (
	github.com/belay-go/belay v0.1.0
	go.etcd.io/bbolt v1.5.0
)

require (
	github.com/cenkalti/backoff/v4 v4.3.0 // indirect
	github.com/sony/gobreaker/v2 v2.4.0 // indirect
	golang.org/x/sys v0.45.0 // indirect
	golang.org/x/time v0.16.0 // indirect
)

replace github.com/belay-go/belay => ../..
