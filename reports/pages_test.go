package reports

import (
	"bytes"
	"encoding/csv"
	"encoding/xml"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/drills/checklist"
	"github.com/dapple-drills/dapple/drills/history"
	"github.com/dapple-drills/dapple/drills/matrix"
	"github.com/dapple-drills/dapple/drills/sweep"
	"github.com/dapple-drills/dapple/drills/trend"
	"github.com/dapple-drills/dapple/drills/verdict"
)

// evil is a name that each format has to write without it being taken for its own.
const evil = `=<script>alert("x")</script>|&`

var someday = time.Date(2026, 11, 2, 10, 0, 0, 0, time.UTC)

func evilRun() history.Run {
	return history.Run{Run: evil, System: evil, Scenario: evil, Operator: evil, Kind: evil, Verdict: verdict.Fail, Started: someday, Finished: someday.Add(time.Minute),
		SHA256: strings.Repeat("ab", 32), Link: history.Linked{N: 1},
		Digest: history.Digest{Findings: []history.Finding{{Objective: evil, Outcome: verdict.Missed, Want: evil, Got: evil}, {Objective: "rto", Outcome: verdict.Missed, Want: "1 s", Got: "2 s"}}}}
}

// page is any of the pages, for names that are not to be trusted.
func pages(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	add := func(name string, write func(io.Writer) error) {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		out[name] = b.String()
	}
	c := checklist.Make(checklist.Input{Quarter: checklist.Quarter{Year: 2026, N: 4}, Now: someday.AddDate(0, 0, 3), Runs: []history.Run{evilRun()}, By: evil, Version: evil})
	for _, f := range ChecklistFormats() {
		add("checklist."+f.Name, func(w io.Writer) error { return f.Write(w, &c) })
	}
	second := evilRun()
	second.Run, second.Started = "two", someday.AddDate(0, 0, 1)
	ts := trend.Make([]history.Run{evilRun(), second}, map[string][]history.Reading{evil: {{Metric: "rto", Trial: 1, Lo: 10, Hi: 20}}, "two": {{Metric: "rto", Trial: 1, Lo: 50, Hi: 60, Censored: true}}}, "")
	add("trend.html", func(w io.Writer) error { return TrendHTML(w, ts) })
	add("trend.text", func(w io.Writer) error { return TrendText(w, ts) })
	rto := 1000.0
	s := sweep.Sweep{System: evil, Parameter: evil, RTOMS: &rto, Tolerate: 50, Values: []sweep.Value{
		{ValueMS: 100, Kill: sweep.Kill{N: 1, Met: true, RTO: &[2]float64{10, 20}, WorstMS: 30, Runs: []string{evil}}, Blips: []sweep.Blip{{BlipMS: 50, N: 1}}},
		{ValueMS: 900, Kill: sweep.Kill{N: 0}, Blips: []sweep.Blip{{BlipMS: 50, N: 1, Failovers: 1}}}}}
	s.Judge()
	add("sweep.html", func(w io.Writer) error { return SweepHTML(w, &s) })
	add("sweep.text", func(w io.Writer) error { return SweepText(w, &s) })
	m := matrix.Make([]matrix.Drilled{{System: evil, Scenario: evil, Why: evil}})
	add("matrix.html", func(w io.Writer) error { return MatrixHTML(w, m) })
	add("matrix.text", func(w io.Writer) error { return MatrixText(w, m) })
	return out
}

func TestNamesAreNeverMarkupNorFormulas(t *testing.T) {
	for name, page := range pages(t) {
		if strings.HasSuffix(name, "html") && strings.Contains(page, "<script") {
			t.Errorf("%s holds a script", name)
		}
		if strings.HasSuffix(name, ".md") && strings.Contains(strings.ReplaceAll(page, "`", ""), `<script>alert("x")</script>|`) {
			t.Errorf("%s holds a script", name)
		}
		if strings.HasSuffix(name, "csv") {
			rows, err := csv.NewReader(strings.NewReader(page)).ReadAll()
			if err != nil || len(rows) < 10 {
				t.Fatalf("%s: %d rows, %v", name, len(rows), err)
			}
			for _, row := range rows {
				for _, cell := range row {
					if strings.HasPrefix(cell, "=") {
						t.Errorf("%s: a formula: %s", name, cell)
					}
				}
			}
		}
	}
}

// The pictures are read as XML, which is stricter than browsers are.
func TestPicturesAreWellFormed(t *testing.T) {
	n := 0
	for name, page := range pages(t) {
		for _, part := range strings.Split(page, `<svg class="plot"`)[1:] {
			n++
			svg, _, _ := strings.Cut(part, "</svg>")
			d := xml.NewDecoder(strings.NewReader("<svg" + svg + "</svg>"))
			for {
				if _, err := d.Token(); err == io.EOF {
					break
				} else if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			}
			if strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") || strings.Contains(svg, "e+") {
				t.Errorf("%s: a coordinate is none", name)
			}
		}
	}
	if n != 2 {
		t.Errorf("%d pictures, want that of the trend and that of the sweep", n)
	}
}

func TestThePagesSayWhatMatters(t *testing.T) {
	got := pages(t)
	for name, want := range map[string]string{
		"checklist.text": "failed   7 RTO and RPO are declared, and measured",
		"checklist.html": `<span class="pill p-missed">failed</span>`,
		"checklist.md":   "## Open findings",
		"checklist.json": `"state": "failed"`,
		"trend.text":     "SLOWER by ≥ 30 ms, beyond",
		"trend.html":     "t-point t-bad",
		"sweep.text":     "recommended: 100",
		"sweep.html":     `class="s-range"`,
		"matrix.html":    "not drilled",
	} {
		if !strings.Contains(strings.ReplaceAll(got[name], nbsp, " "), want) {
			t.Errorf("%s does not say %q:\n%s", name, want, got[name])
		}
	}
}
