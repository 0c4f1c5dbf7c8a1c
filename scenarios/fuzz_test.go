package scenarios_test

import (
	"testing"
	"unicode/utf8"

	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/scenarios"
)

// FuzzScenario, FuzzSystem and FuzzSchedule hold for any bytes: reading never panics; every
// problem has a message, a rule and a place inside the file; what is accepted is
// accepted by the JSON Schema too, and reads back as the same when written.
func FuzzScenario(f *testing.F) { fuzz(f, scenarios.IsScenario) }

func FuzzSystem(f *testing.F) { fuzz(f, scenarios.IsSystem) }

func FuzzSchedule(f *testing.F) { fuzz(f, scenarios.IsSchedule) }

func fuzz(f *testing.F, kind scenarios.FileKind) {
	for _, g := range goodFiles(f) {
		f.Add(g.data)
	}
	for _, c := range badCases(f) {
		for _, name := range []string{"scenario.yaml", "system.yaml", "schedule.yaml"} {
			if data := c.file(name); data != nil && len(data) < 1<<16 {
				f.Add(data)
			}
		}
	}
	v := vocabulary()
	schema := compiled(f, string(kind), v)
	f.Fuzz(func(t *testing.T, data []byte) {
		file := goodFile{path: "f.yaml", kind: kind, data: data}
		got, err := parse(file, v)
		if err != nil {
			placed(t, data, err)
			return
		}
		if err := valid(t, schema, data); err != nil {
			t.Errorf("accepted, and the schema refuses it: %v", err)
		}
		written, err := got.(interface{ Format() ([]byte, error) }).Format()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parse(goodFile{path: "written.yaml", kind: kind, data: written}, v); err != nil {
			t.Errorf("accepted, and refused as written:\n%s\n%v", written, err)
		}
	})
}

// placed checks the places of all problems, which is more than any parser gives.
func placed(t *testing.T, data []byte, err error) {
	t.Helper()
	lines := scenarios.Lines(data)
	for _, p := range diag.ProblemsOf(err) {
		if p.Msg == "" || p.Rule == "" || p.File != "f.yaml" {
			t.Errorf("%+v is not complete", p)
		}
		if p.Line < 1 || p.Line > len(lines) {
			t.Fatalf("%v: the file has %d lines", p, len(lines))
		}
		if width := utf8.RuneCountInString(lines[p.Line-1]); p.Col < 1 || p.Col > width+1 {
			t.Errorf("%v: the line has %d characters", p, width)
		}
	}
}

func BenchmarkParseScenario(b *testing.B) {
	v := vocabulary()
	for _, f := range goodFiles(b) {
		if f.path != "testdata/good/contract.scenario.yaml" {
			continue
		}
		for b.Loop() {
			if _, err := scenarios.ParseScenario(f.path, f.data, v); err != nil {
				b.Fatal(err)
			}
		}
	}
}
