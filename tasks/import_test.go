package tasks_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/importer"
	"github.com/belay-go/belay/tasks"
)

// contact is a record of the fake partner.
type contact struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Updated int64  `json:"updated"` // seconds since 1970
}

// crm is a partner with a list of contacts, ten a page.
type crm struct {
	*httptest.Server
	records atomic.Pointer[[]contact]
	calls   atomic.Int64
	expire  atomic.Int64 // cursors below it have expired
	slow    time.Duration
}

const perPage = 10

func newCRM(t testing.TB, n int) *crm {
	p := &crm{}
	p.fill(n)
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.calls.Add(1)
		time.Sleep(p.slow)
		from, _ := strconv.Atoi(r.URL.Query().Get("cursor"))
		if int64(from) < p.expire.Load() && from > 0 {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"error": {"code": "cursor_expired", "message": "the cursor has expired"}}`)
			return
		}
		since, _ := strconv.ParseInt(r.URL.Query().Get("since"), 10, 64)
		var all []contact
		for _, one := range *p.records.Load() {
			if one.Updated >= since {
				all = append(all, one)
			}
		}
		page := map[string]any{"items": all[min(from, len(all)):min(from+perPage, len(all))], "total": len(all)}
		if from+perPage < len(all) {
			page["next"] = strconv.Itoa(from + perPage)
		}
		_ = json.NewEncoder(w).Encode(page)
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *crm) fill(n int) {
	all := make([]contact, n)
	for i := range all {
		all[i] = contact{fmt.Sprint("c", i), fmt.Sprint("name ", i), 1_700_000_000 + int64(i)}
	}
	p.records.Store(&all)
}

// pages returns the list of a partner at an address.
func pages(ctx context.Context, url, from string, since time.Time) iter.Seq2[belay.Page[json.RawMessage], error] {
	c, err := belay.New(url, belay.WithName("crm"))
	if err != nil {
		panic(err)
	}
	path := "/contacts"
	if !since.IsZero() {
		path += fmt.Sprint("?since=", since.Unix())
	}
	return belay.Pages[json.RawMessage](ctx, c, path, belay.CursorPages{Items: "items", Cursor: "next", Param: "cursor"}, belay.StartAt(from))
}

type importArgs struct {
	Mode string `json:"mode"`
}

func (importArgs) Kind() string { return "import_contacts" }

type importWorker struct {
	tasks.ImportDefaults[importArgs]
	work func(ctx context.Context, job *river.Job[importArgs]) error
}

func (w *importWorker) Work(ctx context.Context, job *river.Job[importArgs]) error {
	return w.work(ctx, job)
}

func importConfig(work func(ctx context.Context, job *river.Job[importArgs]) error) tasks.Config {
	cfg := config(nil)
	river.AddWorker(cfg.River.Workers, &importWorker{work: work})
	return cfg
}

// contactsOf is the import of a partner's contacts into a table.
func contactsOf(url string) tasks.Import[json.RawMessage, contact] {
	return tasks.Import[json.RawMessage, contact]{
		Key: "crm/acme/contacts",
		Job: importer.Job[json.RawMessage, contact]{
			Name: "contacts", BatchSize: perPage,
			Adapt: func(raw json.RawMessage) (c contact, err error) { return c, json.Unmarshal(raw, &c) },
		},
		Pages: func(ctx context.Context, from string) iter.Seq2[belay.Page[json.RawMessage], error] {
			return pages(ctx, url, from, time.Time{})
		},
		Save: func(ctx context.Context, tx *sql.Tx, b importer.Batch[contact]) error {
			for _, c := range b.Records {
				if _, err := tx.ExecContext(ctx, `insert into contacts (id, name, saves) values ($1, $2, 1)
					on conflict (id) do update set name = excluded.name, saves = contacts.saves + 1`, c.ID, c.Name); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func contactsTable(t testing.TB, c *tasks.Client[*sql.Tx]) {
	t.Helper()
	if _, err := c.DB().Exec("create table if not exists contacts (id text primary key, name text not null, saves integer not null)"); err != nil {
		t.Fatal(err)
	}
}

func count(t testing.TB, c *tasks.Client[*sql.Tx], query string, args ...any) (n int) {
	t.Helper()
	if err := c.DB().QueryRow(query, args...).Scan(&n); err != nil {
		t.Fatal(query, err)
	}
	return n
}

// TestImportChild is not a test: it is a process that imports until it is killed.
func TestImportChild(t *testing.T) {
	dsn, url := os.Getenv("BELAY_IMPORT_DSN"), os.Getenv("BELAY_IMPORT_URL")
	if dsn == "" {
		t.Skip("run by TestImportIsKilled")
	}
	var c *tasks.Client[*sql.Tx]
	cfg := importConfig(func(ctx context.Context, _ *river.Job[importArgs]) error {
		_, err := tasks.RunImport(ctx, c, contactsOf(url))
		return err
	})
	cfg.Heartbeat, cfg.DeadAfter = 100*time.Millisecond, 400*time.Millisecond
	c = opened(t, dsn, cfg)
	for c.Start(t.Context()) != nil { // the one before has not ended
		time.Sleep(5 * time.Millisecond)
	}
	select {}
}

// An import whose process is killed again and again, more often than a task may be requeued, goes on where it was: nothing is
// missing, nothing is saved twice, no attempt is spent.
func TestImportIsKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	each(t, func(t *testing.T, dsn string) {
		partner := newCRM(t, 1500)
		partner.slow = 20 * time.Millisecond
		c := opened(t, dsn, tasks.Config{River: river.Config{Workers: importConfig(nil).River.Workers}})
		contactsTable(t, c)
		id := insert(t, c, importArgs{}, &river.InsertOpts{MaxAttempts: 1})
		kills := 0
		for ; job(t, c, id).State != rivertype.JobStateCompleted; kills++ {
			child := exec.Command(os.Args[0], "-test.run", "^TestImportChild$", "-test.timeout", "60s")
			child.Env = append(os.Environ(), "BELAY_IMPORT_DSN="+dsn, "BELAY_IMPORT_URL="+partner.URL)
			if err := child.Start(); err != nil {
				t.Fatal(err)
			}
			before := count(t, c, "select count(*) from contacts")
			eventually(t, "progress", func() bool {
				return count(t, c, "select count(*) from contacts") > before+100 || job(t, c, id).State == rivertype.JobStateCompleted
			})
			_ = child.Process.Kill()
			_ = child.Wait()
		}
		row := job(t, c, id)
		t.Logf("%d kills, %d calls for 150 pages", kills, partner.calls.Load())
		if n := count(t, c, "select count(*) from contacts"); n != 1500 || kills < 6 || len(row.Errors) > 0 || row.Attempt != 1 {
			t.Errorf("%d records, %d kills, attempt %d, %v", n, kills, row.Attempt, row.Errors)
		}
		if n := count(t, c, "select count(*) from contacts where saves <> 1"); n != 0 {
			t.Errorf("%d records were saved twice", n)
		}
	})
}

// The ways to import: by a budget of calls, after a cursor has expired, what has changed since, and with what is gone.
func TestImport(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		partner := newCRM(t, 95)
		var c *tasks.Client[*sql.Tx]
		gone := make(chan []string, 9)
		c = opened(t, dsn, importConfig(func(ctx context.Context, job *river.Job[importArgs]) error {
			im := contactsOf(partner.URL)
			im.Key = job.Args.Mode
			switch job.Args.Mode {
			case "budget":
				im.Calls, im.Rest = 4, 10*time.Millisecond
			case "changed":
				im.Pages, im.ID = nil, func(c contact) string { return c.ID }
				im.Updated = func(c contact) time.Time { return time.Unix(c.Updated, 0) }
				im.Changed = func(ctx context.Context, since time.Time) iter.Seq2[belay.Page[json.RawMessage], error] {
					return pages(ctx, partner.URL, "", since)
				}
			case "full":
				im.ID = func(c contact) string { return c.ID }
				im.Hash = func(c contact) ([]byte, error) { return json.Marshal(c) }
				im.Deleted = func(ctx context.Context, tx *sql.Tx, ids []string) error {
					gone <- ids
					_, err := tx.ExecContext(ctx, "delete from contacts where id = $1", ids[0])
					return err
				}
			}
			stats, err := tasks.RunImport(ctx, c, im)
			if err == nil && stats.Rejected > 0 {
				err = errors.New("rejected")
			}
			return err
		}))
		contactsTable(t, c)
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		run := func(mode string) *rivertype.JobRow {
			t.Helper()
			id := insert(t, c, importArgs{mode}, &river.InsertOpts{MaxAttempts: 1})
			eventually(t, mode, func() bool { return job(t, c, id).FinalizedAt != nil })
			row := job(t, c, id)
			if row.State != rivertype.JobStateCompleted {
				t.Fatal(mode, row.State, row.Errors)
			}
			return row
		}
		saved := func(want, saves int) {
			t.Helper()
			n, most := count(t, c, "select count(*) from contacts"), count(t, c, "select max(saves) from contacts")
			if n != want || most != saves {
				t.Errorf("%d records, saved at most %d times, want %d, %d", n, most, want, saves)
			}
		}
		row := run("budget")
		saved(95, 1)
		var meta map[string]any
		if err := json.Unmarshal(row.Metadata, &meta); err != nil || meta["snoozes"] != 2.0 || meta["tasks_done"] == nil {
			t.Error(string(row.Metadata))
		}
		if n := partner.calls.Load(); n != 10 {
			t.Errorf("%d calls", n)
		}
		run("budget") // everything, anew
		saved(95, 2)

		if err := c.Store().State().Save(t.Context(), "import rest", []byte("50")); err != nil {
			t.Fatal(err)
		}
		partner.calls.Store(0)
		run("rest") // goes on at 50
		if n := partner.calls.Load(); n != 5 {
			t.Errorf("%d calls", n)
		}

		run("changed")
		saved(95, 4)
		partner.calls.Store(0)
		run("changed")
		saved(95, 4) // nothing new
		records := *partner.records.Load()
		records = append(records[:94:94], contact{"c94", "new name", 1_700_001_000})
		partner.records.Store(&records)
		run("changed")
		if n := count(t, c, "select count(*) from contacts where name = 'new name'"); n != 1 {
			t.Error(n)
		}

		run("full")
		run("full")
		select {
		case ids := <-gone:
			t.Error(ids)
		default:
		}
		records = records[1:]
		partner.records.Store(&records)
		run("full")
		if ids := <-gone; fmt.Sprint(ids) != "[c0]" {
			t.Error(ids)
		}
		if n := count(t, c, "select count(*) from contacts"); n != 94 {
			t.Error(n)
		}
	})
}

// A later run of changes that breaks off leaves the watermark where it was.
func TestImportKeepsItsWatermark(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		partner := newCRM(t, 95)
		var c *tasks.Client[*sql.Tx]
		var breaks atomic.Bool
		c = opened(t, dsn, importConfig(func(ctx context.Context, _ *river.Job[importArgs]) error {
			im := contactsOf(partner.URL)
			im.Pages, im.ID = nil, func(c contact) string { return c.ID }
			im.Updated = func(c contact) time.Time { return time.Unix(c.Updated, 0) }
			im.Changed = func(ctx context.Context, since time.Time) iter.Seq2[belay.Page[json.RawMessage], error] {
				return func(yield func(belay.Page[json.RawMessage], error) bool) {
					for page, err := range pages(ctx, partner.URL, "", since) {
						if !yield(page, err) || err != nil {
							return
						}
						if breaks.Load() {
							yield(belay.Page[json.RawMessage]{}, errors.New("broken"))
							return
						}
					}
				}
			}
			_, err := tasks.RunImport(ctx, c, im)
			return err
		}))
		contactsTable(t, c)
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		run := func(want rivertype.JobState) {
			t.Helper()
			id := insert(t, c, importArgs{}, &river.InsertOpts{MaxAttempts: 1})
			eventually(t, "the end", func() bool { return job(t, c, id).FinalizedAt != nil })
			if row := job(t, c, id); row.State != want {
				t.Fatal(row.State, row.Errors)
			}
		}
		mark := func() string {
			t.Helper()
			value, err := c.Store().State().Load(t.Context(), "import crm/acme/contacts")
			if err != nil {
				t.Fatal(err)
			}
			return string(value)
		}
		run(rivertype.JobStateCompleted)
		first := mark()
		records := append([]contact{}, *partner.records.Load()...)
		for i := range records {
			records[i].Updated += 10_000
			records[i].Name += "!"
		}
		partner.records.Store(&records)
		breaks.Store(true)
		run(rivertype.JobStateDiscarded)
		if got := mark(); got != first || got == "" {
			t.Errorf("the watermark is %d bytes, was %d", len(got), len(first))
		}
		breaks.Store(false)
		run(rivertype.JobStateCompleted)
		if n := count(t, c, "select count(*) from contacts where name like '%!'"); n != 95 {
			t.Error(n)
		}
	})
}

// An import that rests between two parts keeps its place: another one of the key does not take its checkpoint.
func TestImportRests(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		partner := newCRM(t, 95)
		var c *tasks.Client[*sql.Tx]
		var mu sync.Mutex
		var order []string
		c = opened(t, dsn, importConfig(func(ctx context.Context, job *river.Job[importArgs]) error {
			im := contactsOf(partner.URL)
			im.Calls, im.Rest = 4, 300*time.Millisecond
			im.Job.Progress = func(importer.Stats) {
				mu.Lock()
				defer mu.Unlock()
				if len(order) == 0 || order[len(order)-1] != job.Args.Mode {
					order = append(order, job.Args.Mode)
				}
			}
			_, err := tasks.RunImport(ctx, c, im)
			return err
		}))
		contactsTable(t, c)
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		ids := []int64{insert(t, c, importArgs{"first"}, nil)}
		eventually(t, "it has begun", func() bool { mu.Lock(); defer mu.Unlock(); return len(order) > 0 })
		ids = append(ids, insert(t, c, importArgs{"second"}, nil))
		for _, id := range ids {
			eventually(t, "the end", func() bool { return job(t, c, id).FinalizedAt != nil })
		}
		if got := fmt.Sprint(order); got != "[first second]" {
			t.Error(got)
		}
		if n := partner.calls.Load(); n != 20 {
			t.Errorf("%d calls for twice ten pages", n)
		}
	})
}

// A list whose cursor has expired between two runs begins again.
func TestImportAfterAnExpiredCursor(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		partner := newCRM(t, 95)
		partner.expire.Store(60)
		var c *tasks.Client[*sql.Tx]
		c = opened(t, dsn, importConfig(func(ctx context.Context, _ *river.Job[importArgs]) error {
			defer partner.expire.Store(0)
			im := contactsOf(partner.URL)
			list := im.Pages
			im.Pages = func(ctx context.Context, from string) iter.Seq2[belay.Page[json.RawMessage], error] {
				if from == "" {
					partner.expire.Store(0)
				}
				return list(ctx, from)
			}
			_, err := tasks.RunImport(ctx, c, im)
			return err
		}))
		contactsTable(t, c)
		if err := c.Store().State().Save(t.Context(), "import crm/acme/contacts", []byte("50")); err != nil {
			t.Fatal(err)
		}
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		id := insert(t, c, importArgs{}, &river.InsertOpts{MaxAttempts: 1})
		eventually(t, "the end", func() bool { return job(t, c, id).FinalizedAt != nil })
		if n := count(t, c, "select count(*) from contacts"); n != 95 {
			t.Error(n, job(t, c, id).Errors)
		}
	})
}

// A record that is synced now, while an import runs, is neither overwritten by an older one nor saved twice. One import of a key
// runs at a time, and a second one waits for it.
func TestSyncNow(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		partner := newCRM(t, 50)
		var c *tasks.Client[*sql.Tx]
		version := func(c contact) (string, importer.Version) {
			return c.ID, importer.Version{Partner: time.Unix(c.Updated, 0)}
		}
		half, goOn := make(chan struct{}), make(chan struct{})
		var running, most atomic.Int32
		c = opened(t, dsn, importConfig(func(ctx context.Context, job *river.Job[importArgs]) error {
			im := contactsOf(partner.URL)
			im.Version = version
			save, first := im.Save, true
			im.Save = func(ctx context.Context, tx *sql.Tx, b importer.Batch[contact]) error {
				if len(b.Records) > perPage {
					return errors.New("too many")
				}
				return save(ctx, tx, b)
			}
			im.Job.Progress = func(importer.Stats) {
				if most.Store(max(most.Load(), running.Add(1))); first && job.Args.Mode == "first" {
					first = false
					close(half)
					<-goOn
				}
				running.Add(-1)
			}
			_, err := tasks.RunImport(ctx, c, im)
			return err
		}))
		contactsTable(t, c)
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		first := insert(t, c, importArgs{"first"}, &river.InsertOpts{MaxAttempts: 1})
		<-half
		second := insert(t, c, importArgs{"second"}, &river.InsertOpts{MaxAttempts: 1})
		one := contact{"c42", "synced now", 1_700_009_999} // newer than what the list says
		tx, err := c.DB().Begin()
		if err != nil {
			t.Fatal(err)
		}
		id, v := version(one)
		newer, err := c.Store().Guard("crm/acme/contacts").NewerTx(t.Context(), tx, id, v)
		if err != nil || !newer {
			t.Fatal(newer, err)
		}
		if _, err := tx.Exec("insert into contacts (id, name, saves) values ($1, $2, 1)", one.ID, one.Name); err != nil {
			t.Fatal(err)
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it waits", func() bool { return strings.Contains(string(job(t, c, second).Metadata), "tasks_waits") })
		close(goOn)
		for _, id := range []int64{first, second} {
			eventually(t, "the end", func() bool { return job(t, c, id).FinalizedAt != nil })
			if row := job(t, c, id); row.State != rivertype.JobStateCompleted || row.Attempt != 1 {
				t.Error(row.State, row.Attempt, row.Errors)
			}
		}
		if n := count(t, c, "select count(*) from contacts where saves <> 1 or (id = 'c42') <> (name = 'synced now')"); n != 0 {
			t.Errorf("%d records are wrong", n)
		}
		if n := count(t, c, "select count(*) from contacts"); n != 50 || most.Load() != 1 {
			t.Error(n, most.Load())
		}
	})
}

// A run whose task runs elsewhere stores nothing.
func TestImportIsFenced(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		partner := newCRM(t, 50)
		var c *tasks.Client[*sql.Tx]
		result := make(chan error, 9)
		c = opened(t, dsn, importConfig(func(ctx context.Context, job *river.Job[importArgs]) error {
			im := contactsOf(partner.URL)
			im.Job.Progress = func(importer.Stats) { // another process takes it, after the first batch
				_, err := c.DB().Exec("update river_job set attempted_at = '2020-01-01 00:00:00' where id = $1", job.ID)
				if err != nil {
					t.Error(err)
				}
			}
			_, err := tasks.RunImport(ctx, c, im)
			result <- errors.Join(err, tasks.Progress(ctx, 1, 2))
			return err
		}))
		contactsTable(t, c)
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		insert(t, c, importArgs{}, &river.InsertOpts{MaxAttempts: 1})
		if err := <-result; !errors.Is(err, tasks.ErrLost) {
			t.Error(err)
		}
		if n := count(t, c, "select count(*) from contacts"); n != perPage {
			t.Errorf("%d records", n)
		}
	})
}

func TestImportBadInput(t *testing.T) {
	t.Parallel()
	c := opened(t, "sqlite:"+t.TempDir()+"/belay.db", tasks.Config{River: river.Config{Workers: workers(nil)}})
	for want, change := range map[string]func(*tasks.Import[json.RawMessage, contact]){
		"Key is empty": func(im *tasks.Import[json.RawMessage, contact]) { im.Key = "" },
		"Save is nil":  func(im *tasks.Import[json.RawMessage, contact]) { im.Save = nil },
		"exactly one":  func(im *tasks.Import[json.RawMessage, contact]) { im.Pages = nil },
		"needed together": func(im *tasks.Import[json.RawMessage, contact]) {
			im.Hash = func(contact) ([]byte, error) { return nil, nil }
		},
		"Calls is -1":        func(im *tasks.Import[json.RawMessage, contact]) { im.Calls = -1 },
		"Lag is -1s":         func(im *tasks.Import[json.RawMessage, contact]) { im.Lag = -time.Second },
		"no meaning here":    func(im *tasks.Import[json.RawMessage, contact]) { im.ID = func(contact) string { return "" } },
		"Rest is -1s":        func(im *tasks.Import[json.RawMessage, contact]) { im.Rest = -time.Second },
		`Job.Start is "7"`:   func(im *tasks.Import[json.RawMessage, contact]) { im.Job.Start = "7" },
		"not that of a task": func(*tasks.Import[json.RawMessage, contact]) {},
	} {
		im := contactsOf("http://h.test")
		change(&im)
		if _, err := tasks.RunImport(t.Context(), c, im); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if err := tasks.Progress(t.Context(), 1, 2); err == nil {
		t.Error("no error")
	}
}
