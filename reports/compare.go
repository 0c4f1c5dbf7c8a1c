package reports

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/dapple-drills/dapple/drills/verdict"
	"github.com/dapple-drills/dapple/internal/stats"
)

// CompareSchema is the format of a comparison as JSON.
const CompareSchema = "dapple.diff/v1"

// A Comparison is what two runs say beside each other: before and after a change.
type Comparison struct {
	Schema  string       `json:"schema"`
	Before  Side         `json:"before"`
	After   Side         `json:"after"`
	Doubts  []string     `json:"doubts"` // why the two may not be comparable
	Changed []Change     `json:"changed"`
	Metrics []MetricDiff `json:"metrics"`
	Lost    [2]*int64    `json:"lost_writes"` // in all trials that count; null if no audit
	Split   [2]int       `json:"split_brain_level"`
}

// A Side is one of the two runs.
type Side struct {
	Run     string          `json:"run"`
	Drill   string          `json:"drill"`
	System  string          `json:"system"`
	Started string          `json:"started"` // RFC 3339
	Verdict verdict.Verdict `json:"verdict"`
	Claim   string          `json:"claim"`
	N       int             `json:"n"` // trials that count
}

// A Change is a setting, a version or a part of the scenario that differs; nil is
// absent.
type Change struct {
	What   string  `json:"what"` // setting, version, objective, scenario, dapple
	Name   string  `json:"name"`
	Before *string `json:"before"`
	After  *string `json:"after"`
}

// The calls on a metric.
const (
	CallSame     = "within the error bars"      // no difference is proven
	CallApart    = "beyond the error bars"      // the measurements differ; chance is not excluded
	CallDiffers  = "beyond chance"              // and so do the systems, with 95 % confidence
	CallMissing  = "measured on one side alone" //
	significance = 0.05
)

// A MetricDiff compares the medians of a metric. DeltaMS are the bounds of after
// minus before.
type MetricDiff struct {
	Name     string      `json:"name"`
	Label    string      `json:"-"`
	Before   *[2]float64 `json:"before_ms"`
	After    *[2]float64 `json:"after_ms"`
	N        [2]int      `json:"n"`
	DeltaMS  *[2]float64 `json:"delta_ms"`
	P        *float64    `json:"p,omitempty"` // upper bound, two-sided, if the same system gave both
	Call     string      `json:"call"`
	Censored bool        `json:"censored,omitempty"` // a value has no upper bound
}

// Compare compares two runs. A difference is "beyond the error bars" if no values
// within the bounds of both medians are equal; and "beyond chance" if, moreover,
// trials of one and the same system would be so far apart in at most one of
// twenty series (rank sum, only pairs whose order is certain).
func Compare(before, after Run) Comparison {
	a, b := &before.Record, &after.Record
	c := Comparison{Schema: CompareSchema, Before: sideOf(before), After: sideOf(after), Doubts: doubts(before, after), Changed: changes(before, after), Metrics: []MetricDiff{}}
	as, bs := counted(a.Trials), counted(b.Trials)
	for _, m := range metrics() {
		if d, any := m.diff(as, bs); any {
			c.Metrics = append(c.Metrics, d)
		}
	}
	c.Lost = [2]*int64{lostIn(as), lostIn(bs)}
	c.Split = [2]int{splitIn(as), splitIn(bs)}
	return c
}

func sideOf(r Run) Side {
	rec := &r.Record
	return Side{rec.Run, rec.Drill.Name, rec.System.Name, rec.Started.Format("2006-01-02T15:04:05Z07:00"), rec.Verdict, rec.Claim, len(counted(rec.Trials))}
}

// diff compares the readings of a metric in two series.
func (m metric) diff(as, bs []verdict.Trial) (d MetricDiff, any bool) {
	a, b := m.readings(as), m.readings(bs)
	d = MetricDiff{Name: m.Name, Label: m.Label, N: [2]int{len(a), len(b)}, Call: CallMissing}
	if len(a) > 0 {
		d.Before = median(a)
	}
	if len(b) > 0 {
		d.After = median(b)
	}
	if len(a) == 0 || len(b) == 0 {
		return d, len(a)+len(b) > 0
	}
	d.Censored = slices.ContainsFunc(slices.Concat(a, b), func(r reading) bool { return r.Censored })
	d.DeltaMS = &[2]float64{d.After[0] - d.Before[1], d.After[1] - d.Before[0]}
	p := stats.RankSum(len(a), len(b), max(below(a, b), below(b, a)))
	d.P = &p
	apart := d.Before[1] < d.After[0] || d.After[1] < d.Before[0]
	switch {
	case apart && p <= significance:
		d.Call = CallDiffers
	case apart:
		d.Call = CallApart
	default:
		d.Call = CallSame
	}
	return d, true
}

// readings are those that were measured. What was cut short has no upper bound:
// it is taken as high as anything.
func (m metric) readings(trials []verdict.Trial) (out []reading) {
	for i := range trials {
		r := m.of(&trials[i])
		if r.Censored {
			r.Hi = largest
		}
		if r.Known {
			out = append(out, r)
		}
	}
	return out
}

func median(rs []reading) *[2]float64 {
	var los, his []float64
	for _, r := range rs {
		los, his = append(los, r.Lo), append(his, r.Hi)
	}
	return &[2]float64{stats.Median(los), stats.Median(his)}
}

// below counts the pairs of which the first is certainly less.
func below(as, bs []reading) (n int) {
	for _, a := range as {
		for _, b := range bs {
			if a.Hi < b.Lo {
				n++
			}
		}
	}
	return n
}

func lostIn(trials []verdict.Trial) *int64 {
	var sum *int64
	for _, t := range trials {
		if l := t.Metrics.Loss; l != nil {
			if sum == nil {
				sum = new(int64)
			}
			*sum += l.Lost
		}
	}
	return sum
}

func splitIn(trials []verdict.Trial) (level int) {
	for _, t := range trials {
		level = max(level, t.Metrics.SplitBrain.Level)
	}
	return level
}

// doubts are why a difference may not be that of the settings.
func doubts(before, after Run) []string {
	a, b := &before.Record, &after.Record
	out := []string{}
	add := func(differ bool, format string, args ...any) {
		if differ {
			out = append(out, fmt.Sprintf(format, args...))
		}
	}
	add(a.Drill.ScenarioSHA256 != b.Drill.ScenarioSHA256, "the scenarios are not the same file: %s and %s", orText(a.Drill.Name, "?"), orText(b.Drill.Name, "?"))
	add(a.System.Kind != b.System.Kind, "the systems are of two kinds: %s and %s", a.System.Kind, b.System.Kind)
	add(a.Dapple.Version != b.Dapple.Version, "two versions of dapple measured: %s and %s", a.Dapple.Version, b.Dapple.Version)
	add(len(counted(a.Trials)) == 0 || len(counted(b.Trials)) == 0, "of one of them no trial counts")
	return out
}

// changes lists what is not the same, settings first.
func changes(before, after Run) []Change {
	a, b := &before.Record, &after.Record
	out := []Change{}
	for _, c := range []struct {
		what string
		a, b map[string]string
	}{
		{"setting", a.System.Settings, b.System.Settings},
		{"version", a.System.Versions, b.System.Versions},
		{"objective", flat(a.Objectives), flat(b.Objectives)},
		{"scenario", flat(a.Scenario), flat(b.Scenario)},
	} {
		names := maps.Clone(c.a)
		if names == nil {
			names = map[string]string{}
		}
		maps.Copy(names, c.b)
		for _, name := range sortedKeys(names) {
			x, inA := c.a[name]
			y, inB := c.b[name]
			if x != y || inA != inB {
				out = append(out, Change{c.what, name, whole(x, inA), whole(y, inB)})
			}
		}
	}
	return out
}

func whole(s string, there bool) *string {
	if !there {
		return nil
	}
	return &s
}

// flat is a struct of the record as names and values, for comparison. What only
// says where it stood, or what happened, is no change.
func flat(v any) map[string]string {
	out := map[string]string{}
	data, err := json.Marshal(v)
	var tree any
	if err != nil || json.Unmarshal(data, &tree) != nil {
		return out
	}
	var walk func(name string, v any)
	walk = func(name string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, e := range v {
				if k != "line" && k != "col" && k != "node_dead" && k != "bent" {
					walk(joinWords(".", name, k), e)
				}
			}
		case []any:
			for i, e := range v {
				walk(fmt.Sprintf("%s[%d]", name, i), e)
			}
		default:
			out[name] = fmt.Sprint(v)
		}
	}
	walk("", tree)
	return out
}

// JSON writes the comparison for a program.
func (c Comparison) JSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(c); err != nil {
		return fmt.Errorf("writing the comparison: %w", err)
	}
	return nil
}
