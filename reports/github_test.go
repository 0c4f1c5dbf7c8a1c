package reports

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dapple-drills/dapple/drills"
)

// A command is a workflow command as GitHub's runner takes it apart: the first
// "::", the name, the properties by comma and the first "=", the message after
// the next "::"; then the escapes back, "%25" last.
type command struct {
	name, message string
	props         map[string]string
}

func commands(t *testing.T, text string) []command {
	t.Helper()
	var out []command
	for line := range strings.Lines(text) {
		head, message, ok := strings.Cut(strings.TrimPrefix(strings.TrimSuffix(line, "\n"), "::"), "::")
		if !ok || !strings.HasPrefix(line, "::") {
			t.Fatalf("no workflow command: %q", line)
		}
		c := command{props: map[string]string{}, message: strings.NewReplacer("%0D", "\r", "%0A", "\n", "%25", "%").Replace(message)}
		name, props, _ := strings.Cut(head, " ")
		c.name = name
		for _, p := range strings.Split(props, ",") {
			k, v, _ := strings.Cut(p, "=")
			c.props[k] = strings.NewReplacer("%0D", "\r", "%0A", "\n", "%3A", ":", "%2C", ",", "%25", "%").Replace(v)
		}
		out = append(out, c)
	}
	return out
}

func TestAnAnnotationSaysWhatWasMissedAtTheStepOfTheScenario(t *testing.T) {
	r := splitBrain(t)
	r.Record.Drill.ScenarioFile = "drills/a,b:100%.yaml"
	r.Record.Scenario.Steps[0].Line, r.Record.Scenario.Steps[0].Col = 12, 5
	got := commands(t, render(t, func(b *bytes.Buffer) error { return GitHub(b, one(r)) }))
	if len(got) != 3 {
		t.Fatalf("%d annotations: %v", len(got), got)
	}
	for i, want := range []string{"still in place, a person must act", "RPO missed", "Split-brain missed"} {
		c := got[i]
		where := map[string]string{"file": "drills/a,b:100%.yaml", "line": "12", "col": "5", "title": "patroni agent freeze: " + want}
		if d := cmp.Diff(where, c.props); c.name != "error" || d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
	if !strings.Contains(got[1].message, "612 of 25,804 lost, wanted 0 writes\n") {
		t.Errorf("%q", got[1].message)
	}
}

func TestWhatIsNotProvenIsAWarningAndWhatIsMetIsNotTold(t *testing.T) {
	for name, want := range map[string]string{"etcd": "", "inconclusive": "warning", "invalid": "warning"} {
		got := commands(t, render(t, func(b *bytes.Buffer) error { return GitHub(b, one(fixtures()[name](t))) }))
		if want == "" && len(got) == 0 {
			continue
		}
		if len(got) != 1 || got[0].name != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestAFailThatNoObjectiveExplainsIsToldAllTheSame(t *testing.T) {
	r := Run{Record: drills.Record{Verdict: "fail", Reason: "something else", Drill: drills.DrillInfo{Name: "d", ScenarioFile: "d.yaml"}}}
	got := commands(t, render(t, func(b *bytes.Buffer) error { return GitHub(b, one(r)) }))
	if len(got) != 1 || got[0].name != "error" || !strings.Contains(got[0].message, "Something else") {
		t.Error(got)
	}
}

func TestAtMostTenAnnotationsOfALevelAreWrittenAndTheRestIsCounted(t *testing.T) {
	var all []Annotation
	for i := range 25 {
		all = append(all, Annotation{Level: "error", Title: fmt.Sprint(i), Text: "x"})
	}
	all = append(all, Annotation{Level: "warning", Text: "w"})
	got := commands(t, render(t, func(b *bytes.Buffer) error { return Annotate(b, all) }))
	n := map[string]int{}
	for _, c := range got {
		n[c.name]++
	}
	if n["error"] != 10 || n["warning"] != 1 {
		t.Errorf("%v", n)
	}
	if last := got[len(got)-1].message; last != "and 16 more of these: see the summary" {
		t.Errorf("%q", last)
	}
}

func TestANameCannotBecomeACommandOfItsOwn(t *testing.T) {
	r := hostile(t)
	r.Record.Drill.Name = "x\n::set-output name=a::b\r\n::error::c"
	r.Record.Trials[0].Leftovers[0].Command = "rm x\n::stop-commands::y"
	r.Record.Scenario.Steps[0].Line = 3
	text := render(t, func(b *bytes.Buffer) error { return GitHub(b, one(r)) })
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "::error ") && !strings.HasPrefix(line, "::warning ") {
			t.Errorf("%q", line)
		}
	}
}
