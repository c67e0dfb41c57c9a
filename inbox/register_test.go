package inbox_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/inbox"
	"github.com/belay-go/belay/webhook"
)

// office is a partner with its subscriptions, and what we keep of them. It can fail or die at a step.
type office struct {
	makes bool // the secrets itself
	live  map[string]sub
	last  int
	kept  map[string]inbox.Registration
	calls []string
	at    int // the step that is to fail, 0 for none
	how   string
}

type sub struct{ url, secret string }

var errDied = errors.New("the process has died")

// step counts a call; it returns whether the call is made, and what it returns. One that dies has been made or
// not, and we do not see its answer.
func (o *office) step(name string) (do bool, err error) {
	o.calls = append(o.calls, name)
	if len(o.calls) != o.at {
		return true, nil
	}
	return o.how == "after", errDied
}

func (o *office) Find(_ context.Context, url string) (string, error) {
	do, err := o.step("find")
	if !do || err != nil {
		return "", err
	}
	for _, id := range slices.Sorted(maps.Keys(o.live)) {
		if o.live[id].url == url {
			return id, nil
		}
	}
	return "", nil
}

func (o *office) Register(_ context.Context, url string, secret belay.Secret) (string, belay.Secret, error) {
	do, err := o.step("register")
	if !do {
		return "", belay.Secret{}, err
	}
	o.last++
	id, s := fmt.Sprint("sub_", o.last), secret.Reveal()
	if o.makes {
		s = fmt.Sprint("made_by_the_partner_", o.last)
	}
	o.live[id] = sub{url, s}
	if err != nil {
		return "", belay.Secret{}, err
	}
	if o.makes {
		return id, belay.NewSecret(s), nil
	}
	return id, belay.Secret{}, nil
}

func (o *office) Unregister(_ context.Context, id string) error {
	do, err := o.step("unregister")
	if do {
		delete(o.live, id)
	}
	return err
}

func (o *office) Load(_ context.Context, integration string) (inbox.Registration, error) {
	if _, err := o.step("load"); err != nil {
		return inbox.Registration{}, err
	}
	return o.kept[integration], nil
}

func (o *office) Save(_ context.Context, integration string, r inbox.Registration) error {
	do, err := o.step("save")
	if do {
		o.kept[integration] = r
	}
	return err
}

// told is all of a registration, its secret too.
func told(r inbox.Registration) string {
	return fmt.Sprint(r.ID, r.URL, r.Secret.Reveal(), r.Made, r.Confirmed)
}

const ours = "https://us.example/webhooks/acme/one"

// Wherever a registration fails or dies, the next one leaves just one subscription, of our URL, whose secret we know.
func TestRegisterDies(t *testing.T) {
	t.Parallel()
	for _, makes := range []bool{false, true} {
		for before, prepare := range map[string]func(*office){
			"nothing":        func(*office) {},
			"not ours":       func(o *office) { o.live["sub_0"] = sub{ours, "nobody knows"} },
			"of another URL": func(o *office) { _, _ = inbox.Register(t.Context(), o, o, "one", "https://old.example/", nil) },
			"gone at the partner": func(o *office) {
				_, _ = inbox.Register(t.Context(), o, o, "one", ours, nil)
				clear(o.live)
			},
			"made anew at the partner": func(o *office) {
				_, _ = inbox.Register(t.Context(), o, o, "one", ours, nil)
				clear(o.live)
				o.live["sub_x"] = sub{ours, "nobody knows"}
			},
			"of another URL, and one that is not ours": func(o *office) {
				_, _ = inbox.Register(t.Context(), o, o, "one", "https://old.example/", nil)
				o.live["sub_x"] = sub{ours, "nobody knows"}
			},
		} {
			for _, how := range []string{"before", "after"} {
				died := true
				for at := 1; died; at++ {
					o := &office{makes: makes, live: make(map[string]sub), kept: make(map[string]inbox.Registration)}
					prepare(o)
					o.calls, o.at, o.how = nil, at, how
					_, err := inbox.Register(t.Context(), o, o, "one", ours, nil)
					if died = len(o.calls) >= at; died {
						require.ErrorIs(t, err, errDied, "%s, %s step %d: %v", before, how, at, o.calls)
						require.NotContains(t, err.Error(), "\n")
					}
					o.at = 0
					r, err := inbox.Register(t.Context(), o, o, "one", ours, nil)
					require.NoError(t, err)
					why := fmt.Sprintf("%s, %s step %d: %v", before, how, at, o.calls)
					require.Equal(t, map[string]sub{r.ID: {ours, r.Secret.Reveal()}}, o.live, why)
					require.Equal(t, told(r), told(o.kept["one"]), why)
					require.Equal(t, ours, r.URL)
					require.False(t, r.Made.IsZero())
					require.NotEmpty(t, r.Secret.Reveal())
					require.Less(t, at, 20)

					o.calls = nil // and again: nothing is to be done
					again, err := inbox.Register(t.Context(), o, o, "one", ours, nil)
					require.NoError(t, err)
					require.Equal(t, told(r), told(again))
					require.Equal(t, []string{"load", "find"}, o.calls, why)

					require.NoError(t, inbox.Unregister(t.Context(), o, o, "one"))
					require.Empty(t, o.live, why)
					require.Equal(t, told(inbox.Registration{}), told(o.kept["one"]))
				}
			}
		}
	}
}

// Wherever ending a subscription fails or dies, it can be ended again; also one of which only the secret was saved.
func TestUnregisterDies(t *testing.T) {
	t.Parallel()
	for _, half := range []bool{false, true} {
		for _, how := range []string{"before", "after"} {
			died := true
			for at := 1; died; at++ {
				o := &office{live: make(map[string]sub), kept: make(map[string]inbox.Registration)}
				if half {
					o.at, o.how = 4, "after" // the partner has it, and we have not seen its answer
				}
				_, _ = inbox.Register(t.Context(), o, o, "one", ours, nil)
				require.Len(t, o.live, 1)
				require.Equal(t, half, o.kept["one"].ID == "")
				o.calls, o.at, o.how = nil, at, how
				err := inbox.Unregister(t.Context(), o, o, "one")
				if died = len(o.calls) >= at; died {
					require.ErrorIs(t, err, errDied)
					require.True(
						t,
						len(o.live) == 0 || o.kept["one"].Secret.Reveal() != "",
						"the secret stays as long as the subscription",
					)
				}
				o.at = 0
				require.NoError(t, inbox.Unregister(t.Context(), o, o, "one"))
				require.Empty(t, o.live)
				require.Equal(t, told(inbox.Registration{}), told(o.kept["one"]))
			}
		}
	}
}

// What is missing is named; a secret is shown nowhere.
func TestRegisterErrors(t *testing.T) {
	t.Parallel()
	o := &office{live: make(map[string]sub), kept: make(map[string]inbox.Registration)}
	for _, f := range []func() error{
		func() error { _, err := inbox.Register(t.Context(), nil, o, "one", ours, nil); return err },
		func() error { _, err := inbox.Register(t.Context(), o, nil, "one", ours, nil); return err },
		func() error { _, err := inbox.Register(t.Context(), o, o, "", ours, nil); return err },
		func() error { _, err := inbox.Register(t.Context(), o, o, "one", "", nil); return err },
	} {
		require.ErrorContains(t, f(), "inbox: Register")
	}
	require.Empty(t, o.calls)
	r, err := inbox.Register(t.Context(), o, o, "one", ours, nil)
	require.NoError(t, err)
	text, err := json.Marshal(r)
	require.NoError(t, err)
	require.NotContains(t, fmt.Sprintf("%v %+v %#v %s", r, r, r, text), r.Secret.Reveal())
}

// Secrets are as Standard Webhooks have them, and no two are the same.
func TestNewSigningSecret(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for range 100 {
		s := inbox.NewSigningSecret()
		require.True(t, strings.HasPrefix(s.Reveal(), "whsec_"))
		require.Len(t, s.Reveal(), len("whsec_")+44)
		require.False(t, seen[s.Reveal()])
		seen[s.Reveal()] = true
		_, err := webhook.NewVerifier(webhook.StandardWebhooks(), s)
		require.NoError(t, err)
	}
}

// tester is a partner that sends a test event when it is asked.
type tester struct {
	*office
	send func(id string) error
}

func (p tester) SendTest(_ context.Context, id string) error {
	if _, err := p.step("test"); err != nil {
		return err
	}
	return p.send(id)
}

// A test event that arrives at the Receiver confirms the registration; one that does not is an error, and asked
// for anew.
func TestRegisterIsConfirmed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := &office{live: make(map[string]sub), kept: make(map[string]inbox.Registration)}
		var arrivals inbox.Arrivals
		rc := &inbox.Receiver{
			Verifier: func(*http.Request) (*webhook.Verifier, error) {
				return webhook.NewVerifier(webhook.StandardWebhooks(), o.kept["one"].Secret)
			},
			Inbox: &box{}, Observers: []belay.Observer{&arrivals},
		}
		secret := func() string { return otherSecret }
		partner := tester{o, func(id string) error {
			req := signed(t, webhook.StandardWebhooks(), secret(), belay.WebhookEvent{Data: []byte(`{"type":"ping"}`)})
			go func() {
				time.Sleep(3 * time.Second)
				route(rc).ServeHTTP(httptest.NewRecorder(), req)
			}()
			return nil
		}}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		r, err := inbox.Register(ctx, partner, o, "one", ours, arrivals.Next("standard", "one"))
		require.ErrorIs(t, err, context.DeadlineExceeded, "a forged one does not confirm")
		require.False(t, r.Confirmed)
		require.NotEmpty(t, r.ID, "it is there all the same")
		require.Len(t, o.live, 1)

		secret = func() string { return o.kept["one"].Secret.Reveal() }
		began := time.Now()
		confirmed, err := inbox.Register(t.Context(), partner, o, "one", ours, arrivals.Next("standard", "one"))
		require.NoError(t, err)
		require.True(t, confirmed.Confirmed)
		require.Equal(t, r.ID, confirmed.ID, "it is not made anew")
		require.Equal(t, 3*time.Second, time.Since(began))
		require.Equal(t, told(confirmed), told(o.kept["one"]))

		o.calls = nil
		_, err = inbox.Register(t.Context(), partner, o, "one", ours, arrivals.Next("standard", "one"))
		require.NoError(t, err)
		require.Equal(t, []string{"load", "find"}, o.calls, "no second test")

		moved, err := inbox.Register(t.Context(), partner, o, "one", ours+"/new", nil)
		require.NoError(t, err)
		require.False(t, moved.Confirmed, "a new one is not confirmed")
	})
}

// A test event that cannot be sent, and a confirmation that cannot be saved, leave what is there.
func TestConfirmationFails(t *testing.T) {
	t.Parallel()
	o := &office{live: make(map[string]sub), kept: make(map[string]inbox.Registration)}
	partner := tester{o, func(string) error { return errTrouble }}
	confirm := func(context.Context) error { return nil }
	r, err := inbox.Register(t.Context(), partner, o, "one", ours, confirm)
	require.ErrorIs(t, err, errTrouble)
	require.Equal(t, told(r), told(o.kept["one"]))
	partner.send = func(string) error { return nil }
	o.calls, o.at, o.how = nil, 4, "before" // load, find, test, save
	_, err = inbox.Register(t.Context(), partner, o, "one", ours, confirm)
	require.ErrorIs(t, err, errDied)
	require.Equal(t, told(r), told(o.kept["one"]))
	o.at = 0
	r, err = inbox.Register(t.Context(), partner, o, "one", ours, confirm)
	require.NoError(t, err)
	require.True(t, r.Confirmed)
	require.Len(t, o.live, 1)
}

// Next waits for what comes after it was called, of its own integration.
func TestArrivals(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var a inbox.Arrivals
		a.Observe(t.Context(), belay.DeliveryReceived{Partner: "acme", Integration: "one"})
		first, second, other := a.Next("acme", "one"), a.Next("acme", "one"), a.Next("acme", "two")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, first(ctx), context.DeadlineExceeded, "what came before does not count")
		a.Observe(t.Context(), belay.DeliveryRejected{Partner: "acme", Integration: "one"})
		go a.Observe(t.Context(), belay.DeliveryReceived{Partner: "acme", Integration: "one"})
		require.NoError(t, first(t.Context()))
		require.NoError(t, second(t.Context()))
		require.NoError(t, first(t.Context()), "it has come for good")
		require.ErrorIs(t, other(ctx), context.DeadlineExceeded)
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, a.Next("acme", "one")(ctx), context.DeadlineExceeded, "the next is another")
	})
}
