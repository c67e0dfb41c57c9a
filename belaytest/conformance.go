package belaytest

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/belay-go/belay/driver"
)

// Subject is a driver to be checked by [Conformance], and a fake of its partner.
type Subject struct {
	// Fake returns the partner, anew for each check. It answers at once, and must be safe for concurrent use.
	Fake func() http.Handler
	// Open returns a new driver whose requests go through rt, and that authenticates by Secret. It runs in a bubble of
	// virtual time (testing/synctest): what it starts must end with t.
	Open func(t testing.TB, rt http.RoundTripper) driver.Driver
	// Secret is the credential that Open gives to the driver, at least eight characters that occur nowhere else.
	// OtherSecrets are further ones, such as the key of the app.
	Secret       string
	OtherSecrets []string
	// Records is how many records the fake has of each kind, for a driver.ResourceLister: more than fit on a page.
	// Transactions is their number for a driver.TransactionLister.
	Records      map[string]int
	Transactions int
	// StatusID and Status are what a driver.StatusPusher pushes, and Pushed is how often the fake has changed a status
	// since it was made. Another is a second status; without one, Back is not checked.
	StatusID, Status, Another string
	Pushed                    func(fake http.Handler) int
	// Harmless reports whether a request of Check changes nothing, for partners whose reads are POSTs. Nil means GET, HEAD
	// and OPTIONS.
	Harmless func(*http.Request) bool
}

// Conformance checks in virtual time that a driver does the right thing in the worst hour: each check is a test of its
// own. What a driver cannot do is not checked; what it can do, and Subject has nothing for, is skipped with the reason.
//
//	Works         all that it can do succeeds at a partner that is well; otherwise nothing else is checked
//	Name          its name is stable, of lower case letters, digits, "-", "_" and "."
//	Check         Check succeeds, sends a request, and changes nothing
//	Refused       a 401 is belay.ErrAuth, and not asked for again and again
//	Limited       a 429 is waited for, as long as it says, and then it succeeds
//	Unavailable   an outage is an error that belay.ErrUnavailable is, after a few requests
//	Context       nothing outlasts its context
//	Garbage       an answer that is no JSON is an error of a list
//	Whole         lists are read to the end, each record once
//	Cut           a list whose last page fails is an error, not a shorter list
//	Delta         a list of changes has a mark, and the same mark gives the same changes
//	Once          a status whose answer was lost is pushed once
//	Back          a status that comes back after another one is pushed again
//	Secret        the credential is in no error, not printed with the driver, and not sent to another host
//	Concurrent    all of it works from many goroutines (with -race)
func Conformance(t *testing.T, s Subject) {
	t.Helper()
	if s.Fake == nil || s.Open == nil || len(s.Secret) < 8 || slices.ContainsFunc(s.OtherSecrets, func(o string) bool { return len(o) < 8 }) {
		t.Fatal("belaytest: Conformance: Subject.Fake or Open is nil, or a secret is shorter than 8 characters")
	}
	for i, c := range checks {
		ok := t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { c.run(t, &s) })
		})
		if i == 0 && !ok {
			t.Fatal("belaytest: Conformance: the other checks need a driver that works")
		}
	}
}

type check struct {
	name string
	run  func(t testing.TB, s *Subject)
}

var checks = []check{
	{"Works", checkWorks},
	{"Name", checkName},
	{"Check", checkHarmless},
	{"Refused", checkRefused},
	{"Limited", checkLimited},
	{"Unavailable", checkUnavailable},
	{"Context", checkContext},
	{"Garbage", checkGarbage},
	{"Whole", checkWhole},
	{"Cut", checkCut},
	{"Delta", checkDelta},
	{"Once", checkOnce},
	{"Back", checkBack},
	{"Secret", checkSecret},
	{"Concurrent", checkConcurrent},
}

// stage is a driver before a fake partner, with a hand in between.
type stage struct {
	fake   http.Handler
	driver driver.Driver
	// meddle answers a request in the partner's place; nil leaves it to the fake. n counts from 1.
	meddle func(n int, req *http.Request) (*http.Response, error)

	mu    sync.Mutex
	sent  []*http.Request
	times []time.Time
}

func (s *Subject) stage(t testing.TB, meddle func(n int, req *http.Request) (*http.Response, error)) *stage {
	t.Helper()
	st := &stage{fake: s.Fake(), meddle: meddle}
	if st.driver = s.Open(t, st); st.driver == nil {
		t.Fatal("Open returned no driver")
	}
	return st
}

// RoundTrip implements [http.RoundTripper].
func (st *stage) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	st.mu.Lock()
	st.sent, st.times = append(st.sent, req), append(st.times, time.Now())
	n := len(st.sent)
	st.mu.Unlock()
	if st.meddle != nil {
		if resp, err := st.meddle(n, req); resp != nil || err != nil {
			return resp, err
		}
	}
	return st.serve(req), nil
}

// serve has the fake answer.
func (st *stage) serve(req *http.Request) *http.Response { return serve(st.fake, req) }

func (st *stage) requests() int {
	st.mu.Lock()
	defer st.mu.Unlock()
	return len(st.sent)
}

// act is something that a driver can do.
type act struct {
	name string
	list bool
	do   func(ctx context.Context) (ids []string, err error)
}

// acts returns what the driver of a stage can do, always in the same order.
func (s *Subject) acts(st *stage) []act {
	all := []act{{"Check", false, func(ctx context.Context) ([]string, error) { return nil, st.driver.Check(ctx) }}}
	if a, ok := st.driver.(driver.Authenticator); ok {
		all = append(all, act{"Authenticate", false, func(ctx context.Context) ([]string, error) { return nil, a.Authenticate(ctx) }})
	}
	if l, ok := st.driver.(driver.ResourceLister); ok {
		for _, kind := range slices.Sorted(maps.Keys(s.Records)) { // each finds an act again by its place
			all = append(all, act{"ListResources " + kind, true, func(ctx context.Context) ([]string, error) {
				d, err := l.ListResources(ctx, kind, "")
				return append(d.Added, d.Updated...), err
			}})
		}
	}
	if l, ok := st.driver.(driver.TransactionLister); ok {
		all = append(all, act{"ListTransactions", true, func(ctx context.Context) (ids []string, err error) {
			for one, err := range l.ListTransactions(ctx, time.Time{}) {
				if err != nil {
					return ids, err
				}
				ids = append(ids, one.ID)
			}
			return ids, nil
		}})
	}
	if p, ok := st.driver.(driver.StatusPusher); ok && s.StatusID != "" {
		all = append(all, act{"PushStatus", false, func(ctx context.Context) ([]string, error) {
			return nil, p.PushStatus(ctx, s.StatusID, s.Status)
		}})
	}
	return all
}

// each calls f for each thing that a driver can do, on a stage of its own.
func (s *Subject) each(t testing.TB, meddle func(n int, req *http.Request) (*http.Response, error), f func(st *stage, a act)) {
	t.Helper()
	for i := range s.acts(s.stage(t, nil)) {
		st := s.stage(t, meddle)
		f(st, s.acts(st)[i])
	}
}

// status answers all requests by a status.
func status(code int, header ...string) func(int, *http.Request) (*http.Response, error) {
	return func(_ int, req *http.Request) (*http.Response, error) {
		h := make(http.Header)
		for i := 0; i < len(header); i += 2 {
			h.Set(header[i], header[i+1])
		}
		return instead(req, code, h), nil
	}
}
