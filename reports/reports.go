// Package reports makes a run readable: for a terminal, for a browser, for a
// pull request, for a CI server and for a program.
//
// A report is a pure function of the record and its timeline: it measures
// nothing, judges nothing, and reads neither a clock nor a system. A number that
// a report shows is a number of the record, rounded so that the printed interval
// still holds the measured one. What happens while a drill runs is package live.
package reports

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/timeline"
)

// RecordFile and TimelineFile are the names of the two files of a run's folder
// from which every report is made (contract: files).
const (
	RecordFile   = "record.json"
	TimelineFile = "timeline.jsonl"
)

// A Run is all that reports are made from.
type Run struct {
	Record   drills.Record
	Timeline timeline.Timeline
	Dir      string // where it was loaded from; only quoted
	// Beside are records of the same drill whose phase-locked trials are drawn beside
	// the series of this one: no figure depends on them.
	Beside []drills.Record
}

// A Format is one way to write a run.
type Format struct {
	Name    string // as --format has it
	File    string // its name in the run's folder
	Summary string // one line, for the help
	Write   func(w io.Writer, r Run) error
	// All writes several runs, and what was not drilled, into one file; nil for a
	// format that shows one run.
	All func(w io.Writer, b Batch) error
}

// several is a format whose file may hold several runs.
func several(name, file, summary string, all func(w io.Writer, b Batch) error) Format {
	return Format{name, file, summary, func(w io.Writer, r Run) error { return all(w, one(r)) }, all}
}

// MaxMarkdown bounds the Markdown of a batch: GitHub takes 1 MiB for all steps of
// a job, and a page that long is read by nobody.
const MaxMarkdown = 64 << 10

// Formats lists the formats, sorted by name.
func Formats() []Format {
	return []Format{
		several("github", "github.txt", "annotations for GitHub Actions, at the scenario's step", GitHub),
		several("gitlab", "gitlab-metrics.txt", "a GitLab metrics report: what has changed is shown in the merge request", GitLab),
		{"html", "report.html", "one self-contained page: verdict, timeline picture, evidence", HTML, nil},
		{"json", RecordFile, "the record itself", JSON, nil},
		several("junit", "junit.xml", "a test case per objective and trial, for CI servers", JUnit),
		{"md", "report.md", "Markdown, for a pull request or a wiki", Markdown, func(w io.Writer, b Batch) error { return b.Markdown(w, MaxMarkdown) }},
		several("openmetrics", "dapple.prom", "gauges for a Prometheus textfile collector", OpenMetrics),
		{"text", "report.txt", "what a terminal shows, 80 columns, no colour", func(w io.Writer, r Run) error { return Text(w, r, Plain) },
			func(w io.Writer, b Batch) error { return b.TextTable(w, Plain) }},
	}
}

// Find returns the format of that name.
func Find(name string) (Format, error) {
	all := Formats()
	names := make([]string, len(all))
	for i, f := range all {
		if f.Name == name {
			return f, nil
		}
		names[i] = f.Name
	}
	return Format{}, fmt.Errorf("no report format %q; there are: %s", name, strings.Join(names, ", "))
}

// Write writes the named formats into dir under their own file names; without
// names, those that the contract puts into a run's folder: html, junit and md.
// A file is replaced whole or not at all.
func Write(dir string, r Run, kinds ...string) error {
	if len(kinds) == 0 {
		kinds = []string{"html", "junit", "md"}
	}
	var errs []error
	for _, k := range slices.Compact(slices.Sorted(slices.Values(kinds))) {
		f, err := Find(k)
		if err == nil {
			err = writeFile(filepath.Join(dir, f.File), func(w io.Writer) error { return f.Write(w, r) })
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// writeFile renders in memory first, so that a report that cannot be made
// leaves nothing behind, then replaces path by rename(2).
func writeFile(path string, render func(io.Writer) error) error {
	var b bytes.Buffer
	if err := render(&b); err != nil {
		return fmt.Errorf("making %s: %w", filepath.Base(path), err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".report-*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	_, err = f.Write(b.Bytes())
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("writing %s: %w", path, err), os.Remove(f.Name()))
	}
	return nil
}

// JSON writes the record as record.json has it.
func JSON(w io.Writer, r Run) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(r.Record); err != nil {
		return fmt.Errorf("writing the record: %w", err)
	}
	return nil
}

func orText(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
