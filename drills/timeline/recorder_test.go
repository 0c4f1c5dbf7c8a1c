package timeline_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dapple-drills/dapple/drills/timeline"
)

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestAFullDiskIsToldAndTheTrialGoesOn(t *testing.T) {
	r := timeline.NewRecorder(base, 1, 0, fullDisk{})
	for range 3 {
		r.Now(timeline.Event{Kind: timeline.Note, By: "engine"})
		if err := r.Flush(); err == nil || !strings.Contains(err.Error(), "no space left") {
			t.Errorf("error %v", err)
		}
	}
	if len(r.Timeline()) != 3 {
		t.Errorf("%d events in memory, want 3", len(r.Timeline()))
	}
}

// A disk that takes nothing for as long as it likes: here it is a pipe that nobody
// reads, which blocks once it holds 64 KB.
func TestAStalledDiskHoldsUpNobodyWhoEmitsAndLosesNothing(t *testing.T) {
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r := timeline.NewRecorder(base, 1, 0, out)
	e := timeline.Event{Kind: timeline.Role, By: "role/pg1", Node: "pg1", Value: "primary", Evidence: strings.Repeat("x", 200)}
	const probes, each = 8, 1000 // 2 MB
	var wg sync.WaitGroup
	for range probes {
		wg.Go(func() {
			for range each {
				r.Now(e) // were it held up, this test would never end: nobody reads yet
			}
		})
	}
	wg.Wait()
	want := r.Timeline()
	var got timeline.Timeline
	var reading error
	wg.Go(func() { got, reading = timeline.Read(in) })
	if err := errors.Join(r.Flush(), out.Close()); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if err := errors.Join(reading, in.Close()); err != nil {
		t.Fatal(err)
	}
	if len(got) != probes*each || len(want) != len(got) {
		t.Fatalf("%d events in memory, %d on the disk", len(want), len(got))
	}
	for i := range got {
		if got[i].I != i || want[i].I != i {
			t.Fatalf("event %d is at place %d of the disk, %d of the memory", got[i].I, i, want[i].I)
		}
	}
}

// Whatever an event holds, its line is what encoding/json makes of it.
func TestALineOfTheStreamIsTheJSONOfItsEvent(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	texts := []string{"", "pg1", "app/0", `a "quoted" \ one`, "<b>&amp;", "ü\u2028", "\xff", "\x00\x1f\x7f", "57P01 terminating connection"}
	data := []string{"", `{"run":7,"gap_ms":20.25}`, `{ "a" : [1, 2] }`, `"<>"`, `"ü"`, "1e3"}
	times := []time.Duration{0, 1, 999, 1000, time.Millisecond, 1234567 * time.Microsecond, 49 * 365 * 24 * time.Hour, -time.Second, -1}
	text := func() string { return texts[r.IntN(len(texts))] }
	for range 3000 {
		e := timeline.Event{
			Kind: timeline.Kind(text()), By: text(), Node: text(), Value: text(), Evidence: text(), Epoch: text(),
			N: int64(r.IntN(3)-1) * r.Int64(), Data: json.RawMessage(data[r.IntN(len(data))]),
		}
		var out bytes.Buffer
		rec := timeline.NewRecorder(base, r.IntN(2), r.IntN(3)*r.IntN(1e9), &out)
		lo := times[r.IntN(len(times))]
		rec.Emit(at(lo), at(lo+times[r.IntN(7)]), e)
		if err := rec.Flush(); err != nil {
			t.Fatal(err)
		}
		want, err := json.Marshal(rec.Timeline()[0])
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want)+"\n", out.String()); d != "" {
			t.Fatalf("(-encoding/json +stream):\n%s", d)
		}
	}
}

func TestAnEventWithoutJSONIsAnErrorOfTheStream(t *testing.T) {
	r := timeline.NewRecorder(base, 1, 0, io.Discard)
	r.Now(timeline.Event{Kind: timeline.Note, By: "x", Data: json.RawMessage("{")})
	if r.Flush() == nil {
		t.Error("it was written")
	}
}

// BenchmarkAppend appends events as a drill has them; the target is 200,000 a second.
func BenchmarkAppend(b *testing.B) {
	out, err := os.Create(b.TempDir() + "/timeline.jsonl")
	if err != nil {
		b.Fatal(err)
	}
	now := time.Now()
	r := timeline.NewRecorder(now, 1, 0, out)
	e := timeline.Event{Kind: timeline.Write, By: "app/3", Value: "acked", Node: "pg1", Epoch: "12", Evidence: "INSERT 0 1", N: 17, Data: json.RawMessage(`{"run":123456,"gap_ms":21.532}`)}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		lo := now.Add(time.Duration(i) * 20 * time.Microsecond)
		r.Emit(lo, lo.Add(1234567), e)
	}
	if err := errors.Join(r.Flush(), out.Close()); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
