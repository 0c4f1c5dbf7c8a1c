package reports

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	junit "github.com/joshdk/go-junit"
)

// folder is a batch with every kind of entry.
func folder(t testing.TB) Batch {
	a, b, c := etcdDemo(t), splitBrain(t), inconclusive(t)
	return Batch{
		{Scenario: "drills/leader-kill.yaml", Run: &a},
		{Scenario: "drills/freeze.yaml", Run: &b, Code: 6},
		{Scenario: "drills/again.yaml", Run: &c, Code: 5},
		{Scenario: "drills/patroni.yaml", Skipped: "it requires the kind patroni, and the system is of kind etcd"},
		{Scenario: "drills/refused.yaml", Err: "preflight refused; nothing was touched\n  phase worst is not available", Code: 3},
		{Scenario: "drills/later.yaml", Err: "not begun: an earlier drill left something in place", Code: 4},
	}
}

func TestAReaderOfJUnitSeesWhatBecameOfEveryScenario(t *testing.T) {
	text := render(t, func(b *bytes.Buffer) error { return JUnit(b, folder(t)) })
	suites, err := junit.Ingest([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	n := map[junit.Status]int{}
	seen := map[string]bool{}
	for _, s := range suites {
		for _, c := range s.Tests {
			n[c.Status]++
			if key := c.Classname + " " + c.Name; seen[key] {
				t.Errorf("two cases %q: GitLab would drop one", key)
			} else {
				seen[key] = true
			}
		}
		if got := s.Totals; got.Tests != len(s.Tests) {
			t.Errorf("%s: %+v for %d cases", s.Name, got, len(s.Tests))
		}
	}
	// Failures: RPO and split-brain. Errors: the leftover, the refusal, what was
	// not begun. Skipped: what was not proven, and what does not fit.
	if n[junit.StatusFailed] != 2 || n[junit.StatusError] != 3 || n[junit.StatusSkipped] != 2 {
		t.Errorf("%v", n)
	}
	if suites[0].Properties["verdict"] != "pass" || suites[1].Properties["verdict"] != "fail" {
		t.Errorf("the verdicts of the suites are %v and %v", suites[0].Properties, suites[1].Properties)
	}
}

func TestInvalidAndInconclusiveAreToldApartFromAFailByAReaderOfJUnit(t *testing.T) {
	for name, want := range map[string]junit.Status{"inconclusive": junit.StatusSkipped, "invalid": junit.StatusError} {
		suites, err := junit.Ingest([]byte(render(t, func(b *bytes.Buffer) error { return JUnit(b, one(fixtures()[name](t))) })))
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, c := range suites[0].Tests {
			found = found || c.Status == want
			if c.Status == junit.StatusFailed {
				t.Errorf("%s: %s is told as a failure", name, c.Name)
			}
		}
		if !found {
			t.Errorf("%s: no case is %s", name, want)
		}
	}
}

func TestTheTableHasALineForEveryScenarioAndFitsTheTerminal(t *testing.T) {
	text := render(t, func(b *bytes.Buffer) error { return folder(t).TextTable(b, Plain) })
	for _, want := range []string{"PASS", "FAIL", "INCONCLUSIVE", "SKIPPED", "REFUSED", "ERROR", "drills/later.yaml", "phase worst is not available",
		"6 scenarios: 1 pass, 1 fail, 1 inconclusive, 1 refused, 1 error, 1 skipped"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	for line := range strings.Lines(text) {
		if utf8.RuneCountInString(line) > columns+1 {
			t.Errorf("too wide: %q", line)
		}
	}
}

func TestTheSummaryOfAJobHoldsTheTableAndFirstWhatWentWrongAndStaysSmall(t *testing.T) {
	text := render(t, func(b *bytes.Buffer) error { return folder(t).Markdown(b, MaxMarkdown) })
	fail, pass := strings.Index(text, "# FAIL: patroni agent freeze"), strings.Index(text, "# PASS: etcd leader kill")
	if fail < 0 || pass < 0 || fail > pass {
		t.Errorf("FAIL at %d, PASS at %d", fail, pass)
	}
	for _, limit := range []int{2000, 5000} {
		small := render(t, func(b *bytes.Buffer) error { return folder(t).Markdown(b, limit) })
		if len(small) > limit || !strings.Contains(small, "did not fit") || !strings.Contains(small, "drills/later.yaml") {
			t.Errorf("limit %d: %d bytes\n%s", limit, len(small), small)
		}
	}
	alone := etcdDemo(t)
	if small := render(t, func(b *bytes.Buffer) error { return one(alone).Markdown(b, 1000) }); len(small) > 1000 || !strings.Contains(small, "did not fit") {
		t.Errorf("%d bytes: %s", len(small), small)
	}
}
