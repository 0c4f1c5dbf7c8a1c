package main

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/scenarios"
)

// TestEveryFileInTheDocumentsIsOneWithoutAProblem reads each example as `dapple
// check` does. What an excerpt leaves out is filled in.
func TestEveryFileInTheDocumentsIsOneWithoutAProblem(t *testing.T) {
	n := 0
	for _, p := range pages(t) {
		for _, b := range p.blocks {
			if b.info != "yaml" {
				continue
			}
			if _, other := b.note("not dapple's"); other {
				continue
			}
			n++
			for _, problem := range b.yamlProblems(t) {
				t.Error(problem)
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d files were found: the test would hold for nothing", n)
	}
}

// yamlProblems are those of the file that the block shows, at their lines in the page.
func (b block) yamlProblems(t *testing.T) (list []string) {
	t.Helper()
	text, above := b.whole()
	if strings.HasPrefix(text, "jobs:") {
		if err := workflowProblem(t, text); err != nil {
			return []string{b.at() + ": " + err.Error()}
		}
		return nil
	}
	_, err := scenarios.Check(b.page, []byte(text), vocabulary())
	for _, p := range diag.ProblemsOf(err) {
		list = append(list, fmt.Sprintf("%s:%d: %s", b.page, b.line+p.Line-1-above, p.Msg))
	}
	if err != nil && len(list) == 0 {
		list = []string{b.at() + ": " + err.Error()}
	}
	return list
}

// whole is the block with what an excerpt leaves out, and how many lines were put
// above it.
func (b block) whole() (text string, above int) {
	text = b.text()
	if indent := len(text) - len(strings.TrimLeft(text, " ")); indent > 0 { // of a step
		fault := strings.TrimSuffix(path.Base(b.page), ".md")
		text = fmt.Sprintf("steps:\n  - inject: %s\n    on: primary\n    for: 60s\n", fault) + text
		above = 4
	}
	var rest map[string]string
	switch scenarios.Sniff([]byte(text)) {
	case scenarios.IsScenario:
		rest = map[string]string{"name": "example", "steps": "[{inject: noop, on: primary, for: 10s}]"}
	case scenarios.IsSystem:
		rest = map[string]string{"name": "example", "kind": "patroni", "environment": "staging", "nodes": "{docker: {names: [pg1, pg2, pg3]}}",
			"clients": `{dsn: "postgres://app@pg1,pg2,pg3/orders?target_session_attrs=read-write"}`}
	}
	for _, key := range slices.Sorted(maps.Keys(rest)) {
		if !regexp.MustCompile(`(?m)^` + key + `:`).MatchString(text) {
			text += key + ": " + rest[key] + "\n"
		}
	}
	return text, above
}

// workflowProblem is what is wrong with a workflow of GitHub that uses our action.
func workflowProblem(t *testing.T, text string) error {
	t.Helper()
	var w struct {
		Jobs map[string]struct {
			RunsOn string `yaml:"runs-on"`
			Steps  []struct {
				Uses string
				With map[string]any
			}
		}
	}
	if err := yaml.Unmarshal([]byte(text), &w); err != nil {
		return err
	}
	var a action
	readYAML(t, "action.yml", &a)
	uses := 0
	for _, j := range w.Jobs {
		if j.RunsOn == "" {
			return fmt.Errorf("a job runs nowhere")
		}
		for _, s := range j.Steps {
			if !strings.HasPrefix(s.Uses, "dapple-drills/dapple@") {
				continue
			}
			uses++
			for key := range s.With {
				if a.Inputs[key] == nil {
					return fmt.Errorf("the action has no input %s", key)
				}
			}
			for key, in := range a.Inputs {
				if in["required"] == true && s.With[key] == nil {
					return fmt.Errorf("the input %s is left out", key)
				}
			}
		}
	}
	if uses == 0 {
		return fmt.Errorf("no step uses the action")
	}
	return nil
}

func TestWhatIsWrongWithAFileInADocumentIsToldAtItsLine(t *testing.T) {
	text := "# A page\n\n```yaml\nsteps:\n  - inject: pause\n    onn: primary\n```\n\nand\n\n```yaml\n    with: {howw: stop}\n```\n\n```yaml\nclients:\n  dns: x\n```\n\n```yaml\nwhat: 1\n```\n" +
		"```yaml\njobs: {a: {runs-on: x, steps: [{uses: dapple-drills/dapple@main, with: {scenario: a, sytem: b}}]}}\n```\n"
	p := readPage("docs/faults/pause.md", text)
	want := []string{"docs/faults/pause.md:6: ", "docs/faults/pause.md:12: ", "docs/faults/pause.md:17: ", "docs/faults/pause.md:21: ", "docs/faults/pause.md:24: "}
	if len(p.blocks) != len(want) {
		t.Fatalf("%d blocks", len(p.blocks))
	}
	for i, b := range p.blocks {
		got := strings.Join(b.yamlProblems(t), "\n")
		if !strings.Contains(got, want[i]) {
			t.Errorf("block %d: %q, want %q", i+1, got, want[i])
		}
	}
}
