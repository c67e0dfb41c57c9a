// Package watch tells how the partners of a service are.
//
// A [Checker] probes each integration on an interval, one at a time for each partner, at low priority. [Checker.Handler]
// answers with what it found, for people, for load balancers and as application/health+json:
//
//	checker, err := watch.NewChecker(watch.CheckerConfig{}, watch.Check{Name: "crm", Probe: crm.Check})
//	go checker.Run(ctx)
//	http.Handle("/healthz", checker.Handler())
package watch
