package ci_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/reports"
	"github.com/dapple-drills/dapple/reports/ci"
)

func env(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

func at(unix int64) func() time.Time { return func() time.Time { return time.Unix(unix, 0) } }

func failed(dir string) reports.Batch {
	run := &reports.Run{Dir: dir, Record: drills.Record{Verdict: "fail", ExitCode: 1, Reason: "too slow", Drill: drills.DrillInfo{Name: "kill", ScenarioFile: filepath.Join(dir, "drills", "kill.yaml")}}}
	run.Record.Scenario.Steps = []drills.StepFacts{{Inject: "kill", Line: 4, Col: 3}}
	return reports.Batch{{Scenario: run.Record.Drill.ScenarioFile, Run: run, Code: 1}}
}

func TestOutsideOfCINothingIsWritten(t *testing.T) {
	var log bytes.Buffer
	dir := t.TempDir()
	for _, vars := range []map[string]string{nil, {"GITHUB_ACTIONS": "false", "GITHUB_STEP_SUMMARY": filepath.Join(dir, "s")}, {"GITLAB_CI": ""}} {
		j := ci.Detect(env(vars), &log, at(1))
		j.Open("x")
		if err := errors.Join(j.Done(failed(dir), nil, true), j.Problems(errors.New("x"))); err != nil {
			t.Fatal(err)
		}
	}
	if files, _ := os.ReadDir(dir); log.Len() > 0 || len(files) > 0 {
		t.Errorf("log %q, files %v", log.String(), files)
	}
}

func TestGitHubGetsAFoldedLogAnnotationsASummaryAndOutputs(t *testing.T) {
	dir := t.TempDir()
	summary, output := filepath.Join(dir, "summary"), filepath.Join(dir, "output")
	if err := os.WriteFile(summary, []byte("of another program\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	j := ci.Detect(env(map[string]string{"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": summary, "GITHUB_OUTPUT": output, "GITHUB_WORKSPACE": dir}), &log, at(1))
	j.Open("dapple: kill\non etcd")
	log.WriteString("progress\n")
	if err := j.Done(failed(dir), []ci.Output{{Name: "verdict", Value: "fail"}, {Name: "claim", Value: "two\nlines"}}, true); err != nil {
		t.Fatal(err)
	}
	want := "::group::dapple: kill on etcd\nprogress\n::endgroup::\n::error file=drills/kill.yaml,line=4,col=3,title=kill%3A fail::Too slow.\n"
	if log.String() != want {
		t.Errorf("log\n%q, want\n%q", log.String(), want)
	}
	if got := read(t, output); got != "verdict=fail\nclaim=two lines\n" {
		t.Errorf("outputs %q", got)
	}
	if got := read(t, summary); !strings.HasPrefix(got, "of another program\n# FAIL: kill") {
		t.Errorf("summary %q", got)
	}
}

func TestAMistakeInAFileIsShownAtItsLine(t *testing.T) {
	var log bytes.Buffer
	j := ci.Detect(env(map[string]string{"GITHUB_ACTIONS": "true"}), &log, at(1))
	err := diag.Problems{{File: "a.yaml", Line: 3, Col: 5, Msg: "unknown key", Hint: "did you mean for?"}, {File: "b.yaml", Line: 1, Col: 1, Msg: "empty"}}
	if err := errors.Join(j.Problems(err), j.Problems(diag.Hint(errors.New("no engine: 100%"), "start it")), j.Problems(nil)); err != nil {
		t.Fatal(err)
	}
	want := "::error file=a.yaml,line=3,col=5,title=dapple::unknown key%0Adid you mean for?\n" +
		"::error file=b.yaml,line=1,col=1,title=dapple::empty\n" +
		"::error title=dapple::no engine: 100%25%0Astart it\n"
	if log.String() != want {
		t.Errorf("%q", log.String())
	}
}

func TestGitLabFoldsTheLogInSectionsThatDoNotNest(t *testing.T) {
	var log bytes.Buffer
	j := ci.Detect(env(map[string]string{"GITLAB_CI": "true"}), &log, at(1764120000))
	j.Open("first")
	j.Open("second")
	if err := j.Done(failed(t.TempDir()), nil, true); err != nil {
		t.Fatal(err)
	}
	want := "\x1b[0Ksection_start:1764120000:dapple_1[collapsed=true]\r\x1b[0Kfirst\n" +
		"\x1b[0Ksection_end:1764120000:dapple_1\r\x1b[0K\n" +
		"\x1b[0Ksection_start:1764120000:dapple_2[collapsed=true]\r\x1b[0Ksecond\n" +
		"\x1b[0Ksection_end:1764120000:dapple_2\r\x1b[0K\n"
	if log.String() != want {
		t.Errorf("%q", log.String())
	}
}

func TestASummaryThatCannotBeWrittenIsAnError(t *testing.T) {
	var log bytes.Buffer
	j := ci.Detect(env(map[string]string{"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": t.TempDir()}), &log, at(1))
	if err := j.Done(failed(t.TempDir()), nil, false); err == nil || !strings.Contains(err.Error(), "step summary") {
		t.Errorf("%v", err)
	}
	if log.Len() > 0 {
		t.Errorf("annotations although they were not asked for: %s", log.String())
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
