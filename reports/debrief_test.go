package reports

import (
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/timeline"
)

// trainedRun is the kill of a Patroni primary that ana faced, judged with what she said.
func trainedRun(t testing.TB, who, note string) Run {
	t.Helper()
	r := patroniKill(t)
	r.Record.Scenario.Training = &drills.TrainingFacts{Task: note, Hints: 2}
	r.Record.People = []drills.Person{{Name: who, Role: drills.Trainee}, {Name: "tom", Role: drills.Trainer}}
	effect, last := timeline.Interval{}, 0
	for _, e := range r.Timeline {
		last = max(last, e.I)
		if e.Trial == 1 && e.Kind == timeline.FaultEffect {
			effect = e.At
		}
	}
	say := func(kind timeline.Kind, after float64, value, evidence string, data any) {
		last++
		raw, err := json.Marshal(data)
		if err != nil {
			t.Fatal(err)
		}
		at := effect.Hi + timeline.FromMS(after*1000)
		e := timeline.Event{I: last, Trial: 1, Kind: kind, By: who, Value: value, Evidence: evidence, Data: raw, At: timeline.Interval{Lo: at, Hi: at + timeline.FromMS(2)}}
		if kind == timeline.Hint {
			e.N = 1
		}
		r.Timeline = append(r.Timeline, e)
	}
	by := timeline.Stamped{Via: "terminal"}
	say(timeline.Stamp, 2, "acknowledged", "", by)
	say(timeline.Hint, 4, note, "", timeline.Priced{Seconds: 60})
	say(timeline.Stamp, 6, "diagnosed", note, by)
	say(timeline.Stamp, 8, "acted", "", timeline.Stamped{Via: "command", Ran: "promote"})
	say(timeline.Stamp, 50, "resolved", "", by)
	r.Record = drills.Rejudge(r.Record, r.Timeline)
	return r
}

func debriefs(t testing.TB, r Run) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, f := range DebriefFormats() {
		var b strings.Builder
		if err := f.Write(io.Writer(&b), r); err != nil {
			t.Fatal(err)
		}
		out[f.Name] = b.String()
	}
	return out
}

func TestADebriefTellsWhoseTimeTheOutageWasAndWhatItWas(t *testing.T) {
	for name, page := range debriefs(t, trainedRun(t, "Ana Lima", "pg1 is dead")) {
		page = strings.ReplaceAll(page, nbsp, " ")
		for _, want := range []string{"Ana Lima", "led by tom", "kill on", "alert", "human", "machine", "total", "first stamp → acted", "1 of 2 hints at 60 s", "pg1 is dead", "acted", "began promote", "hint 1 (60 s)", "resolved"} {
			if !strings.Contains(page, want) {
				t.Errorf("%s does not say %q", name, want)
			}
		}
	}
}

func TestADebriefOfNamesThatAreMarkupHoldsNone(t *testing.T) {
	pages := debriefs(t, trainedRun(t, evil, evil))
	if strings.Contains(pages["html"], "<script") {
		t.Error("the page holds a script")
	}
	if strings.Contains(strings.ReplaceAll(pages["md"], "`", ""), "<script>") {
		t.Error("the Markdown holds a script")
	}
}

func TestWhereNobodyWasTrainedThereIsNoDebrief(t *testing.T) {
	r := patroniKill(t)
	dir := t.TempDir()
	if err := WriteDebrief(dir, r); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := Debrief(&b, r, Plain); err != nil || b.Len() > 0 || Trained(r) {
		t.Errorf("%v, %q", err, b.String())
	}
}
