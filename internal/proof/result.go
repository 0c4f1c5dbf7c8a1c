package proof

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/verdict"
)

// A result is what became of the drills of a row.
type result struct {
	row
	caught, missedIt, untold tally // of the twin
	silent, alarms, unclear  tally // of the sound cluster
	versions                 map[string]string
}

// A tally is how often, and in which words the first time.
type tally struct {
	n    int
	said string
}

func (t *tally) add(said string) {
	if t.n++; t.said == "" {
		t.said = said
	}
}

// read takes in the record of one drill; none is one that could not be told.
func (r *result) read(dir string, twin bool) error {
	rec, err := drills.ReadRecord(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.count(drills.Record{Verdict: verdict.Invalid, Reason: "not drilled"}, twin)
		return nil
	case err != nil:
		return err
	}
	r.count(rec, twin)
	return nil
}

func (r *result) count(rec drills.Record, twin bool) {
	said, seen := r.signature.seen(rec)
	if r.versions == nil {
		r.versions = rec.System.Versions
	}
	answered := rec.Verdict == verdict.Pass || rec.Verdict == verdict.Fail
	switch {
	case twin && seen:
		r.caught.add(said)
	case twin && answered:
		r.missedIt.add(string(rec.Verdict) + ": " + rec.Reason)
	case twin:
		r.untold.add(string(rec.Verdict) + ": " + rec.Reason)
	case seen:
		r.alarms.add(said)
	case rec.Verdict == verdict.Fail:
		r.alarms.add(rec.Reason)
	case rec.Verdict == verdict.Pass, rec.Verdict == verdict.Inconclusive && r.cleared(rec):
		r.silent.add("")
	default:
		r.unclear.add(string(rec.Verdict) + ": " + rec.Reason)
	}
}

// cleared says whether the one objective that decides is met.
func (r *result) cleared(rec drills.Record) bool {
	_, ok := find(rec, r.clears, func(f verdict.Finding) bool { return f.Outcome == verdict.Met })
	return ok && r.clears != ""
}

func (r *result) line() string {
	s := fmt.Sprintf("row %-2d %-26s %s: %s", r.no, r.scenario, r.bad, r.twin())
	return s + fmt.Sprintf("; %s: %s", r.good, r.sound())
}

func (r *result) twin() string {
	if r.lacks != "" {
		return "not drilled: " + r.lacks
	}
	return count(named{"caught", r.caught}, named{"missed", r.missedIt}, named{"not told", r.untold})
}

func (r *result) sound() string {
	return count(named{"silent", r.silent}, named{"alarm", r.alarms}, named{"not told", r.unclear})
}

type named struct {
	word string
	tally
}

func count(all ...named) string {
	var parts []string
	n := 0
	for _, x := range all {
		n += x.n
	}
	for _, x := range all {
		if x.n > 0 {
			parts = append(parts, fmt.Sprintf("%s %d of %d", x.word, x.n, n))
		}
	}
	return strings.Join(parts, ", ")
}

// failures are the twins that were not caught and the alarms of sound clusters.
func failures(all []result) error {
	var errs []error
	for _, r := range all {
		if r.missedIt.n > 0 {
			errs = append(errs, fmt.Errorf("row %d: %s was not caught: %s", r.no, r.bad, r.missedIt.said))
		}
		if r.alarms.n > 0 {
			errs = append(errs, fmt.Errorf("row %d: %s raised an alarm: %s", r.no, r.good, r.alarms.said))
		}
		if r.untold.n+r.unclear.n > 0 {
			errs = append(errs, fmt.Errorf("row %d: %d drills told nothing: %s", r.no, r.untold.n+r.unclear.n, strings.TrimSpace(r.untold.said+" "+r.unclear.said)))
		}
	}
	return errors.Join(errs...)
}

const head = `# Track record

What dapple has caught. Each line is a cluster with one known mistake (the twin) and
the same cluster without it. Caught means that the drill said so in the words of the
signature; silent, that the drill of the sound cluster passed, or was inconclusive only
in what the row is not about. What could not be told
(the machine was too busy, or it was not drilled yet) is counted apart.

Written by ` + "`make proof`" + `, from the records of real drills; the table of rows is in
` + "`internal/proof/rows.go`" + `.

`

func markdown(all []result) string {
	var b strings.Builder
	b.WriteString(head)
	b.WriteString("| row | drill | twin: its mistake | signature | twin | sound |\n|---|---|---|---|---|---|\n")
	for _, r := range all {
		fmt.Fprintf(&b, "| %d | %s | %s: %s | %s | %s | %s: %s |\n", r.no, r.scenario, r.bad, r.setting, r.signature.words, r.twin(), r.good, r.sound())
	}
	b.WriteString("\n## What was said\n")
	for _, r := range all {
		fmt.Fprintf(&b, "\n### Row %d: %s on %s\n\n", r.no, r.scenario, r.bad)
		fmt.Fprintf(&b, "    dapple %s\n\n", strings.Join(command(r.scenario, r.bad), " "))
		for _, x := range []named{{"Caught", r.caught}, {"Missed", r.missedIt}, {"Not told", r.untold}, {"Alarm on " + r.good, r.alarms}, {"Not told on " + r.good, r.unclear}} {
			if x.n > 0 {
				fmt.Fprintf(&b, "* %s: %s\n", x.word, x.said)
			}
		}
		if len(r.versions) > 0 {
			var vs []string
			for _, k := range slices.Sorted(maps.Keys(r.versions)) {
				vs = append(vs, k+" "+r.versions[k])
			}
			fmt.Fprintf(&b, "* Versions: %s\n", strings.Join(vs, ", "))
		}
	}
	return b.String()
}
