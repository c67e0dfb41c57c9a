// Package belayprom counts what Belay does for Prometheus.
//
//	metrics, err := belayprom.New(belayprom.Config{})
//	prometheus.MustRegister(metrics)
//	client, err := belay.New("https://api.crm.example", belay.WithName("crm"), belay.WithObserver(metrics))
//	err = metrics.Add(client) // limits, circuits and waiting calls, looked at with each scrape
//
// A [Metrics] is a [belay.Observer], for clients, token sources and the inbox, and a [prometheus.Collector]. No label
// holds a credential, a query, or the id of a resource: endpoints are path templates, and raw paths are folded. The
// number of values of each label is bounded; what comes after is "other".
package belayprom
