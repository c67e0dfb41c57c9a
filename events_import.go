package belay

import "time"

// ImportProgress says how far an import of package importer is: after each batch that was saved, and at the end.
type ImportProgress struct {
	Partner, Integration string
	Import               string // the name of the import, such as "contacts"
	Run                  uint64 // another number for each run in this process
	// Read counts the records that came. Saved, Skipped and Rejected count them by their outcome. Added, Updated and
	// Deleted are those of a full pass that looks for changes, otherwise 0. Total is the number of records that the
	// partner states, 0 if it does not.
	Read, Saved, Skipped, Rejected, Added, Updated, Deleted, Total int
	Elapsed                                                        time.Duration
	Left                                                           time.Duration // for the rest, an estimate; 0 if it is unknown
	PeakHeap                                                       uint64        // the largest heap after a batch, in bytes
	BatchSize                                                      int           // the size in use: smaller while the heap is large
	Ended                                                          bool          // nothing follows
	Err                                                            error         // why it ended early
}

func (ImportProgress) event() {}

// RecordImported says what became of one record of an import. Records that have not changed have none.
type RecordImported struct {
	Partner, Integration, Import string
	ID                           string
	Change                       string // "saved", "added", "updated", "deleted" or "rejected"
	Err                          error  // why it was rejected
}

func (RecordImported) event() {}

// SchemaChanged says that a partner sends other fields than were expected. It is emitted once for each difference of
// one [schema.Schema], up to 2,000.
type SchemaChanged struct {
	Partner, Integration string
	What                 string // the name of the import, or the route of the call
	Difference           string // names and kinds of fields, no values
}

func (SchemaChanged) event() {}
