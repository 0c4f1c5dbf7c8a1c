package verdict_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/drills/verdict"
)

// BenchmarkJudge judges a timeline of 100,000 events: hours of a system that
// fails every other moment. While a trial settles it is judged every second.
func BenchmarkJudge(b *testing.B) {
	in, _ := readCase(b, "testdata/good_failover.txtar")
	r := rand.New(rand.NewPCG(1, 1))
	for i := len(in.Timeline); i < 100_000; i++ {
		at := time.Duration(r.Int64N(int64(2 * time.Hour)))
		e := timeline.Event{I: i + 10_000, At: timeline.Interval{Lo: at, Hi: at + time.Millisecond}, Kind: timeline.Write, By: fmt.Sprintf("app/%d", i%8), Value: "acked", Node: "pg2", Epoch: "2"}
		if r.IntN(2) == 0 {
			e.Value, e.Node, e.Epoch = "failed", "", ""
		}
		in.Timeline = append(in.Timeline, e)
	}
	b.ReportAllocs()
	for b.Loop() {
		verdict.Judge(in)
	}
}
