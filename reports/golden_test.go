package reports

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/dapple-drills/dapple/drills"
	"github.com/google/go-cmp/cmp"
)

var (
	update = flag.Bool("update", false, "write the golden files")
	look   = flag.String("look", "", "write every report of every fixture into this folder, to look at")
)

func fixtures() map[string]func(testing.TB) Run {
	return map[string]func(testing.TB) Run{"etcd": etcdDemo, "inconclusive": inconclusive, "invalid": patroniInvalid, "patroni": patroniKill, "split-brain": splitBrain}
}

func render(t testing.TB, f func(*bytes.Buffer) error) string {
	t.Helper()
	var b bytes.Buffer
	if err := f(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestTextMarkdownAndJUnitReadAsTheyDidWhenAPersonLastApprovedThem(t *testing.T) {
	for name, fixture := range fixtures() {
		r := fixture(t)
		for _, kind := range []string{"text", "md", "junit"} {
			f, err := Find(kind)
			if err != nil {
				t.Fatal(err)
			}
			got := render(t, func(b *bytes.Buffer) error { return f.Write(b, r) })
			path := filepath.Join("testdata", name+filepath.Ext(f.File))
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatalf("%v (go test ./reports -update writes it)", err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("%s of %s (-approved +now):\n%s", kind, name, diff)
			}
		}
		if *look != "" {
			dir := filepath.Join(*look, name)
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := Write(dir, r, "html", "json", "junit", "md", "text"); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestTheSummaryFitsAnEightyColumnTerminal(t *testing.T) {
	for name, fixture := range fixtures() {
		text := render(t, func(b *bytes.Buffer) error { return Text(b, fixture(t), Plain) })
		for line := range strings.Lines(text) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > columns {
				t.Errorf("%s: %d columns: %q", name, n, line)
			}
		}
	}
}

func TestThePlainSummaryIsTheColouredOneWithoutItsColours(t *testing.T) {
	r := splitBrain(t)
	plain := render(t, func(b *bytes.Buffer) error { return Text(b, r, Plain) })
	coloured := render(t, func(b *bytes.Buffer) error { return Text(b, r, Coloured) })
	if strings.Contains(plain, "\x1b") {
		t.Error("the plain summary holds escape sequences")
	}
	if !strings.Contains(coloured, "\x1b[1;31mFAIL\x1b[0m") {
		t.Error("the coloured summary shows no red FAIL")
	}
	for _, code := range []string{red, green, yellow, blue} {
		coloured = strings.ReplaceAll(coloured, "\x1b[1;"+code+"m", "")
	}
	if diff := cmp.Diff(plain, strings.ReplaceAll(coloured, "\x1b[0m", "")); diff != "" {
		t.Error(diff)
	}
}

func TestJUnitTellsFailuresErrorsAndSkippedApart(t *testing.T) {
	want := map[string][3]int{"etcd": {}, "patroni": {}, "inconclusive": {0, 0, 1}, "invalid": {0, 1, 0}, "split-brain": {2, 1, 0}}
	for name, fixture := range fixtures() {
		var s junitSuites
		if err := xml.Unmarshal([]byte(render(t, func(b *bytes.Buffer) error { return JUnit(b, one(fixture(t))) })), &s); err != nil {
			t.Fatal(err)
		}
		u := s.Suites[0]
		if got := [3]int{u.Failures, u.Errors, u.Skipped}; got != want[name] {
			t.Errorf("%s: failures, errors, skipped = %v, want %v", name, got, want[name])
		}
		seen := map[string]bool{}
		for _, c := range u.Cases {
			if key := c.Class + " " + c.Name; seen[key] {
				t.Errorf("%s: two cases %q: GitLab would drop one", name, key)
			} else {
				seen[key] = true
			}
		}
		if u.Tests != len(u.Cases) {
			t.Errorf("%s: tests=%d for %d cases", name, u.Tests, len(u.Cases))
		}
	}
}

func TestAnAbortedDrillWithoutTrialsIsAnErrorInJUnit(t *testing.T) {
	r := Run{Record: drills.Record{Schema: drills.Schema, Verdict: "aborted", Reason: "interrupted by a person"}}
	got := render(t, func(b *bytes.Buffer) error { return JUnit(b, one(r)) })
	if !strings.Contains(got, `<error type="aborted" message="interrupted by a person">`) || !strings.Contains(got, `tests="1"`) {
		t.Error(got)
	}
}

func TestJSONIsTheRecord(t *testing.T) {
	r := patroniInvalid(t)
	var back drills.Record
	if err := json.Unmarshal([]byte(render(t, func(b *bytes.Buffer) error { return JSON(b, r) })), &back); err != nil {
		t.Fatal(err)
	}
	a, _ := json.Marshal(r.Record)
	b, _ := json.Marshal(back)
	if diff := cmp.Diff(string(a), string(b)); diff != "" {
		t.Error(diff)
	}
}

func TestMarkdownTakesNoMarkupFromNames(t *testing.T) {
	r := hostile(t)
	text := render(t, func(b *bytes.Buffer) error { return Markdown(b, r) })
	spans := regexp.MustCompile("`` .*? ``")
	for _, bad := range []string{"<script", "<img", "](http", "\x1b", "@everyone"} {
		for line := range strings.Lines(text) {
			if strings.Contains(strings.ReplaceAll(spans.ReplaceAllString(line, ""), `\]`, ""), bad) && !strings.HasPrefix(line, "    ") { // an indented line is shown as it is
				t.Errorf("%q in %q", bad, line)
			}
		}
	}
	cols := 0
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "|") {
			cols = 0
			continue
		}
		n := strings.Count(strings.ReplaceAll(line, `\|`, ""), "|")
		if cols != 0 && n != cols {
			t.Errorf("a name broke the table: %q", line)
		}
		cols = n
	}
}

func TestTheSummaryTakesNoEscapeSequencesFromNames(t *testing.T) {
	text := render(t, func(b *bytes.Buffer) error { return Text(b, hostile(t), Plain) })
	if i := strings.IndexFunc(text, func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f || r == 0x9b || r == '\u202e' }); i >= 0 {
		t.Errorf("control character %q near %q", text[i], text[max(0, i-20):i+20])
	}
}

// hostile is a run in which everything that others chose wants to be more than
// text.
func hostile(t testing.TB) Run {
	bad := "x\"'><script>alert(1)</script><img src=http://e.example/i> `|` [a](http://e.example) @everyone \x1b[2J\u202e\u009b"
	r := splitBrain(t)
	rec := &r.Record
	rec.Drill.Name, rec.Drill.Why, rec.System.Name, rec.Operator, rec.Reason, rec.Claim = bad, bad, bad, bad, bad, bad
	rec.Drill.ScenarioFile, rec.Run, rec.Dapple.Version = bad, bad, bad
	rec.System.Settings[bad], rec.System.Versions[bad] = bad, bad
	rec.Notes = append(rec.Notes, bad)
	rec.System.Nodes = append(rec.System.Nodes, drills.NodeInfo{Name: bad, Role: bad})
	rec.Scenario.Steps[0].With[bad] = bad
	tr := &rec.Trials[0]
	tr.Reason, tr.Expect.Outcome = bad, bad
	f := &tr.Faults[0]
	f.Kind, f.Node, f.Does, f.Proof = bad, bad, bad, bad
	tr.Restarts[0].Node, tr.Restarts[0].By = bad, bad
	tr.Metrics.SplitBrain.Reason, tr.Metrics.Reasons["full"] = bad, bad
	tr.Metrics.Loss.LostIDs[0], tr.Metrics.Loss.LostIDsFile = bad, bad
	for i := range tr.Metrics.Outages {
		tr.Metrics.Outages[i].Class, tr.Metrics.Outages[i].Client = bad, bad
	}
	for i := range tr.Findings {
		tr.Findings[i].Want, tr.Findings[i].Got, tr.Findings[i].Text = bad, bad, bad
	}
	tr.Findings[len(tr.Findings)-1].Objective = bad
	tr.Leftovers[0].What, tr.Leftovers[0].Node, tr.Leftovers[0].Command = bad, bad, bad
	e := tr.Metrics.Expectation["rto"]
	e.Why, e.Class = bad, bad
	tr.Metrics.Expectation["rto"] = e
	for i := range r.Timeline {
		e := &r.Timeline[i]
		e.Evidence, e.Value, e.Epoch = bad, e.Value+bad, bad
		if i%2 == 0 {
			e.By, e.Node = bad, bad
		}
	}
	return r
}
