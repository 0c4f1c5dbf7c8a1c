package verdict_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/drills/verdict"
)

func TestTheOrderOfTheEventsDoesNotChangeTheVerdict(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for i, file := range files {
		if i%4 != 0 && !strings.Contains(file, "good") {
			continue // a quarter of them is enough
		}
		in, _ := readCase(t, file)
		want := verdict.Judge(in)
		in.Timeline = shuffled(in.Timeline, uint64(i))
		if d := cmp.Diff(want, verdict.Judge(in)); d != "" {
			t.Errorf("%s: shuffled, it is judged otherwise (-want +got):\n%s", file, d)
		}
	}
}

func shuffled(t timeline.Timeline, seed uint64) timeline.Timeline {
	t = slices.Clone(t)
	rand.New(rand.NewPCG(seed, 3)).Shuffle(len(t), func(i, j int) { t[i], t[j] = t[j], t[i] })
	return t
}

func TestJudgingChangesNoneOfItsInput(t *testing.T) {
	in, _ := readCase(t, "testdata/good_failover.txtar")
	before := slices.Clone(in.Timeline)
	verdict.Judge(in)
	if d := cmp.Diff(before, in.Timeline); d != "" {
		t.Errorf("the timeline was changed (-before +after):\n%s", d)
	}
}

func TestEventsOfOtherTrialsAreNotJudged(t *testing.T) {
	in, _ := readCase(t, "testdata/good_failover.txtar")
	want := verdict.Judge(in)
	bad, _ := readCase(t, "testdata/frozen_manager_async.txtar")
	for _, e := range bad.Timeline {
		e.Trial, e.I = 2, e.I+1_000_000
		in.Timeline = append(in.Timeline, e)
	}
	if d := cmp.Diff(want, verdict.Judge(in)); d != "" {
		t.Errorf("another trial changed the verdict (-want +got):\n%s", d)
	}
}

func TestEveryNumberNamesItsEvents(t *testing.T) {
	for _, name := range []string{"good_failover", "frozen_manager_async", "any_node_takes_writes", "false_green"} {
		in, _ := readCase(t, "testdata/"+name+".txtar")
		known := map[int]bool{}
		for _, e := range in.Timeline {
			known[e.I] = true
		}
		got := verdict.Judge(in)
		var metrics map[string]json.RawMessage
		if err := json.Unmarshal(data(got.Metrics), &metrics); err != nil {
			t.Fatal(err)
		}
		for key, raw := range metrics {
			var m struct {
				LoMS   *float64 `json:"lo_ms"`
				HiMS   float64  `json:"hi_ms"`
				Events []int    `json:"events"`
			}
			if json.Unmarshal(raw, &m) != nil || m.LoMS == nil || m.HiMS == 0 {
				continue // no metric, or one that is zero
			}
			if len(m.Events) == 0 {
				t.Errorf("%s: %s names no events", name, key)
			}
			for _, i := range m.Events {
				if !known[i] {
					t.Errorf("%s: %s names event %d, which is not there", name, key, i)
				}
			}
		}
		for _, f := range got.Findings {
			if (f.Outcome == verdict.Missed || f.Outcome == verdict.Met) && len(f.Events) == 0 {
				t.Errorf("%s: the finding %s is %s without events", name, f.Objective, f.Outcome)
			}
		}
	}
}

func TestATrialSurvivesJSONAndHasNoNullWhereAListBelongs(t *testing.T) {
	trials := []verdict.Trial{verdict.Judge(verdict.Input{})}
	for _, name := range []string{"good_failover", "frozen_manager_async", "unsteady", "goodput"} {
		in, _ := readCase(t, "testdata/"+name+".txtar")
		trials = append(trials, verdict.Judge(in))
	}
	for _, want := range trials {
		var got verdict.Trial
		if err := json.Unmarshal(data(want), &got); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("after JSON (-want +got):\n%s", d)
		}
		var any map[string]any
		if err := json.Unmarshal(data(want), &any); err != nil {
			t.Fatal(err)
		}
		for _, path := range nulls(any, "") {
			if !mayBeNull[path[strings.LastIndex(path, ".")+1:]] {
				t.Errorf("%s is null", path)
			}
		}
	}
}

// mayBeNull are the metrics, which have a reason then, and what was not seen.
var mayBeNull = map[string]bool{
	"detection": true, "election": true, "promotion": true, "routing": true, "outage": true, "rto": true,
	"fence_lag": true, "rejoin": true, "redundancy": true, "first_ack": true, "stable": true, "full": true,
	"false_green": true, "false_red": true, "loss": true, "stale_reads": true, "goodput_loss": true,
	"inject": true, "effect": true, "revert": true, "failover": true,
}

func nulls(v any, path string) []string {
	var out []string
	switch v := v.(type) {
	case nil:
		return []string{path}
	case map[string]any:
		for k, x := range v {
			out = append(out, nulls(x, path+"."+k)...)
		}
	case []any:
		for _, x := range v {
			out = append(out, nulls(x, path)...)
		}
	}
	return out
}

func TestWhatIsNullHasAReason(t *testing.T) {
	for _, in := range []verdict.Input{{}, func() verdict.Input { in, _ := readCase(t, "testdata/restart_by_manager.txtar"); return in }()} {
		got := verdict.Judge(in)
		var metrics map[string]json.RawMessage
		if err := json.Unmarshal(data(got.Metrics), &metrics); err != nil {
			t.Fatal(err)
		}
		for key, raw := range metrics {
			if bytes.Equal(raw, []byte("null")) && got.Metrics.Reasons[key] == "" {
				t.Errorf("%s is null without a reason", key)
			}
		}
	}
}

func TestAnEventOfANewerDappleIsTold(t *testing.T) {
	in, _ := readCase(t, "testdata/good_failover.txtar")
	in.Timeline = append(in.Timeline, timeline.Event{I: 1 << 30, Kind: "quantum", By: "x"})
	if missing := unmatched([]string{"verdict pass", `finding timeline reported warning: want events that this dapple knows: got 1 of kind "quantum"`}, render(verdict.Judge(in))); len(missing) > 0 {
		t.Errorf("missing: %q", missing)
	}
}

func TestTheVerdictImportsNothingThatDoesInputOrOutput(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{join .Imports "\n"}}`, ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range strings.Fields(string(out)) {
		for _, bad := range []string{"os", "io", "net", "log", "syscall", "context", "bufio"} {
			if p == bad || strings.HasPrefix(p, bad+"/") {
				t.Errorf("package verdict imports %s", p)
			}
		}
	}
}

// FuzzAnyTimelineIsJudgedWithoutOrder mutates the timelines of cases.
func FuzzAnyTimelineIsJudgedWithoutOrder(f *testing.F) {
	var bases []verdict.Input
	for _, name := range []string{"good_failover", "frozen_manager_async", "any_node_takes_writes", "two_outages", "hang_then_timed_out", "multi_primary_components"} {
		in, _ := readCase(f, "testdata/"+name+".txtar")
		bases = append(bases, in)
	}
	for i := range uint64(8) {
		f.Add(i, uint16(i), uint16(40*i))
	}
	f.Fuzz(func(t *testing.T, seed uint64, base, edits uint16) {
		in := bases[int(base)%len(bases)]
		in.Timeline = mutated(in.Timeline, seed, int(edits)%400)
		want := verdict.Judge(in)
		if _, err := json.Marshal(want); err != nil {
			t.Fatalf("no JSON: %v", err)
		}
		for _, o := range want.Metrics.Outages {
			if o.LoMS < 0 || o.HiMS < o.LoMS {
				t.Errorf("outage [%v, %v]", o.LoMS, o.HiMS)
			}
		}
		in.Timeline = shuffled(in.Timeline, seed)
		if d := cmp.Diff(want, verdict.Judge(in)); d != "" {
			t.Errorf("shuffled, it is judged otherwise (-want +got):\n%s", d)
		}
	})
}

// mutated changes times, values, nodes and data of events, doubles and drops them.
func mutated(t timeline.Timeline, seed uint64, edits int) timeline.Timeline {
	r := rand.New(rand.NewPCG(seed, 4))
	t = slices.Clone(t)
	kinds := timeline.Kinds()
	for range edits {
		if len(t) == 0 {
			return t
		}
		i, j := r.IntN(len(t)), r.IntN(len(t))
		switch r.IntN(10) {
		case 0:
			t[i].At.Lo = t[j].At.Lo
		case 1:
			t[i].At.Hi = t[j].At.Hi
		case 2:
			t[i].Value = t[j].Value
		case 3:
			t[i].Node, t[i].Epoch = t[j].Node, t[j].Epoch
		case 4:
			t[i].By = t[j].By
		case 5:
			t[i].Kind = kinds[r.IntN(len(kinds))]
		case 6:
			t[i].Data = t[j].Data
		case 7:
			t[i].I = t[j].I
		case 8:
			t = append(t, t[i])
		default:
			t = slices.Delete(t, i, i+1)
		}
	}
	return t
}

// While a trial goes on its streams are not flushed: the engine asks whether the
// system is itself again, and a quiet stream is one whose run goes on.
func TestARunningTrialIsJudgedAsIfItsStreamsGoOn(t *testing.T) {
	s, err := parseScript("include takeover\nwithout phase audit\nwithout audit\n120s note later")
	if err != nil {
		t.Fatal(err)
	}
	in := verdict.Input{Timeline: s.unflushed(), Window: verdict.Window{StableFor: 10 * time.Second}}
	in.Now = 120 * time.Second
	if missing := unmatched([]string{"outage of app/0 22.48s..22.521s", "outage of fresh 21.98s..22.021s", "rejoin 2.3s..3.001s"}, render(verdict.Judge(in))); len(missing) > 0 {
		t.Errorf("at 120 s: missing %q", missing)
	}
	if n := len(verdict.Judge(in).Metrics.Outages); n != 2 {
		t.Errorf("at 120 s: %d outages, want 2", n)
	}
}
