// Package belaysql keeps what Belay has to remember in a SQL database, SQLite or PostgreSQL, over database/sql: tokens,
// the progress of imports, the versions of records, keys of work that is done, and an inbox that several processes
// share.
//
// It imports no driver. It is tried with modernc.org/sqlite and with pgx's stdlib:
//
//	db, err := sql.Open("sqlite", "file:belay.db?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_txlock=immediate")
//	db, err := sql.Open("pgx", "postgres://…")
//
//	store, err := belaysql.New(ctx, db, belaysql.SQLite)
//	tokens, err := store.Tokens(key) // an oauth.Store
//
// [New] creates the tables, whose names begin with belay_, and brings them up to date. That only adds, so that
// processes of the version before go on beside it.
//
// Methods with Tx in their names work in a transaction of yours, so that what is remembered is true exactly if the
// transaction commits.
package belaysql
