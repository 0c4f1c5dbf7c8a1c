package verdict_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/drills/verdict"
	"github.com/dapple-drills/dapple/scenarios"
)

func TestCasesAreJudgedAsTheirAuthorsWant(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			in, want := readCase(t, file)
			got := render(verdict.Judge(in))
			if missing := unmatched(want, got); len(missing) > 0 {
				t.Errorf("not as wanted:\n  %s\ngot:\n  %s", strings.Join(missing, "\n  "), strings.Join(got, "\n  "))
			}
		})
	}
}

func readCase(t testing.TB, file string) (verdict.Input, []string) {
	t.Helper()
	a, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	for _, f := range a.Files {
		sections[f.Name] = string(f.Data)
	}
	if strings.TrimSpace(string(a.Comment)) == "" {
		t.Errorf("%s: say in front of the first section what the case shows", file)
	}
	in, err := parseInput(sections["input"])
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	s, err := parseScript(sections["timeline"])
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	in.Timeline = s.timeline()
	var want []string
	for _, line := range strings.Split(sections["want"], "\n") {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			want = append(want, line)
		}
	}
	if len(want) == 0 {
		t.Fatalf("%s: wants nothing", file)
	}
	return in, want
}

// unmatched are the lines that are wanted and not there, or not wanted ("no …")
// and there. A line is there if it is the beginning of one, up to a word's end;
// "…" stands for anything.
func unmatched(want, got []string) []string {
	var out []string
	for _, w := range want {
		line, unwanted := strings.CutPrefix(w, "no ")
		there := slices.ContainsFunc(got, func(g string) bool { return begins(g, line) })
		if there == unwanted {
			out = append(out, w)
		}
	}
	return out
}

func begins(line, want string) bool {
	parts := strings.Split(want, "…")
	if !strings.HasPrefix(line, parts[0]) {
		return false
	}
	line = line[len(parts[0]):]
	for _, p := range parts[1:] {
		i := strings.Index(line, p)
		if i < 0 {
			return false
		}
		line = line[i+len(p):]
	}
	return line == "" || strings.HasSuffix(want, "…") || strings.ContainsAny(line[:1], " :,;")
}

// parseInput reads the section "input": one "key: value" a line.
func parseInput(text string) (verdict.Input, error) {
	in := verdict.Input{
		N: 1, Phase: verdict.Phase{Asked: "random"},
		Window:      verdict.Window{Settle: 120 * time.Second, StableFor: 10 * time.Second, FullFor: 30 * time.Second},
		FreshPeriod: 20 * time.Millisecond, ClockEps: time.Millisecond,
		NodeDead: map[string]bool{}, Expectation: map[string]verdict.Expected{},
	}
	var errs []error
	for i, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		key, value, ok := strings.Cut(strings.TrimSpace(line), ":")
		if key == "" {
			continue
		}
		if err := set(&in, key, strings.TrimSpace(value)); !ok || err != nil {
			errs = append(errs, fmt.Errorf("input line %d: %q: %w", i+1, line, err))
		}
	}
	return in, errors.Join(errs...)
}

func set(in *verdict.Input, key, value string) error {
	o := &in.Objectives
	limits := map[string]**scenarios.Duration{"detection": &o.Detection, "rto": &o.RTO, "rejoin": &o.Rejoin, "redundancy": &o.Redundancy, "false_green": &o.FalseGreen, "alert": &o.Alert}
	nevers := map[string]**scenarios.Never{"split_brain": &o.SplitBrain, "stale_reads": &o.StaleReads, "late_writes": &o.LateWrites}
	times := map[string]*time.Duration{
		"settle": &in.Window.Settle, "stable_for": &in.Window.StableFor, "full_for": &in.Window.FullFor,
		"app_reconnect": &in.AppReconnect, "fresh_period": &in.FreshPeriod, "clock_eps": &in.ClockEps,
	}
	if key == "phase" {
		in.Phase.Asked = value
		return nil
	}
	flags := map[string]*bool{"multi_primary": &in.MultiPrimary, "any_node_takes_writes": &in.AnyNodeTakesWrites, "training": &in.Training}
	switch {
	case limits[key] != nil:
		d, err := time.ParseDuration(value)
		v := scenarios.Duration(d)
		*limits[key] = &v
		return err
	case nevers[key] != nil:
		v := scenarios.Never(true)
		*nevers[key] = &v
	case times[key] != nil:
		d, err := time.ParseDuration(value)
		*times[key] = d
		return err
	case flags[key] != nil:
		*flags[key] = value == "yes"
	case key == "rpo":
		return setRPO(o, value)
	case key == "failover":
		yes := value == "yes"
		in.Failover = &yes
	case key == "dead":
		in.NodeDead[value] = true
	case key == "bent":
		var b verdict.Bent
		if _, err := fmt.Sscan(value, &b.Name, &b.Declared, &b.Effective); err != nil {
			return err
		}
		in.Bent = append(in.Bent, b)
	case strings.HasPrefix(key, "untold "):
		if in.Untold == nil {
			in.Untold = map[string]string{}
		}
		in.Untold[strings.TrimPrefix(key, "untold ")] = value
	case strings.HasPrefix(key, "mode "):
		metric, name, _ := strings.Cut(strings.TrimPrefix(key, "mode "), " ")
		lo, hi, err := span(value)
		x := in.Expectation[metric]
		x.Modes = append(x.Modes, verdict.KnownMode{Name: name, MinMS: timeline.MS(lo), MaxMS: timeline.MS(hi), Why: "known"})
		in.Expectation[metric] = x
		return err
	case strings.HasPrefix(key, "expect "):
		lo, hi, err := span(value)
		in.Expectation[strings.TrimPrefix(key, "expect ")] = verdict.Expected{MinMS: timeline.MS(lo), MaxMS: timeline.MS(hi)}
		return err
	default:
		return fmt.Errorf("there is no %q", key)
	}
	return nil
}

func setRPO(o *scenarios.Objectives, value string) error {
	if n, ok := strings.CutSuffix(value, " writes"); ok {
		w, err := strconv.ParseInt(n, 10, 64)
		o.RPO = &scenarios.RPO{Writes: &w}
		return err
	}
	age, err := time.ParseDuration(value)
	o.RPO = &scenarios.RPO{Age: &age}
	return err
}

// render is a trial as lines that a case can want.
func render(t verdict.Trial) []string {
	var out []string
	say := func(format string, args ...any) {
		out = append(out, strings.TrimRight(fmt.Sprintf(format, args...), " "))
	}
	say("verdict %s: %s", t.Verdict, t.Reason)
	say("outcome %s", t.Expect.Outcome)
	if t.Phase.Asked != "" {
		say("phase %s, locked: %v", t.Phase.Asked, t.Phase.Locked)
	}
	var metrics map[string]json.RawMessage
	if err := json.Unmarshal(data(t.Metrics), &metrics); err != nil {
		panic(err)
	}
	for _, name := range []string{"detection", "election", "promotion", "routing", "outage", "rto", "fence_lag", "rejoin", "redundancy", "first_ack", "stable", "full", "false_green", "false_red"} {
		say("%s %s", name, renderMetric(metrics[name], t.Metrics.Reasons[name]))
	}
	m := t.Metrics
	for _, o := range m.Outages {
		say("outage of %s %s%s", o.Client, between(o.LoMS, o.HiMS), censored(o.Censored))
	}
	if l := m.Loss; l != nil {
		say("loss lost=%d before=%d after=%d degraded=%d unknown=%d recovered=%d absent=%d late=%d at_risk=%d", l.Lost, l.LostBeforePromote, l.LostAfterPromote, l.LostDegraded, l.Unknown, l.Recovered, l.Absent, l.Late, l.AtRisk)
		say("lost ids %s", strings.Join(l.LostIDs, " "))
		say("age of loss %s", between(l.RPOLoMS, l.RPOHiMS))
	} else {
		say("loss null: %s", m.Reasons["loss"])
	}
	s := m.SplitBrain
	say("split_brain level %d, proven absent: %v", s.Level, s.ProvenAbsent)
	say("split_brain because %s", s.Reason)
	if s.Overlap != nil {
		say("overlap %s", between(s.Overlap.LoMS, s.Overlap.HiMS))
	}
	say("epoch changes %d", m.EpochChanges)
	if m.GoodputLoss != nil {
		say("goodput loss %.0f of %.0f/s", *m.GoodputLoss, m.Workload.Baseline)
	}
	for _, name := range slices.Sorted(maps.Keys(m.Expectation)) {
		say("expectation %s %s", name, m.Expectation[name].Class)
	}
	for _, r := range t.Restarts {
		say("restart of %s by %s", r.Node, r.By)
	}
	for _, f := range t.Findings {
		say("finding %s %s %s: want %s: got %s: %s", f.Objective, f.Outcome, f.Severity, f.Want, f.Got, f.Text)
		if f.Severity == "" {
			out[len(out)-1] = strings.Replace(out[len(out)-1], " : want", ": want", 1)
		}
	}
	if t.Training != nil {
		renderTraining(say, t.Training)
	}
	for _, l := range t.Leftovers {
		say("leftover %s on %s: %s", l.What, l.Node, l.Command)
	}
	return out
}

func renderTraining(say func(string, ...any), t *verdict.Training) {
	for _, x := range []struct {
		name string
		m    *verdict.Metric
	}{{"told", t.Told}, {"alert", t.Alert}, {"human", t.Human}, {"machine", t.Machine}, {"total", t.Total}, {"closing", t.Closing}} {
		if x.m == nil {
			say("training %s null: %s", x.name, t.Reasons[x.name])
			continue
		}
		say("training %s %s%s", x.name, between(x.m.LoMS, x.m.HiMS), censored(x.m.Censored))
	}
	for _, s := range slices.Concat(t.Stamps, t.Paced) {
		say("training %s by %s %s", s.What, s.By, s.Note)
	}
	for _, h := range t.Hints {
		say("training hint %d for %s: %s", h.N, h.By, h.Text)
	}
	say("training price %gs %d points", t.PriceS, t.PricePoints)
}

func renderMetric(raw json.RawMessage, reason string) string {
	var m *verdict.Metric
	if err := json.Unmarshal(raw, &m); err != nil {
		panic(err)
	}
	if m == nil {
		return "null: " + reason
	}
	return between(m.LoMS, m.HiMS) + censored(m.Censored)
}

func between(lo, hi float64) string {
	d := func(ms float64) time.Duration { return timeline.FromMS(ms).Round(time.Millisecond) }
	return fmt.Sprintf("%v..%v", d(lo), d(hi))
}

func censored(c bool) string {
	if c {
		return " censored"
	}
	return ""
}
