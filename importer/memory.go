package importer

import "runtime/metrics"

// The sizes of the process's heap above which batches become smaller, and below which they grow again.
const (
	muchHeap  = 512 << 20
	easedHeap = 384 << 20

	mostHalved = 7 // times: to a 128th
)

// full reports whether the gathered records are a batch.
func (r *run[Raw, Rec]) full() bool {
	return len(r.records) >= max(1, r.job.BatchSize>>r.halved) || r.bytes >= max(1, r.job.BatchBytes>>r.halved)
}

// weigh measures the heap after a batch, and makes the next batches smaller or larger.
func (r *run[Raw, Rec]) weigh() {
	now := readHeap()
	r.stats.PeakHeap = max(r.stats.PeakHeap, now)
	switch {
	case now > muchHeap && r.halved < mostHalved:
		r.halved++
	case now < easedHeap && r.halved > 0:
		r.halved--
	}
	r.stats.BatchSize = max(1, r.job.BatchSize>>r.halved)
}

var readHeap = heap // replaced by tests

// heap returns the bytes of objects on the process's heap, reachable or not yet collected.
func heap() uint64 {
	sample := [1]metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample[:])
	if sample[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return sample[0].Value.Uint64()
}
