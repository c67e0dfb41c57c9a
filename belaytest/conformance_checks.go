package belaytest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/driver"
)

func checkWorks(t testing.TB, s *Subject) {
	s.each(t, nil, func(_ *stage, a act) {
		if _, err := a.do(t.Context()); err != nil {
			t.Errorf("%s fails at a partner that is well: %v", a.name, err)
		}
	})
}

func checkName(t testing.TB, s *Subject) {
	name := s.stage(t, nil).driver.Name()
	if !regexp.MustCompile(`^[a-z0-9._-]+$`).MatchString(name) {
		t.Errorf("Name returns %q", name)
	}
	if again := s.stage(t, nil).driver.Name(); again != name {
		t.Errorf("Name returns %q and %q", name, again)
	}
}

func checkHarmless(t testing.TB, s *Subject) {
	harmless := s.Harmless
	if harmless == nil {
		harmless = func(req *http.Request) bool {
			return slices.Contains([]string{http.MethodGet, http.MethodHead, http.MethodOptions}, req.Method)
		}
	}
	st := s.stage(t, nil)
	if err := st.driver.Check(t.Context()); err != nil {
		t.Errorf("Check: %v", err)
	}
	if st.requests() == 0 {
		t.Error("Check sends no request")
	}
	for _, req := range st.sent {
		if !harmless(req) {
			t.Errorf("Check sends %s %s", req.Method, req.URL.Path)
		}
	}
}

func checkRefused(t testing.TB, s *Subject) {
	s.each(t, status(http.StatusUnauthorized), func(st *stage, a act) {
		_, err := a.do(t.Context())
		switch n := st.requests(); {
		case n == 0: // it needs none
		case !errors.Is(err, belay.ErrAuth):
			t.Errorf("%s: a 401 is %v, which is not belay.ErrAuth", a.name, err)
		case n > 4:
			t.Errorf("%s: %d requests after a 401", a.name, n)
		}
	})
}

// limitedFor is the wait of a 429: longer than a backoff without it, and short enough to be waited for.
const limitedFor = 17 * time.Second

func checkLimited(t testing.TB, s *Subject) {
	limited := status(http.StatusTooManyRequests, "Retry-After", fmt.Sprint(int(limitedFor.Seconds())))
	s.each(t, func(n int, req *http.Request) (*http.Response, error) {
		if n > 1 {
			return nil, nil
		}
		return limited(n, req)
	}, func(st *stage, a act) {
		_, err := a.do(t.Context())
		switch {
		case st.requests() == 0:
		case err != nil:
			t.Errorf("%s: a 429 is not waited for: %v", a.name, err)
		case len(st.times) > 1 && st.times[1].Sub(st.times[0]) < limitedFor:
			t.Errorf("%s: the next request comes %s after a 429 that says %s", a.name, st.times[1].Sub(st.times[0]), limitedFor)
		}
	})
}

// mostInVain is the most requests of one act while the partner is down.
const mostInVain = 12

func checkUnavailable(t testing.TB, s *Subject) {
	s.each(t, status(http.StatusServiceUnavailable), func(st *stage, a act) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		_, err := a.do(ctx)
		switch n := st.requests(); {
		case n == 0:
		case !errors.Is(err, belay.ErrUnavailable):
			t.Errorf("%s: an outage is %v, which is not belay.ErrUnavailable", a.name, err)
		case n > mostInVain:
			t.Errorf("%s: %d requests in an outage", a.name, n)
		}
	})
}

func checkContext(t testing.TB, s *Subject) {
	hang := func(_ int, req *http.Request) (*http.Response, error) {
		<-req.Context().Done()
		return nil, req.Context().Err()
	}
	s.each(t, hang, func(st *stage, a act) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		done := make(chan error, 1)
		go func() {
			_, err := a.do(ctx)
			done <- err
		}()
		var err error
		select {
		case err = <-done:
		case <-time.After(time.Hour):
			t.Errorf("%s goes on an hour after its context has ended", a.name)
			err = <-done
		}
		switch took := time.Since(began); {
		case st.requests() == 0:
		case err == nil:
			t.Errorf("%s: no error after the end of its context", a.name)
		case took > 2*time.Second:
			t.Errorf("%s ends %s after its context", a.name, took-time.Second)
		}
	})
}

func checkGarbage(t testing.TB, s *Subject) {
	s.each(t, func(_ int, req *http.Request) (*http.Response, error) {
		resp := instead(req, http.StatusOK, nil)
		page := "<html><body>We will be back soon</body></html>"
		resp.Header.Set("Content-Type", "text/html")
		resp.Body, resp.ContentLength = io.NopCloser(strings.NewReader(page)), int64(len(page))
		return resp, nil
	}, func(st *stage, a act) {
		if ids, err := a.do(t.Context()); a.list && st.requests() > 0 && err == nil {
			t.Errorf("%s: a page of HTML is a list of %d", a.name, len(ids))
		}
	})
}

// want returns how many records a list has.
func (s *Subject) want(a act) int {
	if kind, ok := strings.CutPrefix(a.name, "ListResources "); ok {
		return s.Records[kind]
	}
	return s.Transactions
}

// skipLists skips a check of lists if the driver has lists, and s says of none of them how many records it has.
func (s *Subject) skipLists(t testing.TB) {
	t.Helper()
	d := s.stage(t, nil).driver
	_, resources := d.(driver.ResourceLister)
	_, transactions := d.(driver.TransactionLister)
	if (resources || transactions) && len(s.Records) == 0 && s.Transactions == 0 {
		t.Skip("the driver has lists, but Subject.Records and Transactions are empty")
	}
}

// pusher returns the driver of st as one that pushes statuses, nil if it does not. It skips the check if s has none to push.
func (s *Subject) pusher(t testing.TB, st *stage) driver.StatusPusher {
	t.Helper()
	p, ok := st.driver.(driver.StatusPusher)
	if ok && (s.Pushed == nil || s.StatusID == "") {
		t.Skip("the driver pushes statuses, but Subject.StatusID or Pushed is missing")
	}
	return p
}

func checkWhole(t testing.TB, s *Subject) {
	s.skipLists(t)
	s.each(t, nil, func(_ *stage, a act) {
		if !a.list {
			return
		}
		ids, err := a.do(t.Context())
		if err != nil {
			t.Errorf("%s: %v", a.name, err)
		}
		seen := make(map[string]bool)
		for _, id := range ids {
			if id == "" || seen[id] {
				t.Errorf("%s: the id %q twice, or empty", a.name, id)
			}
			seen[id] = true
		}
		if len(ids) != s.want(a) {
			t.Errorf("%s: %d of %d records", a.name, len(ids), s.want(a))
		}
	})
}

func checkCut(t testing.TB, s *Subject) {
	s.skipLists(t)
	s.each(t, nil, func(st *stage, a act) {
		if !a.list {
			return
		}
		if _, err := a.do(t.Context()); err != nil {
			t.Errorf("%s: %v", a.name, err)
			return
		}
		last := st.requests()
		if last < 2 {
			t.Logf("%s: one request; give the fake more records than fit on a page", a.name)
		}
		cut := s.stage(t, func(n int, req *http.Request) (*http.Response, error) {
			if n < last {
				return nil, nil
			}
			return instead(req, http.StatusBadRequest, nil), nil
		})
		for _, again := range s.acts(cut) {
			if again.name != a.name {
				continue
			}
			if ids, err := again.do(t.Context()); err == nil {
				t.Errorf("%s: its last page fails, and it is told as a list of %d", a.name, len(ids))
			}
		}
	})
}

func checkDelta(t testing.TB, s *Subject) {
	st := s.stage(t, nil)
	l, ok := st.driver.(driver.ResourceLister)
	if !ok {
		return
	}
	if len(s.Records) == 0 {
		t.Skip("the driver lists resources, but Subject.Records is empty")
	}
	for kind := range s.Records {
		all, err := l.ListResources(t.Context(), kind, "")
		if err != nil || all.Mark == "" {
			t.Errorf("ListResources %s: the mark is %q, the error %v", kind, all.Mark, err)
			continue
		}
		if len(all.Deleted) > 0 {
			t.Errorf("ListResources %s: %d are deleted for somebody who had none", kind, len(all.Deleted))
		}
		time.Sleep(time.Minute)
		first, err := l.ListResources(t.Context(), kind, all.Mark)
		if err != nil {
			t.Errorf("ListResources %s: %v", kind, err)
		}
		second, err := l.ListResources(t.Context(), kind, all.Mark)
		if err != nil || !slices.Equal(first.Added, second.Added) || !slices.Equal(first.Updated, second.Updated) || !slices.Equal(first.Deleted, second.Deleted) {
			t.Errorf("ListResources %s: one mark gives %+v, then %+v, %v", kind, first, second, err)
		}
		if len(first.Deleted) > 0 || len(first.Added)+len(first.Updated) >= s.Records[kind] && s.Records[kind] > 1 {
			t.Errorf("ListResources %s: nothing has changed, and it tells %d added, %d updated, %d deleted", kind, len(first.Added), len(first.Updated), len(first.Deleted))
		}
	}
}

func checkOnce(t testing.TB, s *Subject) {
	lost := false
	var st *stage
	st = s.stage(t, func(_ int, req *http.Request) (*http.Response, error) {
		if lost || req.Method == http.MethodGet || req.Method == http.MethodHead {
			return nil, nil
		}
		lost = true
		_ = st.serve(req).Body.Close()
		return nil, &brokenAnswer{}
	})
	p := s.pusher(t, st)
	if p == nil {
		return
	}
	_ = p.PushStatus(t.Context(), s.StatusID, s.Status) // it may be an error: then the application calls it again
	if err := p.PushStatus(t.Context(), s.StatusID, s.Status); err != nil {
		t.Errorf("PushStatus: %v", err)
	}
	if n := s.Pushed(st.fake); n != 1 {
		t.Errorf("PushStatus has changed the status %d times, after its first answer was lost and it was called again: it wants an "+
			"idempotency key, a PUT, or a look at what is there", n)
	}
}

// checkBack is about idempotency keys that are made of a status: partners remember them for a day.
func checkBack(t testing.TB, s *Subject) {
	st := s.stage(t, nil)
	p := s.pusher(t, st)
	switch {
	case p == nil:
		return
	case s.Another == "":
		t.Skip("the driver pushes statuses, but Subject.Another is empty")
	}
	for i, status := range []string{s.Status, s.Another, s.Status} {
		if err := p.PushStatus(t.Context(), s.StatusID, status); err != nil {
			t.Errorf("PushStatus %s: %v", status, err)
		}
		if n := s.Pushed(st.fake); n != i+1 {
			t.Errorf("PushStatus %s, after %d others: the status has changed %d times, wanted %d", status, i, n, i+1)
		}
	}
}

// brokenAnswer is the error of a connection that breaks before the answer.
type brokenAnswer struct{}

func (*brokenAnswer) Error() string { return "read: connection reset by peer" }
func (*brokenAnswer) Unwrap() error { return syscall.ECONNRESET }

func checkSecret(t testing.TB, s *Subject) {
	leaks := func(what, text string) {
		for _, secret := range append([]string{s.Secret}, s.OtherSecrets...) {
			if strings.Contains(text, secret) {
				t.Errorf("%s shows the credential", what)
			}
		}
	}
	st := s.stage(t, nil)
	for _, verb := range []string{"%v", "%+v", "%#v"} {
		leaks("the driver, printed with "+verb, fmt.Sprintf(verb, st.driver))
	}
	for code, meddle := range map[string]func(int, *http.Request) (*http.Response, error){
		"401": status(http.StatusUnauthorized), "400": status(http.StatusBadRequest), "503": status(http.StatusServiceUnavailable),
		"a broken connection": func(int, *http.Request) (*http.Response, error) { return nil, &brokenAnswer{} },
		"a refusal that repeats the request": func(_ int, req *http.Request) (*http.Response, error) {
			resp := instead(req, http.StatusBadRequest, nil)
			text := fmt.Sprintf(`{"message": "no: %s %v"}`, req.URL, req.Header)
			resp.Body, resp.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
			return resp, nil
		},
	} {
		s.each(t, meddle, func(_ *stage, a act) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			if _, err := a.do(ctx); err != nil {
				leaks(a.name+": the error of "+code, fmt.Sprintf("%v %+v %#v", err, err, err))
			}
		})
	}
	const elsewhere = "elsewhere.example"
	s.each(t, func(_ int, req *http.Request) (*http.Response, error) {
		if req.URL.Host != elsewhere {
			return instead(req, http.StatusTemporaryRedirect, http.Header{"Location": {"https://" + elsewhere + "/"}}), nil
		}
		leaks("a request to another host", fmt.Sprint(req.URL, req.Header))
		return nil, nil
	}, func(_ *stage, a act) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, _ = a.do(ctx)
	})
}

func checkConcurrent(t testing.TB, s *Subject) {
	st := s.stage(t, nil)
	var all sync.WaitGroup
	for range 8 {
		for _, a := range s.acts(st) {
			all.Go(func() {
				if ids, err := a.do(t.Context()); err != nil || a.list && len(ids) != s.want(a) {
					t.Errorf("%s, beside others: %d records, %v", a.name, len(ids), err)
				}
			})
		}
	}
	all.Wait()
}
