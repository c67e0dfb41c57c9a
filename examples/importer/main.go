// Importer copies a million records from a partner, on a loopback port, into a SQLite file. Kill it at any
// moment and start it again: it continues from its checkpoint, and stores every record once.
//
//	go run . [-db records.db] [-n 1000000] [-partner http://127.0.0.1:8080]
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	_ "modernc.org/sqlite"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/importer"
)

var (
	dbPath  = flag.String("db", "records.db", "SQLite file to import into")
	n       = flag.Int("n", 1_000_000, "records that the partner has")
	partner = flag.String("partner", "", "base URL of a partner that runs elsewhere; empty starts one")
	serve   = flag.String("serve", "", "only be the partner, on that address")
)

type record struct {
	ID    int     `json:"id"`
	Name  string  `json:"name"`
	Email string  `json:"email"`
	Score float64 `json:"score"`
}

const pageSize = 500

// list serves the partner's records by offset, with their total.
func list(w http.ResponseWriter, r *http.Request) {
	offset, _ := strconv.Atoi(r.URL.Query().Get("offset"))
	limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
	page := struct {
		Data  []record `json:"data"`
		Total int      `json:"total"`
	}{[]record{}, *n}
	for id := offset; id < min(offset+limit, *n); id++ {
		page.Data = append(page.Data, record{
			id, fmt.Sprintf("Person %d of the analytical department", id),
			fmt.Sprintf("person-%d@example.test", id), float64(id%100) / 4,
		})
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(page)
}

func listen(addr string) (string, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return "", err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /records", list)
	go func() { log.Fatal(http.Serve(l, mux)) }()
	return "http://" + l.Addr().String(), nil
}

// open opens the database and creates its tables.
func open(path string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", path+"?_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_pragma=busy_timeout(5000)")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	_, err = db.Exec(`CREATE TABLE IF NOT EXISTS records (id INTEGER PRIMARY KEY, name TEXT, email TEXT, score REAL);
		CREATE TABLE IF NOT EXISTS checkpoint (one INTEGER PRIMARY KEY CHECK (one = 1), cursor TEXT, done INTEGER)`)
	return db, err
}

// save stores a batch and its cursor in one transaction. It uses INSERT, so a record that came twice would be
// an error.
func save(db *sql.DB) func(context.Context, importer.Batch[record]) error {
	return func(ctx context.Context, b importer.Batch[record]) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		insert, err := tx.PrepareContext(ctx, `INSERT INTO records (id, name, email, score) VALUES (?, ?, ?, ?)`)
		if err != nil {
			return err
		}
		defer insert.Close()
		for _, r := range b.Records {
			if _, err := insert.ExecContext(ctx, r.ID, r.Name, r.Email, r.Score); err != nil {
				return err
			}
		}
		if !b.Partial {
			if _, err := tx.ExecContext(ctx,
				`INSERT OR REPLACE INTO checkpoint (one, cursor, done) VALUES (1, ?, ?)`, b.Cursor, b.Done); err != nil {
				return err
			}
		}
		return tx.Commit()
	}
}

func run(ctx context.Context) error {
	base := *partner
	var err error
	if *serve != "" || base == "" {
		addr := *serve
		if addr == "" {
			addr = "127.0.0.1:0"
		}
		if base, err = listen(addr); err != nil {
			return err
		}
	}
	if *serve != "" {
		fmt.Println(base)
		<-ctx.Done()
		return nil
	}
	db, err := open(*dbPath)
	if err != nil {
		return err
	}
	defer db.Close()
	var cursor string
	var done bool
	switch err := db.QueryRow(`SELECT cursor, done FROM checkpoint`).Scan(&cursor, &done); {
	case errors.Is(err, sql.ErrNoRows):
	case err != nil:
		return err
	}
	if done {
		return summary(db, importer.Stats{})
	}
	client, err := belay.New(base)
	if err != nil {
		return err
	}
	defer client.Close()
	began, _ := strconv.Atoi(cursor)
	bar := progress(began)
	stats, err := importer.Job[record, record]{
		Adapt: func(r record) (record, error) { return r, nil },
		Save:  save(db), BatchSize: 2 * pageSize, Progress: bar, Start: cursor,
	}.Run(ctx, belay.Pages[record](ctx, client, "/records",
		belay.OffsetPages{Items: "data", Limit: pageSize, Total: "total"}, belay.StartAt(cursor), belay.Prefetch(1)))
	if err != nil {
		return err
	}
	return summary(db, stats)
}

// progress returns a function that draws a bar on a terminal, and prints a line every few seconds elsewhere.
func progress(began int) func(importer.Stats) {
	info, _ := os.Stdout.Stat()
	terminal := info != nil && info.Mode()&os.ModeCharDevice != 0
	var last time.Time
	return func(s importer.Stats) {
		every := 5 * time.Second
		if terminal {
			every = 100 * time.Millisecond
		}
		if time.Since(last) < every && !s.Done {
			return
		}
		last = time.Now()
		share := float64(began+s.Read) / float64(max(1, s.Total))
		left := time.Duration(float64(s.Total-began-s.Read) / max(1, s.Rate) * float64(time.Second)).Round(time.Second)
		line := fmt.Sprintf("%5.1f %%  %9d records  %7.0f/s  %s left", share*100, began+s.Read, s.Rate, left)
		if terminal {
			full := int(share * 40)
			fmt.Printf("\r[%s%s] %s ", strings.Repeat("=", full), strings.Repeat(" ", 40-full), line)
			return
		}
		fmt.Println(line)
	}
}

func summary(db *sql.DB, s importer.Stats) error {
	var rows, distinct, lowest, highest int
	if err := db.QueryRow(`SELECT count(*), count(DISTINCT id), min(id), max(id) FROM records`).
		Scan(&rows, &distinct, &lowest, &highest); err != nil {
		return err
	}
	fmt.Printf("\n%d of %d records, %d missing, %d twice; %d in this run, peak heap %d KiB\n",
		rows, *n, *n-distinct, rows-distinct, s.Saved, s.PeakHeap>>10)
	if rows != *n || distinct != *n || lowest != 0 || highest != *n-1 {
		return errors.New("that is not what the partner has")
	}
	return nil
}

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "importer:", err)
		os.Exit(1)
	}
}
