package agent_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dapple-drills/dapple/injectors/agent"
	"github.com/dapple-drills/dapple/targets"
)

func snapshot(t *testing.T, nodes ...targets.Node) agent.Traces {
	t.Helper()
	s, err := agent.Snapshot(t.Context(), nodes)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestNothingIsLeftWhereNothingChanged(t *testing.T) {
	n := node(t)
	before := snapshot(t, n)
	if left := agent.Diff(before, snapshot(t, n)); len(left) > 0 {
		t.Errorf("%+v", left)
	}
	// A restart is not a trace of a fault.
	kill9(t, main1(t, n))
	until(t, "the engine sees it", func() bool { return main1(t, n).PID == 0 })
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := agent.Diff(before, snapshot(t, n)); len(left) > 0 {
		t.Errorf("%+v", left)
	}
}

func TestWhatAFaultLeavesIsNamedWithTheCommandThatRemovesIt(t *testing.T) {
	stopped, dead := node(t), node(t)
	// Both nodes are called n1 by their clusters; here each has its own look.
	before := []agent.Traces{snapshot(t, stopped), snapshot(t, dead)}
	id := main1(t, stopped)
	if err := syscall.Kill(id.PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	until(t, "it is stopped", func() bool { return stateOf(t, id) == "T" })
	kill9(t, main1(t, dead))
	until(t, "the engine sees it", func() bool { return main1(t, dead).PID == 0 })
	got := append(agent.Diff(before[0], snapshot(t, stopped)), agent.Diff(before[1], snapshot(t, dead))...)
	want := []agent.Left{
		{What: id.String() + " (sleep) is stopped by a signal", Node: "n1", Command: strings.Replace(id.String(), "pid", "kill -CONT", 1)},
		{What: "the node does not run", Node: "n1", Command: "dapple revert"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAnAgentWhoseRunnerIsDeadIsFoundAndOneOfARunningDrillIsNot(t *testing.T) {
	before := snapshot(t)
	c := client(t, t.TempDir(), 5*time.Second)
	needed, _ := c.Agent()
	orphan := exec.Command("sleep", "60")
	orphan.Env = []string{"DAPPLE_AGENT_OF=d1 1 1"} // pid 1 never started at tick 1
	if err := orphan.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = orphan.Process.Kill(); _ = orphan.Wait() })
	command := fmt.Sprintf("kill -TERM %d", orphan.Process.Pid)
	found := false
	for _, l := range agent.Diff(before, snapshot(t)) { // tests of other packages may have agents too
		if strings.Contains(l.What, needed.String()) {
			t.Errorf("the agent of a running drill is a leftover: %+v", l)
		}
		found = found || strings.Contains(l.What, "d1") && l.Command == command
	}
	if !found {
		t.Errorf("the orphan is not found (%s)", command)
	}
}

func TestWhatWasSoBeforeIsNotLeftByUs(t *testing.T) {
	before := agent.Traces{Nodes: map[string]agent.NodeTrace{"down": {}, "removed": {Running: true, Start: "start it"}}}
	after := agent.Traces{Nodes: map[string]agent.NodeTrace{"down": {}, "new": {}}}
	want := []agent.Left{{What: "the node is not there any more", Node: "removed", Command: "start it"}}
	if diff := cmp.Diff(want, agent.Diff(before, after)); diff != "" {
		t.Error(diff)
	}
}

func TestTheAgentsBinaryIsTheOneThatIsNamedElseTheOneOnThePath(t *testing.T) {
	dir := t.TempDir()
	named, onPath := filepath.Join(dir, "named"), filepath.Join(dir, "dapple")
	if err := os.WriteFile(named, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(onPath, []byte("#!/bin/sh\necho dapple v1.2.3 linux/amd64\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":/usr/bin:/bin")
	t.Setenv(agent.BinaryEnv, named)
	if got, err := agent.FindBinary(t.Context(), "v1.2.3"); err != nil || got != named {
		t.Errorf("%q, %v, want %q", got, err, named)
	}
	t.Setenv(agent.BinaryEnv, filepath.Join(dir, "missing"))
	if got, err := agent.FindBinary(t.Context(), "v1.2.3"); err == nil || !strings.Contains(err.Error(), "missing") {
		t.Errorf("%q, %v", got, err)
	}
	t.Setenv(agent.BinaryEnv, "")
	if got, err := agent.FindBinary(t.Context(), "v1.2.3"); err != nil || got != onPath {
		t.Errorf("%q, %v, want %q", got, err, onPath)
	}
	// Another version is wanted, and there is no go command to build it with.
	if got, err := agent.FindBinary(t.Context(), "v1.2.4"); err == nil || !strings.Contains(err.Error(), agent.BinaryEnv) {
		t.Errorf("%q, %v", got, err)
	}
}
