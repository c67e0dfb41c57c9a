package tasks

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/riverqueue/river/rivertype"
)

// Tree is a task and all that were inserted by it, by those, and so on: with the context of a task's work, each insert
// makes a branch.
type Tree struct {
	Root int64
	TreeCounts
	// Kinds are the counts of each kind of task, by name.
	Kinds []TreeKind
}

// TreeKind is what a tree has of one kind of task.
type TreeKind struct {
	Kind string
	TreeCounts
}

// TreeCounts counts tasks by what became of them. What River has removed after its retention period is not counted.
type TreeCounts struct {
	Waiting, Running, Completed int
	Failed                      int // dead letters, and what was canceled
	// Done and Total are the sums of what tasks said by [Progress].
	Done, Total int64
}

// Ended reports whether nothing of the tree waits or runs.
func (t TreeCounts) Ended() bool { return t.Waiting == 0 && t.Running == 0 }

// Tree returns the state of the tree to which a task belongs. A task that is not there is rivertype.ErrNotFound.
func (c *Client[TTx]) Tree(ctx context.Context, id int64) (t Tree, err error) {
	root := fmt.Sprintf("coalesce(cast(%s as bigint), id)", c.d.field("tasks_root"))
	rows, err := c.read.QueryContext(ctx, "select "+root+" from river_job where id = $1", id)
	if err != nil {
		return t, fmt.Errorf("tasks: Tree: %w", err)
	}
	found := rows.Next()
	if found {
		err = rows.Scan(&t.Root)
	}
	if err = cmp.Or(err, rows.Err(), rows.Close()); err != nil {
		return t, fmt.Errorf("tasks: Tree: %w", err)
	}
	if !found {
		return t, fmt.Errorf("tasks: Tree: %w", rivertype.ErrNotFound)
	}
	sum := func(name string) string { return "coalesce(sum(cast(" + c.d.field(name) + " as bigint)), 0)" }
	counts := "kind, state, count(*) as n, " + sum("tasks_done") + " as done, " + sum("tasks_total") + " as total from river_job where "
	arg := any(t.Root)
	if c.d.postgres() {
		arg = fmt.Sprint(t.Root)
	}
	all, err := c.read.QueryContext(ctx, "select "+counts+c.d.field("tasks_root")+" = $1 group by kind, state union all select "+
		counts+"id = $2 group by kind, state", arg, t.Root)
	if err != nil {
		return t, fmt.Errorf("tasks: Tree: %w", err)
	}
	defer all.Close()
	kinds := make(map[string]*TreeKind)
	for all.Next() {
		var kind, state string
		var n int
		var done, total int64
		if err := all.Scan(&kind, &state, &n, &done, &total); err != nil {
			return t, fmt.Errorf("tasks: Tree: %w", err)
		}
		k := kinds[kind]
		if k == nil {
			k = &TreeKind{Kind: kind}
			kinds[kind] = k
		}
		for _, to := range []*TreeCounts{&t.TreeCounts, &k.TreeCounts} {
			to.add(rivertype.JobState(state), n)
			to.Done, to.Total = to.Done+done, to.Total+total
		}
	}
	for _, k := range kinds {
		t.Kinds = append(t.Kinds, *k)
	}
	slices.SortFunc(t.Kinds, func(a, b TreeKind) int { return cmp.Compare(a.Kind, b.Kind) })
	return t, all.Err()
}

func (t *TreeCounts) add(state rivertype.JobState, n int) {
	switch state {
	case rivertype.JobStateRunning:
		t.Running += n
	case rivertype.JobStateCompleted:
		t.Completed += n
	case rivertype.JobStateCancelled, rivertype.JobStateDiscarded:
		t.Failed += n
	default:
		t.Waiting += n
	}
}
