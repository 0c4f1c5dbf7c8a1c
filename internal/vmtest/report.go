package vmtest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/dapple-drills/dapple/internal/vmtest/guest/order"
)

// tests are the names of the tests to run: what the test binary itself lists.
func (g Guest) tests() ([]string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var errs bytes.Buffer
	cmd := exec.Command(self, "-test.list=^Test")
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("listing the tests: %w: %s", err, &errs)
	}
	var names []string
	for _, begin := range g.Tests {
		found := false
		for line := range strings.Lines(string(out)) {
			name := strings.TrimSpace(line)
			if strings.HasPrefix(name, "Test") && strings.HasPrefix(name, begin) {
				found = true
				if !slices.Contains(names, name) {
					names = append(names, name)
				}
			}
		}
		if !found {
			return nil, fmt.Errorf("no test's name begins with %s", begin)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("no test is to run in the guest")
	}
	return names, nil
}

// An outcome is what became of one test in the guest.
type outcome struct {
	name string
	said string
	bad  string // why it has failed, "" if it passed
}

// judge finds each test in what the guest's test binary said. Tests of a guest
// run one after another: what is said after the begin of one is its own.
func judge(said string, names []string) []outcome {
	all := map[string]*outcome{}
	var list []outcome
	for _, n := range names {
		all[n] = &outcome{name: n, bad: "it did not run in the guest"}
	}
	var now *outcome
	for line := range strings.Lines(said) {
		line = trim(line)
		if n, ok := strings.CutPrefix(line, "=== RUN   "); ok && all[n] != nil {
			now = all[n]
			now.bad = "it did not end in the guest"
		}
		if now == nil {
			continue
		}
		if line != order.Over(0) && line != "PASS" && !strings.HasPrefix(line, "=== ") {
			now.said += line + "\n"
		}
		for how, bad := range map[string]string{"PASS": "", "FAIL": "it failed in the guest", "SKIP": "it was skipped in the guest, where it was sent to run"} {
			if n, ok := strings.CutPrefix(line, "--- "+how+": "); ok {
				if name, _, _ := strings.Cut(n, " "); all[name] != nil {
					all[name].bad = bad
				}
			}
		}
	}
	for _, n := range names {
		list = append(list, *all[n])
	}
	return list
}
