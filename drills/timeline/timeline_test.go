package timeline_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dapple-drills/dapple/drills/timeline"
)

var base = time.Unix(1_700_000_000, 0)

func at(d time.Duration) time.Time { return base.Add(d) }

const ms = time.Millisecond

func TestADurationCarriesTheErrorOfBothItsEnds(t *testing.T) {
	a, b := timeline.Interval{Lo: 10 * ms, Hi: 12 * ms}, timeline.Interval{Lo: 1 * ms, Hi: 4 * ms}
	if got, want := a.Sub(b), (timeline.Interval{Lo: 6 * ms, Hi: 11 * ms}); got != want {
		t.Errorf("%v − %v = %v, want %v", a, b, got, want)
	}
	if got := a.Sub(b).Width(); got != a.Width()+b.Width() {
		t.Errorf("width %v, want %v", got, a.Width()+b.Width())
	}
	if !b.Before(a) || a.Before(b) || a.Before(a) {
		t.Error("Before has to hold for every instant of both")
	}
}

func TestTimesSurviveTheRecordToTheNanosecond(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 100_000 {
		d := time.Duration(r.Int64N(int64(48 * time.Hour)))
		if r.IntN(4) == 0 {
			d = -d
		}
		text, err := json.Marshal(timeline.MS(d))
		if err != nil {
			t.Fatal(err)
		}
		var back float64
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatal(err)
		}
		if got := timeline.FromMS(back); got != d {
			t.Fatalf("%v came back as %v", d, got)
		}
	}
}

func TestAnEventIsOneLineWithTheKeysOfTheContract(t *testing.T) {
	e := timeline.Event{
		I: 7, Trial: 2, At: timeline.Interval{Lo: 1500 * time.Microsecond, Hi: 2 * ms}, Kind: timeline.Write, Node: "pg1",
		By: "app/0", Value: "acked", Evidence: "INSERT 0 1\nand more", Epoch: "1", N: 3, Data: json.RawMessage(`{"run":4}`),
	}
	line, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"i":7,"lo_ms":1.5,"hi_ms":2,"trial":2,"kind":"write","node":"pg1","by":"app/0","value":"acked","evidence":"INSERT 0 1\nand more","epoch":"1","n":3,"data":{"run":4}}`
	if string(line) != want {
		t.Errorf("got  %s\nwant %s", line, want)
	}
	var back timeline.Event
	if err := json.Unmarshal(line, &back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(e, back); d != "" {
		t.Errorf("after JSON (-want +got):\n%s", d)
	}
}

func TestEveryKindIsListedOnce(t *testing.T) {
	seen := map[timeline.Kind]bool{}
	for _, k := range timeline.Kinds() {
		if seen[k] || k == "" {
			t.Errorf("kind %q", k)
		}
		seen[k] = true
	}
	if !seen[timeline.SessionEnd] || !seen[timeline.Phase] {
		t.Error("the list is not whole")
	}
}

func TestTheStreamOfARecorderReadsBackAsItsTimeline(t *testing.T) {
	var out bytes.Buffer
	r := timeline.NewRecorder(base, 3, 100, &out)
	var heard []int
	r.Subscribe(func(e timeline.Event) { heard = append(heard, e.I) })
	r.Emit(at(ms), at(2*ms), timeline.Event{Kind: timeline.Phase, By: "engine", Value: "steady"})
	if got := r.Emit(at(5*ms), at(5*ms), timeline.Event{Kind: timeline.Note, By: "engine"}); got != 101 {
		t.Errorf("index %d, want 101", got)
	}
	if err := r.Flush(); r.Next() != 102 || err != nil {
		t.Errorf("next %d, error %v", r.Next(), err)
	}
	got, err := timeline.Read(&out)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(r.Timeline(), got); d != "" {
		t.Errorf("read back (-recorded +read):\n%s", d)
	}
	if want := (timeline.Interval{Lo: ms, Hi: 2 * ms}); got[0].At != want || got[0].Trial != 3 {
		t.Errorf("first event at %v of trial %d", got[0].At, got[0].Trial)
	}
	if d := cmp.Diff([]int{100, 101}, heard); d != "" {
		t.Errorf("subscribers heard (-want +got):\n%s", d)
	}
}

func TestATimelineThatWasHandedOutDoesNotChange(t *testing.T) {
	r := timeline.NewRecorder(base, 1, 0, nil)
	r.Now(timeline.Event{Kind: timeline.Note, By: "engine"})
	got := r.Timeline()
	r.Now(timeline.Event{Kind: timeline.Note, By: "engine"})
	if len(got) != 1 || len(r.Timeline()) != 2 {
		t.Errorf("%d and %d events", len(got), len(r.Timeline()))
	}
}

func TestAnEventThatEndsBeforeItBeginsIsAnErrorOfTheProgram(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("it was recorded")
		}
	}()
	timeline.NewRecorder(base, 1, 0, nil).Emit(at(2*ms), at(ms), timeline.Event{Kind: timeline.Note})
}

const line1, line2 = `{"i":0,"lo_ms":1,"hi_ms":2,"kind":"note","by":"x"}`, `{"i":1,"lo_ms":3,"hi_ms":4,"kind":"note","by":"x"}`

func TestATornLastLineIsLeftOut(t *testing.T) {
	for cut := range len(line2) {
		got, err := timeline.Read(strings.NewReader(line1 + "\n" + line2[:cut]))
		if err != nil || len(got) != 1 {
			t.Fatalf("cut after %d bytes: %d events, error %v", cut, len(got), err)
		}
	}
	for _, tail := range []string{line2, line2 + "\n", "\n" + line2 + "\n\n"} {
		got, err := timeline.Read(strings.NewReader(line1 + "\n" + tail))
		if err != nil || len(got) != 2 {
			t.Errorf("whole: %d events, error %v", len(got), err)
		}
	}
	got, err := timeline.Read(strings.NewReader(line1 + "\n" + strings.Repeat("\x00", 512)))
	if err != nil || len(got) != 1 {
		t.Errorf("zeros at the end: %d events, error %v", len(got), err)
	}
}

func TestAnyOtherLineThatIsNoEventIsAnErrorWithItsNumber(t *testing.T) {
	for _, bad := range []string{"{", "[]", `{"i":1}`, "nonsense", `{"i":1,"lo_ms":5,"hi_ms":4,"kind":"note"}`, `{"i":1,"lo_ms":1e300,"hi_ms":1e300,"kind":"note"}`, line2 + line2} {
		got, err := timeline.Read(strings.NewReader(line1 + "\n" + bad + "\n" + line2 + "\n"))
		if err == nil || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%s: error %v", bad, err)
		}
		if len(got) != 1 {
			t.Errorf("%s: %d events before it, want 1", bad, len(got))
		}
	}
}

func FuzzWhatIsReadIsWrittenAgainAsItWas(f *testing.F) {
	for _, s := range []string{"", line1, line1 + "\n" + line2, line1 + "\n{", "\x00\x00", `{"i":1,"lo_ms":-1.5,"hi_ms":0.25,"kind":"write","by":"app/0","data":{"a":[1]},"n":-3}` + "\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := timeline.Read(bytes.NewReader(in))
		if err != nil {
			return
		}
		var out bytes.Buffer
		for _, e := range got {
			if e.At.Hi < e.At.Lo || e.Kind == "" {
				t.Errorf("read %+v", e)
			}
			line, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			out.Write(append(line, '\n'))
		}
		first := out.String()
		again, err := timeline.Read(&out)
		if err != nil {
			t.Fatalf("what was written cannot be read: %v\n%s", err, first)
		}
		if len(again) != len(got) {
			t.Fatalf("%d events, then %d", len(got), len(again))
		}
		for i := range got {
			a, b := got[i], again[i]
			a.Data, b.Data = nil, nil // compacted by encoding
			if d := cmp.Diff(a, b); d != "" {
				t.Errorf("event %d (-first +again):\n%s", i, d)
			}
		}
	})
}
