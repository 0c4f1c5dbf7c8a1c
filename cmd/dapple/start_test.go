package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
)

// initTrace is a line of GODEBUG=inittrace=1 (package runtime).
var initTrace = regexp.MustCompile(`(?m)^init (\S+) @\S+ ms, \S+ ms clock, (\d+) bytes, \d+ allocs$`)

// TestNoProcessOfTheMachineIsListedBeforeMain: every agent and every command begins
// with what its libraries do to be initialised. How long that takes is the machine's
// matter; what it allocates is not, and tells of a list of processes (1 MB of 150).
func TestNoProcessOfTheMachineIsListedBeforeMain(t *testing.T) {
	bin, err := built()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "dapple"), "version")
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	lines := initTrace.FindAllSubmatch(out, -1)
	if len(lines) < 50 {
		t.Fatalf("the trace has %d packages:\n%s", len(lines), out)
	}
	for _, line := range lines {
		if n, err := strconv.Atoi(string(line[2])); err != nil || n > 600_000 {
			t.Errorf("%s allocates %d bytes before main (%v)", line[1], n, err)
		}
	}
	seen := false
	for _, line := range lines {
		if string(line[1]) != "github.com/testcontainers/testcontainers-go/internal/core/bootstrap" {
			continue
		}
		seen = true
		if n, err := strconv.Atoi(string(line[2])); err != nil || n > 20_000 {
			t.Errorf("it lists the processes of the machine: %d bytes (%v)", n, err)
		}
	}
	if !seen {
		t.Error("testcontainers-go is initialised without what internal/early is there for: is that still needed?")
	}
}
