package selftest

import (
	"fmt"
	"strings"

	"github.com/dapple-drills/dapple/probes"
)

// digests are those of the present history.
func (w *world) digests() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := map[probes.Chunk]*probes.Digest{}
	for _, r := range w.rows {
		if r.gone || r.parked {
			continue
		}
		c := probes.Chunk{Client: r.id.client, No: r.id.seq >> probes.ChunkBits}
		d := at[c]
		if d == nil {
			d = &probes.Digest{Chunk: c, Min: r.id.seq, Max: r.id.seq}
			at[c] = d
		}
		d.Min, d.Max, d.Count = min(d.Min, r.id.seq), max(d.Max, r.id.seq), d.Count+uint64(r.times)
		if r.times%2 == 1 {
			d.Hash ^= probes.HashID(r.id.seq)
		}
	}
	var b strings.Builder
	for _, d := range at {
		fmt.Fprintln(&b, d.Client, d.No, d.Count, d.Min, d.Max, d.Hash)
	}
	return b.String() + endOfList
}

func (w *world) ids(client int, chunk uint64) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var b strings.Builder
	for _, r := range w.rows {
		if r.gone || r.parked || r.id.client != client || r.id.seq>>probes.ChunkBits != chunk {
			continue
		}
		for range r.times {
			fmt.Fprintln(&b, r.id.seq)
		}
	}
	return b.String() + endOfList
}
