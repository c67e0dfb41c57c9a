// Package tasks adds to River, a queue of jobs on PostgreSQL and SQLite (riverqueue.com/river), what work with partners
// needs. Workers, arguments and options stay River's own; [Client] is a *river.Client with more methods.
//
//	client, err := tasks.Open(ctx, "sqlite:belay.db", tasks.Config{River: river.Config{Workers: workers, Queues: queues}})
//	err = client.Start(ctx)
//	_, err = client.Insert(ctx, SyncContact{ID: "7"}, nil)
//
// What a failed task does next is decided by its error: see [Decide]. A task whose process is killed runs again at once
// after a restart (SQLite), or within twelve seconds in another process (PostgreSQL), without spending an attempt. It
// may have done a part of its work: as with any queue, a task runs at least once. What is to be done exactly once goes
// into the transaction that completes the task: see [CompleteTx].
package tasks
