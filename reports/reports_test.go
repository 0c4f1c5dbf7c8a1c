package reports

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/dapple-drills/dapple/drills"
	"github.com/google/go-cmp/cmp"
)

// save lays a run down as the engine does.
func save(t testing.TB, dir string, r Run) {
	t.Helper()
	var b bytes.Buffer
	for _, e := range r.Timeline {
		line, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(append(line, '\n'))
	}
	if err := os.WriteFile(filepath.Join(dir, TimelineFile), b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Write(dir, r, "json"); err != nil {
		t.Fatal(err)
	}
}

func TestAReportMadeAgainFromTheFilesIsTheSame(t *testing.T) {
	for name, fixture := range fixtures() {
		r, dir := fixture(t), t.TempDir()
		r.Dir = dir
		save(t, dir, r)
		back, err := Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range Formats() {
			a := render(t, func(b *bytes.Buffer) error { return f.Write(b, r) })
			b := render(t, func(b *bytes.Buffer) error { return f.Write(b, back) })
			if diff := cmp.Diff(a, b); diff != "" {
				t.Errorf("%s as %s:\n%s", name, f.Name, diff)
			}
		}
	}
}

func TestATornTimelineIsUsedAsFarAsItGoes(t *testing.T) {
	r, dir := etcdDemo(t), t.TempDir()
	save(t, dir, r)
	path := filepath.Join(dir, TimelineFile)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data[:len(data)-20], 0o644); err != nil {
		t.Fatal(err)
	}
	back, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(back.Timeline) != len(r.Timeline)-1 {
		t.Errorf("%d events, want %d", len(back.Timeline), len(r.Timeline)-1)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if back, err = Load(dir); err != nil || len(back.Timeline) != 0 {
		t.Errorf("without a timeline: %v, %d events", err, len(back.Timeline))
	}
	for _, f := range Formats() {
		render(t, func(b *bytes.Buffer) error { return f.Write(b, back) })
	}
}

func TestAFolderThatHoldsNoRunIsRefusedWithAWayOut(t *testing.T) {
	dir := t.TempDir()
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "dapple list") {
		t.Errorf("empty folder: %v", err)
	}
	write := func(s string) {
		if err := os.WriteFile(filepath.Join(dir, RecordFile), []byte(s), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"schema":"dapple.record/v9","dapple":{"version":"v9.1"}}`)
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "v9.1") {
		t.Errorf("a newer record: %v", err)
	}
	write(`{"schema":"dapple.record/v1","seed":9223372036854775807,"trials":[{"metrics":{"rto":{"lo_ms":1,"hi_ms":1e300}}}]}`)
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "hi_ms is 1e+300") || strings.Contains(err.Error(), "seed") {
		t.Errorf("a damaged figure: %v", err)
	}
	write(`{"schema":`)
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), RecordFile) {
		t.Errorf("half a record: %v", err)
	}
}

func FuzzLoad(f *testing.F) {
	demo, err := json.Marshal(etcdDemo(f).Record)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(demo, []byte(`{"i":1,"lo_ms":0,"hi_ms":5,"kind":"write","by":"app/0","value":"acked"}`+"\n"))
	f.Add([]byte(`{"schema":"dapple.record/v1","trials":[{"faults":[{"inject":[5,-1e12]}],"metrics":{"workload":{"bucket_ms":0.001,"acked":[1]},"rto":{"lo_ms":-5,"hi_ms":1.5e12,"events":[7]}}}]}`),
		[]byte(`{"i":-1,"lo_ms":-9e11,"hi_ms":9e11,"kind":"phase"}`))
	f.Fuzz(func(t *testing.T, record, events []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, RecordFile), record, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, TimelineFile), events, 0o644); err != nil {
			t.Fatal(err)
		}
		r, err := Load(dir)
		if err != nil {
			return
		}
		for _, f := range Formats() {
			var b bytes.Buffer
			if err := f.Write(&b, r); err != nil && f.Name != "json" {
				t.Errorf("%s: %v", f.Name, err)
			}
		}
	})
}

func TestWriteLeavesTheFilesOfTheContractAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	if err := Write(dir, etcdDemo(t)); err != nil {
		t.Fatal(err)
	}
	var names []string
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if diff := cmp.Diff([]string{"junit.xml", "report.html", "report.md"}, names); diff != "" {
		t.Error(diff)
	}
	if err := Write(dir, Run{}, "pdf"); err == nil || !strings.Contains(err.Error(), "there are: github, gitlab, html, json, junit, md, openmetrics, text") {
		t.Errorf("unknown format: %v", err)
	}
}

// parsed turns "21.34 s ± 0.02 s" back into milliseconds.
func parsed(t *testing.T, s string) (v, half float64) {
	t.Helper()
	num := func(s string) float64 {
		f := strings.Fields(strings.ReplaceAll(strings.ReplaceAll(s, minus, "-"), nbsp, " "))
		x, err := strconv.ParseFloat(f[0], 64)
		if err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		if len(f) > 1 && f[1] == "s" {
			x *= 1000
		}
		return x
	}
	a, b, ok := strings.Cut(s, " ± ")
	if ok {
		half = num(b)
	}
	return num(a), half
}

func TestAPrintedIntervalHoldsTheMeasuredOne(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 20_000 {
		lo := (rng.Float64() - 0.1) * []float64{1, 100, 5000, 90000}[rng.IntN(4)]
		hi := lo + rng.Float64()*[]float64{0.2, 9, 400, 30000}[rng.IntN(4)]
		v, half := parsed(t, plusMinus(lo, hi))
		if v-half > lo+1e-6 || v+half < hi-1e-6 {
			if half == 0 && hi-lo < 0.2 { // narrower than a tenth of a millisecond is printed as a point
				continue
			}
			t.Fatalf("[%v, %v] is printed as %q", lo, hi, plusMinus(lo, hi))
		}
		if half > (hi-lo)/2*2+1.1 && half > (hi-lo)/2+100 {
			t.Fatalf("[%v, %v] is printed as %q: far too wide", lo, hi, plusMinus(lo, hi))
		}
	}
}

func TestFiguresHaveSensibleUnitsAndPrecision(t *testing.T) {
	for _, c := range []struct {
		lo, hi float64
		want   string
		as     string
	}{
		{21320, 21360, "21.34 s ± 0.02 s", "21.32 – 21.36 s"},
		{0.4, 0.8, "0.6 ms ± 0.2 ms", "0.4 – 0.8 ms"},
		{812, 812, "812.0 ms", "812.0 ms"},
		{990, 1010, "1.00 s ± 0.01 s", "0.99 – 1.01 s"},
		{-130, -110, minus + "120 ms ± 10 ms", minus + "130 to " + minus + "110 ms"},
		{4204, 6100, "5.2 s ± 1.0 s", "4.2 – 6.1 s"},
		{0, 0, "0.0 ms", "0.0 ms"},
	} {
		if got := strings.ReplaceAll(plusMinus(c.lo, c.hi), nbsp, " "); got != c.want {
			t.Errorf("[%v, %v]: %q, want %q", c.lo, c.hi, got, c.want)
		}
		if got := strings.ReplaceAll(within(c.lo, c.hi), nbsp, " "); got != c.as {
			t.Errorf("[%v, %v]: %q, want %q", c.lo, c.hi, got, c.as)
		}
	}
}

func TestAMarginNeverPromisesMoreThanIsProven(t *testing.T) {
	for _, c := range []struct {
		m    reading
		want string
	}{
		{reading{Lo: 20, Hi: 30}, "970 ms to spare"},
		{reading{Lo: 990, Hi: 1030}, "cannot be told"},
		{reading{Lo: 1020, Hi: 1030}, "20 ms over"},
		{reading{Lo: 20, Hi: 30, Censored: true}, "cannot be told"},
		{reading{Lo: 1020, Hi: 1030, Censored: true}, "20 ms over"},
	} {
		if got := plain(margin(c.m, 1000)); got != c.want {
			t.Errorf("%+v: %q, want %q", c.m, got, c.want)
		}
	}
}

func TestAnInvalidTrialIsShownButMeetsNoObjective(t *testing.T) {
	r := patroniInvalid(t)
	for _, row := range rows(&r.Record) {
		if row.Trial == 4 {
			t.Errorf("%s is shown as got by the invalid trial", row.Objective)
		}
		for _, s := range row.Spans {
			if s.Trial == 4 {
				t.Errorf("%s holds a figure of the invalid trial", row.Objective)
			}
		}
	}
	if text := page1(t, r); !strings.Contains(text, "INVALID") {
		t.Error("the invalid trial is not listed")
	}
}

func TestAnObjectiveShowsTheTrialThatMissedIt(t *testing.T) {
	r := patroniKill(t)
	f := &r.Record.Trials[0].Findings[1]
	f.Outcome = "missed"
	for _, row := range rows(&r.Record) {
		if row.Objective == "rto" && (row.Trial != 1 || row.Outcome != "missed" || len(row.Spans) != 3) {
			t.Errorf("rto: trial %d, %s, %d spans; trial 2 was slower, but trial 1 missed", row.Trial, row.Outcome, len(row.Spans))
		}
	}
}

func TestFormatsAreSortedAndNamed(t *testing.T) {
	last := ""
	for _, f := range Formats() {
		if f.Name <= last || f.File == "" || f.Summary == "" || f.Write == nil {
			t.Errorf("%+v after %q", f, last)
		}
		last = f.Name
	}
}

func TestADeclaredFactIsNeverDropped(t *testing.T) {
	r := Run{Record: drills.Record{Notes: []string{"the audit A2 is not possible here"}}}
	for _, name := range []string{"html", "md"} {
		f, _ := Find(name)
		if got := render(t, func(b *bytes.Buffer) error { return f.Write(b, r) }); !strings.Contains(got, r.Record.Notes[0]) {
			t.Errorf("%s leaves out a note", name)
		}
	}
}

func TestWhatWasWantedNeverRunsIntoWhatWasGot(t *testing.T) {
	for name, fixture := range fixtures() {
		r := fixture(t)
		for i := range r.Record.Trials {
			for j := range r.Record.Trials[i].Findings {
				r.Record.Trials[i].Findings[j].Want = "not declared"
			}
		}
		var buf bytes.Buffer
		if err := Text(&buf, r, Plain); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(buf.String()) {
			if _, got, _ := strings.Cut(line, "not declared"); got != "" && !strings.ContainsAny(got[:1], " .\n") {
				t.Errorf("%s: %q", name, line)
			}
		}
	}
}
