// Package watch tells how the partners of a service are.
//
// A [Checker] probes each integration on an interval, one at a time for each partner, at low priority.
// [Checker.Handler] answers with what it found, for people, for load balancers and as application/health+json:
//
//	checker, err := watch.NewChecker(watch.CheckerConfig{}, watch.Check{Name: "crm", Probe: crm.Check})
//	go checker.Run(ctx)
//	http.Handle("/healthz", checker.Handler())
//
// A [History] is an observer that keeps the last hour. [Rules] look at it and tell sinks what is wrong, and [NewPage]
// shows it to people:
//
//	history := new(watch.History)
//	client, err := belay.New("https://api.crm.example", belay.WithName("crm"), belay.WithObserver(history))
//	rules, err := watch.NewRules(watch.RulesConfig{History: history, Sinks: []watch.Sink{watch.LogSink(logger)}})
//	go rules.Run(ctx)
//	page, err := watch.NewPage(watch.PageConfig{History: history, Checker: checker, Rules: rules})
//	http.Handle("/partners", yourLogin(page))
package watch
