package reports

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/dapple-drills/dapple/internal/testenv"
)

// scrape reads metrics with the parser of Prometheus' textfile collector.
func scrape(t *testing.T, text string) map[string]float64 {
	t.Helper()
	p := expfmt.NewTextParser(model.LegacyValidation)
	families, err := p.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	out := map[string]float64{}
	for name, f := range families {
		if f.GetHelp() == "" || f.GetType().String() != "GAUGE" {
			t.Errorf("%s: help %q, type %v", name, f.GetHelp(), f.GetType())
		}
		for _, m := range f.GetMetric() {
			key := name
			for _, l := range m.GetLabel() {
				if l.GetName() != "drill" && l.GetName() != "system" {
					key += " " + l.GetValue()
				}
			}
			if _, twice := out[key]; twice {
				t.Errorf("%s is there twice", key)
			}
			out[key] = m.GetGauge().GetValue()
		}
	}
	return out
}

// openMetricsLines checks what OpenMetrics asks for beyond the older format: the
// mark of the end, no empty line, each family in one piece (section "Overall
// Structure").
func openMetricsLines(t *testing.T, text string) {
	t.Helper()
	if !strings.HasSuffix(text, "\n# EOF\n") && text != "# EOF\n" {
		t.Errorf("it does not end with # EOF: %q", text[max(0, len(text)-40):])
	}
	seen, now := map[string]bool{}, ""
	sample := regexp.MustCompile(`^([a-z_]+)\{[a-z_]+="(?:[^"\\]|\\.)*"(?:,[a-z_]+="(?:[^"\\]|\\.)*")*\} (?:-?[0-9.]+|\+Inf)$`)
	for line := range strings.Lines(strings.TrimSuffix(text, "# EOF\n")) {
		line = strings.TrimSuffix(line, "\n")
		name := ""
		switch f := strings.Fields(line); {
		case strings.HasPrefix(line, "# HELP "), strings.HasPrefix(line, "# TYPE "):
			name = f[2]
		case sample.MatchString(line):
			name = sample.FindStringSubmatch(line)[1]
		default:
			t.Errorf("no line of OpenMetrics: %q", line)
		}
		if name != now && seen[name] {
			t.Errorf("the family %s is in two pieces", name)
		}
		now, seen[name] = name, true
	}
}

func TestTheMetricsAreReadByPrometheusAndSayWhatTheRecordSays(t *testing.T) {
	for name, fixture := range fixtures() {
		r := fixture(t)
		text := render(t, func(b *bytes.Buffer) error { return OpenMetrics(b, one(r)) })
		openMetricsLines(t, text)
		got := scrape(t, text)
		sum := 0.0
		for _, v := range verdicts() {
			sum += got["dapple_drill_verdict "+string(v)]
		}
		if got["dapple_drill_verdict "+string(r.Record.Verdict)] != 1 || sum != 1 {
			t.Errorf("%s: not exactly its verdict is 1: %v", name, got)
		}
		if got["dapple_drill_exit_code"] != float64(r.Record.ExitCode) {
			t.Errorf("%s: exit code %v", name, got["dapple_drill_exit_code"])
		}
		s, measured := r.Record.Series.Metrics["rto"]
		upper, told := got["dapple_drill_seconds rto max upper"]
		if measured != told {
			t.Errorf("%s: measured %v, told %v", name, measured, told)
		}
		if measured && s.Censored == 0 && math.Abs(upper-s.Max[1]/1000) > 1e-6 {
			t.Errorf("%s: RTO %v s, the record has %v ms", name, upper, s.Max[1])
		}
	}
}

// TestPrometheusOwnParserOfOpenMetricsReadsEveryFixture has the strict parser of
// the reference implementation read the files: expfmt knows the older format only.
func TestPrometheusOwnParserOfOpenMetricsReadsEveryFixture(t *testing.T) {
	python := testenv.NeedOpenMetrics(t)
	const program = `
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse
for path in sys.argv[1:]:
    n = sum(len(f.samples) for f in parse(open(path, encoding="utf-8").read()))
    print(n)
`
	argv := []string{"-c", program}
	want := 0
	for name, fixture := range fixtures() {
		r := fixture(t)
		for kind, write := range map[string]func(io.Writer, Batch) error{"openmetrics": OpenMetrics, "gitlab": GitLab} {
			text := render(t, func(b *bytes.Buffer) error { return write(b, one(r)) })
			path := filepath.Join(t.TempDir(), name+"."+kind)
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			argv = append(argv, path)
			for line := range strings.Lines(text) {
				if !strings.HasPrefix(line, "#") {
					want++
				}
			}
		}
	}
	out, err := exec.CommandContext(t.Context(), python, argv...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	got := 0
	for _, n := range strings.Fields(string(out)) {
		i, err := strconv.Atoi(n)
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		got += i
	}
	if got != want || want == 0 {
		t.Errorf("it read %d samples of %d", got, want)
	}
}

func TestWhatWasCutShortHasNoUpperBoundInTheMetrics(t *testing.T) {
	r := patroniKill(t)
	s := r.Record.Series.Metrics["rto"]
	s.Censored = 1
	r.Record.Series.Metrics["rto"] = s
	got := scrape(t, render(t, func(b *bytes.Buffer) error { return OpenMetrics(b, one(r)) }))
	if v := got["dapple_drill_seconds rto max upper"]; !math.IsInf(v, 1) {
		t.Errorf("upper bound %v", v)
	}
}

func TestAnObjectiveThatWasNotProvenIsNeitherMetNorMissedInTheMetrics(t *testing.T) {
	got := scrape(t, render(t, func(b *bytes.Buffer) error { return OpenMetrics(b, one(inconclusive(t))) }))
	if v, told := got["dapple_drill_objective_met rto"]; told {
		t.Errorf("rto is told as %v", v)
	}
	if got["dapple_drill_objective_met rpo"] != 1 {
		t.Errorf("rpo was met: %v", got)
	}
	got = scrape(t, render(t, func(b *bytes.Buffer) error { return OpenMetrics(b, one(splitBrain(t))) }))
	if v, told := got["dapple_drill_objective_met split_brain"]; !told || v != 0 || got["dapple_drill_leftovers"] != 1 || got["dapple_drill_split_brain_level"] != 3 {
		t.Errorf("%v", got)
	}
}

func TestTheGitLabReportHoldsNothingThatChangesWithEveryRun(t *testing.T) {
	a, b := etcdDemo(t), etcdDemo(t)
	b.Record.Run, b.Record.Started, b.Record.Finished = "another", b.Record.Started.Add(1e9), b.Record.Finished.Add(1e9)
	b.Record.Seed, b.Dir = 7, "elsewhere"
	render := func(r Run) string { return render(t, func(o *bytes.Buffer) error { return GitLab(o, one(r)) }) }
	openMetricsLines(t, render(a))
	if render(a) != render(b) {
		t.Error("two equal drills have different reports")
	}
}

func TestMetricsTakeNoMarkupFromNames(t *testing.T) {
	r := hostile(t)
	r.Record.Drill.Name = "a\"b\\c\nd"
	text := render(t, func(b *bytes.Buffer) error { return OpenMetrics(b, one(r)) })
	openMetricsLines(t, text)
	scrape(t, text)
	if !strings.Contains(text, `drill="a\"b\\c·d"`) {
		t.Error(text)
	}
}

func TestSeveralRunsAreOneFileOfMetrics(t *testing.T) {
	a, b := etcdDemo(t), patroniKill(t)
	text := render(t, func(o *bytes.Buffer) error {
		return OpenMetrics(o, Batch{{Run: &a}, {Scenario: "x", Skipped: "no"}, {Run: &b}})
	})
	openMetricsLines(t, text)
	for _, r := range []Run{a, b} {
		want := fmt.Sprintf(`dapple_drill_verdict{drill="%s",system="%s",verdict="pass"} 1`, r.Record.Drill.Name, r.Record.System.Name)
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}
