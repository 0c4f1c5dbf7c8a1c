package main

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/verdict"
	"github.com/dapple-drills/dapple/reports"
)

// read reads a YAML file of the repository.
func readYAML(t *testing.T, path string, into any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("../..", path))
	if err == nil {
		err = yaml.Unmarshal(data, into)
	}
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

type action struct {
	Inputs  map[string]map[string]any
	Outputs map[string]map[string]string
	Runs    struct {
		Using string
		Steps []struct {
			Shell, Run string
			Env        map[string]string
		}
	}
}

// echo is a dapple that only says how it was called.
func echo(t *testing.T) (dir string) {
	t.Helper()
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("the steps of CI are scripts of bash, which is not here")
	}
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "dapple"), []byte("#!/bin/sh\nfor a in \"$@\"; do echo \"<$a>\"; done\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func words(out []byte) string {
	return strings.ReplaceAll(strings.TrimSpace(string(out)), "\n", " ")
}

func TestTheActionHandsItsInputsToDappleAndTakesNoneForAScript(t *testing.T) {
	var a action
	readYAML(t, "action.yml", &a)
	if a.Runs.Using != "composite" || len(a.Runs.Steps) != 1 {
		t.Fatalf("%+v", a.Runs)
	}
	step := a.Runs.Steps[0]
	if strings.Contains(step.Run, "${{") {
		t.Errorf("an input becomes text of the script: %s", step.Run)
	}
	used := map[string]bool{}
	for name, value := range step.Env {
		if m := regexp.MustCompile(`^\$\{\{ inputs\.([a-z-]+) \}\}$`).FindStringSubmatch(value); m != nil {
			used[m[1]] = true
			if name != "INPUT_"+strings.ToUpper(strings.ReplaceAll(m[1], "-", "_")) {
				t.Errorf("%s is set from %s", name, m[1])
			}
		}
	}
	if got, want := slices.Sorted(maps.Keys(used)), slices.Sorted(maps.Keys(a.Inputs)); !slices.Equal(got, want) {
		t.Errorf("inputs %v, used %v", want, got)
	}
	cmd := exec.Command("bash", "../../.github/drill.sh")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "INPUT_BINARY=" + filepath.Join(echo(t), "dapple"), "INPUT_SCENARIO=a.yaml\ndrills/", "INPUT_SYSTEM=my db.yaml; $(touch x)",
		"INPUT_OUT=o u t", "INPUT_JUNIT=j.xml", "INPUT_SHARD=1/2", "INPUT_FAIL_ON=fail,aborted", "INPUT_ARGS=--phase worst"}
	out, err := cmd.Output()
	want := "<run> <a.yaml> <drills/> <--on> <my db.yaml; $(touch x)> <--out> <o u t> <--format> <junit=j.xml> <--shard> <1/2> <--fail-on> <fail,aborted> <--phase> <worst>"
	if err != nil || words(out) != want {
		t.Errorf("%v\n%s, want\n%s", err, words(out), want)
	}
}

func TestEveryOutputOfTheActionIsWritten(t *testing.T) {
	var a action
	readYAML(t, "action.yml", &a)
	run := reports.Run{Dir: "d", Record: drills.Record{Run: "r", Claim: "1 of 1 met", Verdict: verdict.Pass}}
	run.Record.Series.Metrics = map[string]verdict.Spread{"rto": {N: 1, Max: [2]float64{1000, 2000}}}
	written := map[string]string{}
	for _, o := range outputs(reports.Batch{{Run: &run}}, 0) {
		written[o.Name] = o.Value
	}
	for name, o := range a.Outputs {
		if o["value"] != "${{ steps.drill.outputs."+name+" }}" || written[name] == "" {
			t.Errorf("output %s: %s; dapple writes %v", name, o["value"], written)
		}
	}
	if written["rto_seconds"] != "2.000" {
		t.Errorf("%v", written)
	}
}

func TestTheJobOfGitLabRunsDappleAndTakesItsReports(t *testing.T) {
	var file map[string]struct {
		Variables map[string]string
		Script    []string
		Allow     struct {
			Codes []int `yaml:"exit_codes"`
		} `yaml:"allow_failure"`
		Artifacts struct{ Reports map[string]string }
	}
	readYAML(t, ".github/gitlab-drill.yml", &file)
	job := file[".dapple"]
	cmd := exec.Command("bash", "-ec", strings.Join(job.Script, "\n"))
	cmd.Dir = t.TempDir()
	cmd.Env = []string{"PATH=" + echo(t) + ":" + os.Getenv("PATH")}
	for name, value := range job.Variables {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	out, err := cmd.Output()
	want := "<run> <etcd/leader-kill.yaml> <--on> <cluster:etcd> <--out> <dapple-drill> <--format> <junit=dapple-junit.xml> <--format> <gitlab=dapple-metrics.txt>"
	if err != nil || words(out) != want {
		t.Errorf("%v\n%s, want\n%s", err, words(out), want)
	}
	for _, f := range []string{"junit=" + job.Artifacts.Reports["junit"], "gitlab=" + job.Artifacts.Reports["metrics"]} {
		if !strings.Contains(want, "<"+f+">") {
			t.Errorf("the report %s is not written", f)
		}
	}
	if !slices.Equal(job.Allow.Codes, []int{5}) {
		t.Errorf("exit codes that hold up nothing: %v", job.Allow.Codes)
	}
}
