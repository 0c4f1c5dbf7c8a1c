package selftest

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
)

// Schema is the format of a Report as JSON.
const Schema = "dapple.selftest/v1"

// A Report is what all runs showed together.
type Report struct {
	Schema string `json:"schema"`
	Seed   uint64 `json:"seed"`
	Runs   int    `json:"runs"`
	// Counted are the runs whose drill was made.
	Counted    int         `json:"counted"`
	Metrics    []Metric    `json:"metrics"`
	Wrong      []Miss      `json:"wrong"`
	NotCounted []Uncounted `json:"not_counted"`
	Controls   []Control   `json:"controls"`
	NotProven  []string    `json:"not_proven"`

	sums map[string]*sum
}

// A Metric is how well one number was measured in all runs; times in ms.
type Metric struct {
	Name string `json:"name"`
	N    int    `json:"n"`
	// Bias is the mean of how far the middle of the interval was from the truth,
	// Spread the standard deviation of that.
	Bias       float64 `json:"bias"`
	Spread     float64 `json:"spread"`
	Width      float64 `json:"median_width"`
	WorstWidth float64 `json:"worst_width"`
	// Bound is that of the run whose width came closest to it.
	Bound   float64 `json:"bound,omitempty"`
	Outside int     `json:"outside"`
	TooWide int     `json:"too_wide"`
}

// A Miss is a reading that was wrong.
type Miss struct {
	Seed uint64 `json:"seed"`
	Case Case   `json:"case"`
	Reading
}

// An Uncounted run is one whose drill was not made.
type Uncounted struct {
	Seed uint64 `json:"seed"`
	Why  string `json:"why"`
}

// A Control is a run of a pipeline that is broken on purpose.
type Control struct {
	Name   string `json:"name"`
	Caught bool   `json:"caught"`
	// NotCounted: its drill was not made, or not finely enough to show it.
	NotCounted bool   `json:"not_counted,omitempty"`
	Said       string `json:"said"` // what was found wrong, or why nothing was
}

type sum struct {
	offs, widths []float64
	m            Metric
}

func newReport(o Options) Report {
	return Report{
		Schema: Schema, Seed: o.Seed, Metrics: []Metric{}, Wrong: []Miss{}, NotCounted: []Uncounted{}, Controls: []Control{},
		NotProven: notProven(), sums: map[string]*sum{},
	}
}

// notProven is what no run shows.
func notProven() []string {
	return []string{
		"stale_reads: nothing reads in a drill yet",
		"goodput_loss, stable and full: they are rates over a quarter of a second, and have no instant to be compared with",
	}
}

func (r *Report) add(x Result) {
	r.Runs++
	if x.Why != "" {
		r.NotCounted = append(r.NotCounted, Uncounted{x.Case.Seed, x.Why})
		return
	}
	r.Counted++
	for _, y := range x.Readings {
		r.read(y)
		if y.Wrong != "" {
			r.Wrong = append(r.Wrong, Miss{x.Case.Seed, x.Case, y})
		}
	}
}

func (r *Report) read(y Reading) {
	s := r.sums[y.Metric]
	if s == nil {
		s = &sum{m: Metric{Name: y.Metric}}
		r.sums[y.Metric] = s
	}
	s.m.N++
	switch y.Wrong {
	case "":
	case tooWide:
		s.m.TooWide++
	default:
		s.m.Outside++
	}
	if y.Wrong != "" && y.Wrong != tooWide && y.Wrong != outside {
		return // it has no interval
	}
	s.offs, s.widths = append(s.offs, y.off()), append(s.widths, y.width())
	if y.Bound > 0 && (s.m.Bound == 0 || y.width()/y.Bound > s.m.WorstWidth/s.m.Bound) {
		s.m.WorstWidth, s.m.Bound = y.width(), y.Bound
	}
	if y.Bound == 0 && s.m.Bound == 0 {
		s.m.WorstWidth = max(s.m.WorstWidth, y.width())
	}
}

func (r *Report) control(name string, x Result) {
	c := Control{Name: name, Said: or(x.Why, "nothing was found wrong"), NotCounted: x.Why != ""}
	want, err := controlOf(name)
	for _, y := range x.Readings {
		switch {
		case err != nil || y.Metric != want.metric || c.Caught:
		case y.Wrong != "":
			c.Caught, c.NotCounted, c.Said = true, false, y.Metric+": "+y.Wrong
		case !want.shows(y):
			c.NotCounted, c.Said = true, "the machine was too busy for it: "+y.Metric+" was measured as "+pair(y.Got)+", the truth known as "+pair(y.Truth)
		}
	}
	r.Controls = append(r.Controls, c)
}

func (r *Report) finish() {
	for _, s := range r.sums {
		s.m.Bias, s.m.Spread = mean(s.offs)
		if len(s.widths) > 0 {
			slices.Sort(s.widths)
			s.m.Width = s.widths[len(s.widths)/2]
		}
		r.Metrics = append(r.Metrics, s.m)
	}
	slices.SortFunc(r.Metrics, func(a, b Metric) int { return cmp.Compare(place(a.Name), place(b.Name)) })
	slices.SortFunc(r.Wrong, func(a, b Miss) int { return cmp.Compare(a.Seed, b.Seed) })
	slices.SortFunc(r.NotCounted, func(a, b Uncounted) int { return cmp.Compare(a.Seed, b.Seed) })
	slices.SortFunc(r.Controls, func(a, b Control) int { return cmp.Compare(a.Name, b.Name) })
}

// place is the place of a metric among all.
func place(name string) int {
	return slices.Index([]string{
		"effect", "detection", "election", "promotion", "routing", "outage", "rto", "fence_lag", "rejoin", "redundancy",
		"false_green", "false_red", "lost", "rpo", "late", "duplicate", "phantom", "split_brain", "overlap", "verdict",
	}, name)
}

func mean(xs []float64) (m, deviation float64) {
	if len(xs) == 0 {
		return 0, 0
	}
	for _, x := range xs {
		m += x / float64(len(xs))
	}
	for _, x := range xs {
		deviation += (x - m) * (x - m) / float64(len(xs))
	}
	return m, math.Sqrt(deviation)
}

// Proven says whether every run held the truth, within the bounds, and every
// control was caught, of those that count.
func (r *Report) Proven() bool {
	return len(r.Wrong) == 0 && !slices.ContainsFunc(r.Controls, func(c Control) bool { return !c.Caught && !c.NotCounted })
}

// Complete says whether every run and every control counts.
func (r *Report) Complete() bool {
	return r.Counted == r.Runs && !slices.ContainsFunc(r.Controls, func(c Control) bool { return c.NotCounted })
}

// Text writes the report for people.
func (r *Report) Text(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "metric\truns\tbias\tspread\twidth\tworst\tbound\toutside\ttoo wide\t")
	for _, m := range r.Metrics {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t\n", m.Name, m.N,
			number(m.Bias), number(m.Spread), number(m.Width), number(m.WorstWidth), bound(m.Bound), m.Outside, m.TooWide)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, c := range r.Controls {
		word := "caught"
		switch {
		case c.NotCounted:
			word = "not counted"
		case !c.Caught:
			word = "NOT CAUGHT"
		}
		fmt.Fprintf(out, "control %s: %s (%s)\n", c.Name, word, c.Said)
	}
	for _, m := range r.Wrong {
		fmt.Fprintf(out, "WRONG seed %d, %s: %s: truth %s, measured %s, bound %s: %s\n      dapple selftest --runs 1 --seed %d\n",
			m.Seed, m.Case.String(), m.Metric, pair(m.Truth), pair(m.Got), bound(m.Bound), m.Reading.Wrong, m.Seed)
	}
	for _, u := range r.NotCounted {
		fmt.Fprintf(out, "not counted: seed %d: %s\n", u.Seed, u.Why)
	}
	for _, n := range r.NotProven {
		fmt.Fprintf(out, "not proven: %s\n", n)
	}
	_, err := fmt.Fprintln(out, r.summary())
	return err
}

func (r *Report) summary() string {
	caught := 0
	for _, c := range r.Controls {
		if c.Caught {
			caught++
		}
	}
	readings, bad := 0, map[uint64]bool{}
	for _, m := range r.Metrics {
		readings += m.N
	}
	for _, m := range r.Wrong {
		bad[m.Seed] = true
	}
	return fmt.Sprintf("%d of %d runs hold the truth in all of their numbers (%d in all); %d of %d broken pipelines were caught",
		r.Counted-len(bad), r.Runs, readings, caught, len(r.Controls))
}

// number is a figure in ms, or a count.
func number(x float64) string {
	if x == 0 {
		return "0"
	}
	return fmt.Sprintf("%.1f", x)
}

func bound(x float64) string {
	if x == 0 {
		return "–"
	}
	return number(x)
}

func pair(x [2]float64) string {
	if x[0] == x[1] {
		return fmt.Sprintf("%.3f", x[0])
	}
	return fmt.Sprintf("[%.3f, %.3f]", x[0], x[1])
}
