package importer

// SetHeap makes f the measure of the heap, until the function that it returns is called.
func SetHeap(f func() uint64) (undo func()) {
	old := readHeap
	readHeap = f
	return func() { readHeap = old }
}
