package docker

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dapple-drills/dapple/internal/kernel"
)

func TestTheProcessesOfAGroupAreThoseBelowItToo(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "cgroup.procs"), "30\n4\n")
	write(t, filepath.Join(dir, "init.scope", "cgroup.procs"), "17\n")
	write(t, filepath.Join(dir, "init.scope", "empty", "cgroup.procs"), "")
	write(t, filepath.Join(dir, "memory.stat"), "not a list\n")
	got, err := treePIDs(dir)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]int{4, 17, 30}, got); d != "" {
		t.Error(d)
	}
}

func TestAGroupThatCannotBeReadIsNotTakenForAnEmptyOne(t *testing.T) {
	foreign := t.TempDir()
	write(t, filepath.Join(foreign, "cgroup.procs"), "0\n0\n")
	odd := t.TempDir()
	write(t, filepath.Join(odd, "cgroup.procs"), "x\n")
	for _, dir := range []string{foreign, odd, filepath.Join(odd, "gone")} {
		if pids, err := treePIDs(dir); err == nil {
			t.Errorf("%s: got %v and no error", dir, pids)
		}
	}
	if _, ok := groupPIDs([]string{"/docker/no-such-container"}); ok {
		t.Error("a group that is not there was read")
	}
}

func TestWhereNoGroupIsToBeSeenTheWholeMachineIsLookedAt(t *testing.T) {
	me, err := kernel.ReadProc(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	// Whatever group this test is in takes the place of a container's.
	m := mainProcess{container: me.CGroups[0]}
	procs, err := m.members()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(procs, func(p kernel.Proc) bool { return p.PID == os.Getpid() }) {
		t.Errorf("this process is not among the %d that were found", len(procs))
	}
}
