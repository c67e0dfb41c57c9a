package importer_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/importer"
)

// Records in batches, each with the cursor behind it; one that cannot be used is set aside.
func ExampleJob() {
	job := importer.Job[int, string]{
		Adapt: func(i int) (string, error) {
			if i == 3 {
				return "", errors.New("no name")
			}
			return fmt.Sprint("record ", i), nil
		},
		Save: func(_ context.Context, b importer.Batch[string]) error { // rows and cursor in one transaction
			fmt.Println(len(b.Records), "records, go on at", b.Cursor, b.Done)
			return nil
		},
		Reject: func(_ context.Context, i int, why error) error {
			fmt.Println("aside:", i, why)
			return nil
		},
		BatchSize: 4,
	}
	stats, err := job.Run(context.Background(), list(0, 7, 2)) // belay.Pages of a partner
	fmt.Println(stats.Read, stats.Saved, stats.Rejected, err)
	// Output:
	// aside: 3 no name
	// 5 records, go on at 6 false
	// 1 records, go on at  true
	// 7 6 1 <nil>
}

// Each run asks for what changed since the last one.
func ExampleIncremental() {
	noon := time.Date(2020, 11, 22, 12, 0, 0, 0, time.UTC)
	rows := []row{{"a", 1, noon}}
	contacts := importer.Incremental[row, row]{
		Watermarks: make(marks), Key: "contacts", // beside your data
		ID: func(r row) string { return r.ID }, Updated: func(r row) time.Time { return r.At },
		Job: importer.Job[row, row]{
			Adapt: func(r row) (row, error) { return r, nil },
			Save: func(_ context.Context, b importer.Batch[row]) error {
				for _, r := range b.Records {
					fmt.Println("saved", r.ID, r.Version)
				}
				return nil
			},
		},
		Pages: func(_ context.Context, since time.Time) iter.Seq2[belay.Page[row], error] {
			return pagesOf(rows, 100) // belay.Pages with Query("updated_since", …)
		},
	}
	_, _ = contacts.Run(context.Background())
	rows = append(rows, row{"b", 1, noon}, row{"a", 2, noon.Add(time.Second)}) // b had the same time, and committed late
	stats, err := contacts.Run(context.Background())
	fmt.Println(stats.Skipped, "skipped", err)
	// Output:
	// saved a 1
	// saved b 1
	// saved a 2
	// 1 skipped <nil>
}

// A full pass finds what was added, updated and deleted.
func ExampleFull() {
	changes, err := importer.NewChanges(func(r row) string { return r.ID }, nil)
	if err != nil {
		panic(err)
	}
	job := importer.Job[row, row]{
		Adapt: func(r row) (row, error) { return r, nil },
		Save: func(_ context.Context, b importer.Batch[row]) error {
			for _, r := range b.Records {
				fmt.Println("saved", r.ID, r.Version)
			}
			return nil
		},
	}
	gone := func(_ context.Context, ids []string) error {
		fmt.Println("gone", ids)
		return nil
	}
	ctx := context.Background()
	_, _ = importer.Full(ctx, job, changes, pagesOf([]row{{ID: "a", Version: 1}, {ID: "b", Version: 1}}, 10), gone)
	_, _ = importer.Full(ctx, job, changes, pagesOf([]row{{ID: "b", Version: 2}}, 10), gone)
	// Output:
	// saved a 1
	// saved b 1
	// saved b 2
	// gone [a]
}

// An event that comes late does not overwrite, and one whose write fails is not taken for written.
func ExampleGuard() {
	guard, err := importer.NewGuard(100_000)
	if err != nil {
		panic(err)
	}
	noon := time.Date(2020, 11, 22, 12, 0, 0, 0, time.UTC)
	for _, e := range []struct {
		at     time.Time
		broken error // the database
	}{
		{noon, nil},
		{noon.Add(-time.Minute), nil},
		{noon.Add(time.Hour), errors.New("no connection")},
		{noon.Add(time.Hour), nil},
	} {
		called, err := guard.Do(context.Background(), "acme/contact-7", importer.Version{Partner: e.at}, func() error {
			return e.broken // or db.Put
		})
		fmt.Println(e.at.Format("15:04"), called, err)
	}
	// Output:
	// 12:00 true <nil>
	// 11:59 false <nil>
	// 13:00 true no connection
	// 13:00 true <nil>
}
