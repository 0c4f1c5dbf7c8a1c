//go:build proof

package proof

import (
	"flag"
	"testing"
)

// Package paths are relative to this folder: go test runs here.
var (
	dapple = flag.String("dapple", "../../bin/dapple", "the program that is proven")
	runs   = flag.String("runs", "../../proof", "where run directories are kept")
	out    = flag.String("out", "../../docs/track-record.md", "what is written")
	only   = flag.String("rows", "", "rows of the catalogue, separated by commas; default all")
	n      = flag.Int("n", 1, "how often each cluster is drilled")
	read   = flag.Bool("from-records", false, "run nothing: only read the records that are there")
)

func TestEveryTwinIsCaughtAndNoSoundClusterRaisesAnAlarm(t *testing.T) {
	p := Proof{Dapple: *dapple, Runs: *runs, Out: *out, Rows: *only, N: *n, Read: *read, Say: func(line string) { t.Log(line) }}
	if err := p.Run(t.Context()); err != nil {
		t.Error(err)
	}
}
