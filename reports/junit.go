package reports

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/verdict"
)

// The subset of JUnit's XML that Jenkins, GitLab, Buildkite and testmo all read.
type (
	junitSuites struct {
		XMLName xml.Name     `xml:"testsuites"`
		Name    string       `xml:"name,attr"`
		Suites  []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name       string          `xml:"name,attr"`
		Tests      int             `xml:"tests,attr"`
		Failures   int             `xml:"failures,attr"`
		Errors     int             `xml:"errors,attr"`
		Skipped    int             `xml:"skipped,attr"`
		Time       string          `xml:"time,attr"`
		Timestamp  string          `xml:"timestamp,attr,omitempty"`
		Properties []junitProperty `xml:"properties>property,omitempty"`
		Cases      []junitCase     `xml:"testcase"`
	}
	junitProperty struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	}
	junitCase struct {
		Class   string        `xml:"classname,attr"`
		Name    string        `xml:"name,attr"`
		Time    string        `xml:"time,attr"`
		Failure *junitOutcome `xml:"failure"`
		Error   *junitOutcome `xml:"error"`
		Skipped *junitOutcome `xml:"skipped"`
	}
	junitOutcome struct {
		Type    string `xml:"type,attr,omitempty"`
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// JUnit writes a suite per run, with a test case per objective and trial. A
// missed objective is a failure; an inconclusive one is skipped; a trial that is
// invalid or aborted is one error, since it says nothing about the system. So no
// reader of the file can take the last two for a pass or for a miss; the exit
// code says the rest. A scenario that does not fit the system is a skipped case,
// one that could not be drilled an error.
func JUnit(w io.Writer, b Batch) error {
	all := junitSuites{Name: "dapple"}
	var others []junitCase
	for _, e := range b {
		if e.Run != nil {
			all.Suites = append(all.Suites, suiteOf(&e.Run.Record, e.Err))
			continue
		}
		c := junitCase{Class: "dapple.scenarios", Name: clean(e.Scenario), Time: "0.000"}
		if e.Skipped != "" {
			c.Skipped = &junitOutcome{Type: "skipped", Message: e.Skipped}
		} else {
			c.Error = &junitOutcome{Type: strings.ToLower(e.outcome()), Message: e.Err}
		}
		others = append(others, c)
	}
	if len(others) > 0 {
		all.Suites = append(all.Suites, junitSuite{Name: "not drilled", Time: "0.000", Cases: others})
	}
	byClass := map[[2]string]int{}
	for i := range all.Suites {
		unique(all.Suites[i].Cases, byClass)
		all.Suites[i].count()
	}
	return writeXML(w, all)
}

// suiteOf is the suite of one run; err is what went wrong besides its verdict.
func suiteOf(rec *drills.Record, err string) junitSuite {
	suite := junitSuite{Name: orText(rec.Drill.Name, "drill"), Properties: properties(rec), Time: "0.000"}
	if d := rec.Finished.Sub(rec.Started); d > 0 {
		suite.Time = fix(d.Seconds(), 3)
	}
	if !rec.Started.IsZero() {
		suite.Timestamp = rec.Started.UTC().Format("2006-01-02T15:04:05")
	}
	for i := range rec.Trials {
		suite.Cases = append(suite.Cases, cases(rec, &rec.Trials[i])...)
	}
	if len(rec.Trials) == 0 {
		suite.Cases = []junitCase{{Class: class(rec, 0), Name: "trial", Time: "0.000",
			Error: &junitOutcome{Type: orText(string(rec.Verdict), "invalid"), Message: orText(rec.Reason, "no trial was done")}}}
	}
	if err != "" {
		suite.Cases = append(suite.Cases, junitCase{Class: class(rec, 0), Name: "drill", Time: "0.000", Error: &junitOutcome{Type: "error", Message: err}})
	}
	return suite
}

// count counts the outcomes of the suite.
func (s *junitSuite) count() {
	for _, c := range s.Cases {
		s.Tests++
		switch {
		case c.Failure != nil:
			s.Failures++
		case c.Error != nil:
			s.Errors++
		case c.Skipped != nil:
			s.Skipped++
		}
	}
}

func writeXML(w io.Writer, v any) error {
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return fmt.Errorf("writing JUnit: %w", err)
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("writing JUnit: %w", err)
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func properties(rec *drills.Record) []junitProperty {
	out := []junitProperty{{"run", rec.Run}, {"verdict", string(rec.Verdict)}, {"claim", rec.Claim}, {"system", rec.System.Name},
		{"kind", rec.System.Kind}, {"dapple", rec.Dapple.Version}, {"scenario_sha256", rec.Drill.ScenarioSHA256}, {"seed", fmt.Sprint(rec.Seed)}}
	eps := 0.0
	for _, t := range rec.Trials {
		eps = max(eps, t.Metrics.Tool.ClockEpsMS)
	}
	return append(out, junitProperty{"clock_eps_ms", fix(eps, 3)})
}

// class is shown as the suite by GitLab, which ignores a second case of one
// class and name: hence the trial is part of it.
func class(rec *drills.Record, trial int) string {
	return fmt.Sprintf("dapple.%s.trial-%d", strings.Join(strings.Fields(orText(rec.Drill.Name, "drill")), "-"), trial)
}

func cases(rec *drills.Record, t *verdict.Trial) []junitCase {
	name := class(rec, t.N)
	var out []junitCase
	if t.Verdict == verdict.Invalid || t.Verdict == verdict.Aborted {
		out = append(out, junitCase{Class: name, Name: "trial", Time: "0.000",
			Error: &junitOutcome{Type: string(t.Verdict), Message: orText(t.Reason, meaning(t.Verdict))}})
	}
	for _, f := range t.Findings {
		if f.Severity == "warning" || f.Outcome == verdict.Informational || t.Verdict == verdict.Invalid {
			continue
		}
		out = append(out, caseOf(rec, t, name, f))
	}
	for _, l := range t.Leftovers {
		out = append(out, junitCase{Class: name, Name: "leftover", Time: "0.000",
			Error: &junitOutcome{Type: "leftover", Message: joinWords(" on ", l.What, l.Node) + " is still in place", Text: l.Command}})
	}
	return out
}

func caseOf(rec *drills.Record, t *verdict.Trial, name string, f verdict.Finding) junitCase {
	c := junitCase{Class: name, Name: orText(f.Objective, "finding"), Time: "0.000"}
	r := rowOf(rec, t, f)
	if m := measured(t, f.Objective); m.Known {
		c.Time = fix(max(0, m.mid())/float64(time.Second/time.Millisecond), 3)
	}
	o := &junitOutcome{Type: "objective", Message: plain(joinWords(", ", r.Label+": got "+orText(r.Got, "nothing"), "wanted "+orText(r.Want, "nothing"), r.Margin)),
		Text: joinWords("\n", f.Text, "events: "+orText(events(f.Events), "none"), r.Exact)}
	switch f.Outcome {
	case verdict.Missed:
		c.Failure = o
	case verdict.Met:
	default:
		o.Type, o.Message = string(f.Outcome), string(f.Outcome)+": "+o.Message
		c.Skipped = o
	}
	return c
}

// plain is s with ordinary spaces.
func plain(s string) string { return strings.ReplaceAll(s, nbsp, " ") }

// unique numbers cases that share class and name, also with those seen before.
func unique(cs []junitCase, seen map[[2]string]int) {
	for i := range cs {
		key := [2]string{cs[i].Class, cs[i].Name}
		if seen[key]++; seen[key] > 1 {
			cs[i].Name = fmt.Sprintf("%s %d", cs[i].Name, seen[key])
		}
	}
}
