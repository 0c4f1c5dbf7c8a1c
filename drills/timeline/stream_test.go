package timeline_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/dapple-drills/dapple/drills/timeline"
)

// A result is one that a probe adds to a stream.
type result struct {
	lo, hi time.Duration
	value  string
}

// compress puts results through a stream, as they return.
func compress(kind timeline.Kind, results []result) timeline.Timeline {
	r := timeline.NewRecorder(base, 1, 0, nil)
	s := timeline.NewStream(r.Emit)
	for _, x := range results {
		s.Add(at(x.lo), at(x.hi), timeline.Event{Kind: kind, By: "fresh", Value: x.value})
	}
	s.Flush()
	return r.Timeline()
}

func brief(t timeline.Timeline) []string {
	var out []string
	for _, e := range t {
		out = append(out, fmt.Sprintf("%v %s n=%d", e.At, e.Value, e.N))
	}
	return out
}

func TestEqualResultsAreOneRunThatKeepsItsEnds(t *testing.T) {
	got := brief(compress(timeline.Write, []result{
		{0, 1 * ms, "acked"}, {10 * ms, 11 * ms, "acked"}, {20 * ms, 21 * ms, "acked"},
		{30 * ms, 31 * ms, "failed"}, {40 * ms, 41 * ms, "failed"}, {50 * ms, 51 * ms, "acked"},
	}))
	want := []string{
		"[0s, 1ms] acked n=1", "[20ms, 21ms] acked n=3",
		"[30ms, 31ms] failed n=1", "[40ms, 41ms] failed n=2",
		"[50ms, 51ms] acked n=1",
	}
	if d := gocmp.Diff(want, got); d != "" {
		t.Errorf("events (-want +got):\n%s", d)
	}
}

func TestTheEarliestSentIsKeptAlsoIfItReturnsLate(t *testing.T) {
	got := brief(compress(timeline.Write, []result{
		{20 * ms, 21 * ms, "unknown"}, {10 * ms, 25 * ms, "unknown"}, {15 * ms, 26 * ms, "unknown"}, {30 * ms, 31 * ms, "acked"},
	}))
	want := []string{"[20ms, 21ms] unknown n=1", "[10ms, 25ms] unknown n=3", "[20ms, 21ms] unknown n=3", "[30ms, 31ms] acked n=1"}
	if d := gocmp.Diff(want, got); d != "" {
		t.Errorf("events (-want +got):\n%s", d)
	}
}

func TestTheEndOfARunSaysWhichRunAndHowDenseItWas(t *testing.T) {
	got := compress(timeline.Write, []result{{0, ms, "acked"}, {10 * ms, 12 * ms, "acked"}, {20 * ms, 34 * ms, "acked"}, {30 * ms, 35 * ms, "acked"}})
	var r timeline.Run
	if err := json.Unmarshal(got[len(got)-1].Data, &r); err != nil {
		t.Fatal(err)
	}
	// From 10 ms, when the second was sent, to 34 ms, when the third was back.
	if want := (timeline.Run{First: 0, GapMS: 24}); r != want {
		t.Errorf("got %+v, want %+v", r, want)
	}
}

func TestAHangThatWasAnsweredInTheEndEndsARun(t *testing.T) {
	var in []result
	for x := time.Duration(0); x < 200*ms; x += 10 * ms {
		in = append(in, result{x, x + ms, "acked"})
	}
	for x := 200 * ms; x < 700*ms; x += 10 * ms {
		in = append(in, result{x, 700 * ms, "acked"})
	}
	in = append(in, result{700 * ms, 701 * ms, "acked"}, result{710 * ms, 711 * ms, "acked"})
	got := brief(compress(timeline.Write, in))
	want := []string{
		"[0s, 1ms] acked n=1", "[190ms, 191ms] acked n=20",
		"[200ms, 700ms] acked n=1", "[710ms, 711ms] acked n=52",
	}
	if d := gocmp.Diff(want, got); d != "" {
		t.Errorf("events (-want +got):\n%s", d)
	}
}

func TestALagOfZeroStaysZero(t *testing.T) {
	r := timeline.NewRecorder(base, 1, 0, nil)
	s := timeline.NewStream(r.Emit)
	for i := range time.Duration(3) {
		s.Add(at(i*ms), at(i*ms), timeline.Event{Kind: timeline.Member, By: "member/a", Value: "following", Data: json.RawMessage(` { "sync":true}`)})
	}
	s.Flush()
	for _, e := range r.Timeline() {
		if e.N != 0 {
			t.Errorf("lag %d", e.N)
		}
	}
	if got := string(r.Timeline()[1].Data); got != `{"run":0,"gap_ms":1,"sync":true}` {
		t.Errorf("the end of the run says %s", got)
	}
}

func TestARunThatGoesOnIsKnownAtOnceAndFlushedOnce(t *testing.T) {
	r := timeline.NewRecorder(base, 1, 0, nil)
	s := timeline.NewStream(r.Emit)
	for i := range time.Duration(5) {
		s.Add(at(i*ms), at(i*ms), timeline.Event{Kind: timeline.Role, By: "role/a", Value: "primary"})
	}
	if n := len(r.Timeline()); n != 1 {
		t.Errorf("%d events while the run goes on, want 1", n)
	}
	s.Flush()
	s.Flush()
	if n := len(r.Timeline()); n != 2 {
		t.Errorf("%d events after it, want 2", n)
	}
}

// What a verdict takes from a stream: of the successes the latest sent and the
// first returned, of the failures the earliest and the latest sent, per run.
func TestNoBoundIsLostInCompression(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		var in []result
		for x := time.Duration(0); x < 5*time.Second; x += 10 * ms {
			v := "acked"
			if x > 2*time.Second && x < 3*time.Second || r.IntN(200) == 0 {
				v = "failed"
			}
			in = append(in, result{x, x + time.Duration(r.Int64N(int64(40*ms))), v})
		}
		slices.SortFunc(in, func(a, b result) int { return cmp.Compare(a.hi, b.hi) })
		kept := compress(timeline.Write, in)
		for i := 0; i < len(in); {
			k := i
			for k < len(in) && in[k].value == in[i].value {
				k++
			}
			run := in[i:k]
			first := run[0]
			late := slices.MaxFunc(run, func(a, b result) int { return cmp.Compare(a.lo, b.lo) })
			early := slices.MinFunc(run, func(a, b result) int { return cmp.Compare(a.lo, b.lo) })
			for _, x := range []result{first, late, early} {
				if !slices.ContainsFunc(kept, func(e timeline.Event) bool { return e.At.Lo == x.lo && e.At.Hi == x.hi && e.Value == x.value }) {
					t.Fatalf("seed %d: %+v is not in the timeline", seed, x)
				}
			}
			i = k
		}
		if len(kept) > len(in) {
			t.Errorf("seed %d: %d events of %d results", seed, len(kept), len(in))
		}
	}
}

func BenchmarkStream(b *testing.B) {
	r := timeline.NewRecorder(base, 1, 0, nil)
	s := timeline.NewStream(r.Emit)
	e := timeline.Event{Kind: timeline.Write, By: "app/0", Value: "acked", Node: "pg1", Epoch: "1", Evidence: "INSERT 0 1"}
	b.ReportAllocs()
	for i := range b.N {
		t := at(time.Duration(i) * ms)
		s.Add(t, t.Add(ms/2), e)
	}
}
