// Package ci speaks to the CI server in whose job dapple runs: it folds the
// progress of a drill in the job's log, and hands over what the server shows
// beside it. GitHub Actions gets annotations at the scenario's step, a summary
// and outputs; GitLab gets sections.
//
// What is shown is made by package reports. Nothing here decides a verdict or an
// exit code, and outside of CI nothing is written at all.
package ci

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/reports"
)

// A Server is a kind of CI server.
type Server string

// The servers that are known; None is no CI job.
const (
	None   Server = ""
	GitHub Server = "github"
	GitLab Server = "gitlab"
)

// A Job is the job in which this process runs. Its methods are called by one
// goroutine.
type Job struct {
	Server Server
	log    io.Writer
	now    func() time.Time

	summary, output string // files of GitHub's runner; "" if it gives none
	workspace       string
	section         string // of GitLab, while it is open
	open            bool
	sections        int
}

// Detect tells the server by the variables that it sets in every job: GitHub
// GITHUB_ACTIONS, GitLab GITLAB_CI. log is where its commands are read: the log
// of the job.
func Detect(getenv func(string) string, log io.Writer, now func() time.Time) *Job {
	j := &Job{log: log, now: now}
	switch {
	case getenv("GITHUB_ACTIONS") == "true":
		j.Server = GitHub
		j.summary, j.output, j.workspace = getenv("GITHUB_STEP_SUMMARY"), getenv("GITHUB_OUTPUT"), getenv("GITHUB_WORKSPACE")
	case getenv("GITLAB_CI") == "true":
		j.Server = GitLab
		j.workspace = getenv("CI_PROJECT_DIR")
	}
	return j
}

// Open begins a part of the log that the server folds. It ends with Close, or
// with the next one: they do not nest.
func (j *Job) Open(title string) {
	j.Close()
	title = strings.Join(strings.Fields(title), " ")
	switch j.Server {
	case GitHub:
		fmt.Fprintf(j.log, "::group::%s\n", title)
	case GitLab:
		j.sections++
		j.section = fmt.Sprintf("dapple_%d", j.sections)
		fmt.Fprintf(j.log, "\x1b[0Ksection_start:%d:%s[collapsed=true]\r\x1b[0K%s\n", j.now().Unix(), j.section, title)
	default:
		return
	}
	j.open = true
}

// Close ends the part that is open; there may be none.
func (j *Job) Close() {
	if !j.open {
		return
	}
	j.open = false
	switch j.Server {
	case GitHub:
		fmt.Fprintln(j.log, "::endgroup::")
	case GitLab:
		fmt.Fprintf(j.log, "\x1b[0Ksection_end:%d:%s\r\x1b[0K\n", j.now().Unix(), j.section)
	}
}

// An Output is a value that later steps of the job may read.
type Output struct{ Name, Value string }

// Done hands over what the drills came to. annotate is false if the caller was
// asked to write the annotations itself.
func (j *Job) Done(b reports.Batch, outputs []Output, annotate bool) error {
	j.Close()
	if j.Server != GitHub {
		return nil
	}
	b = j.relative(b)
	var errs []error
	if annotate {
		errs = append(errs, reports.GitHub(j.log, b))
	}
	errs = append(errs,
		appendTo(j.summary, "the step summary", func(w io.Writer) error { return b.Markdown(w, reports.MaxMarkdown) }),
		appendTo(j.output, "the outputs", func(w io.Writer) error { return writeOutputs(w, outputs) }))
	return errors.Join(errs...)
}

// Problems shows the mistakes of files where they are.
func (j *Job) Problems(err error) error {
	if j.Server != GitHub || err == nil {
		return nil
	}
	var all []reports.Annotation
	for _, p := range diag.ProblemsOf(err) {
		text := p.Msg
		if p.Hint != "" {
			text += "\n" + p.Hint
		}
		all = append(all, reports.Annotation{Level: "error", File: j.path(p.File), Line: p.Line, Col: p.Col, Title: "dapple", Text: text})
	}
	if len(all) == 0 {
		all = []reports.Annotation{{Level: "error", Title: "dapple", Text: strings.Join(append([]string{err.Error()}, diag.Hints(err)...), "\n")}}
	}
	return reports.Annotate(j.log, all)
}

// relative is the batch with the files named as the repository has them, which is
// how the server finds them.
func (j *Job) relative(b reports.Batch) reports.Batch {
	out := make(reports.Batch, len(b))
	for i, e := range b {
		e.Scenario = j.path(e.Scenario)
		if e.Run != nil {
			run := *e.Run
			run.Record.Drill.ScenarioFile = j.path(run.Record.Drill.ScenarioFile)
			e.Run = &run
		}
		out[i] = e
	}
	return out
}

func (j *Job) path(file string) string {
	abs, err := filepath.Abs(file)
	if err != nil || j.workspace == "" || file == "" {
		return file
	}
	rel, err := filepath.Rel(j.workspace, abs)
	if err != nil || rel == ".." || strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return file
	}
	return filepath.ToSlash(rel)
}

// writeOutputs writes name=value, the form for values of one line.
func writeOutputs(w io.Writer, outputs []Output) error {
	for _, o := range outputs {
		value := strings.NewReplacer("\r", " ", "\n", " ").Replace(o.Value)
		if _, err := fmt.Fprintf(w, "%s=%s\n", o.Name, value); err != nil {
			return err
		}
	}
	return nil
}

// appendTo appends to a file of the runner, which other programs of the step
// append to as well.
func appendTo(path, what string, write func(io.Writer) error) (err error) {
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("write %s: %w", what, err)
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	if err := write(f); err != nil {
		return fmt.Errorf("write %s: %w", what, err)
	}
	return nil
}
