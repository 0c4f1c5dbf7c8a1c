package pause

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/internal/cgroups"
	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/internal/mounts"
	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/targets"
)

// hierarchies are the places where this machine has control groups that can be
// frozen.
func hierarchies(t *testing.T) map[string]string {
	t.Helper()
	testenv.NeedRoot(t)
	ms, err := mounts.Read("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, m := range ms {
		if _, ok := m.Option("freezer"); ok && m.FSType == "cgroup" {
			found["v1"] = m.Point
		}
		if m.FSType == "cgroup2" {
			found["v2"] = m.Point
		}
	}
	if len(found) == 0 {
		t.Fatal("this machine has no control groups")
	}
	return found
}

// own makes a control group that is gone when the test ends.
func own(t *testing.T, root string) string {
	t.Helper()
	dir := filepath.Join(root, fmt.Sprintf("dapple-test-%d-%d", os.Getpid(), time.Now().UnixNano()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		until(t, "the control group is empty", func() (bool, error) { err := os.Remove(dir); return err == nil, err })
	})
	return dir
}

func TestAControlGroupIsFrozenWithWhatComesLaterAndThawed(t *testing.T) {
	for version, root := range hierarchies(t) {
		t.Run(version, func(t *testing.T) {
			dir := own(t, root)
			file := filepath.Join(t.TempDir(), "count")
			n := newChild(t, "("+counter(file)+") & wait", dir)
			n.waitFor(t, 2)
			until(t, "it counts", func() (bool, error) { _, err := os.Stat(file); return err == nil, err })
			h := paused(t, n, `{"how": "freezer"}`)
			t.Cleanup(func() { _ = h.inj.Revert(context.Background(), n, h.f) }) // what is frozen cannot be killed (v1)
			standsStill(t, file)
			if frozen, err := kernel.Frozen(n.main.PID); err != nil || !frozen {
				t.Errorf("kernel.Frozen: %v, %v", frozen, err)
			}
			// A person's way back, as the record gives it.
			if out, err := exec.Command("sh", "-c", h.f.Undo).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v: %s", h.f.Undo, err, out)
			}
			until(t, "the hole is seen", func() (bool, error) { return !h.isHeld(t), nil })
			goesOn(t, file)
			if err := h.inj.Inject(t.Context(), n, h.f); err != nil {
				t.Fatal(err)
			}
			h.reverted(t)
			goesOn(t, file)
		})
	}
}

func TestAGroupWithAStrangerOrFrozenByOthersIsRefused(t *testing.T) {
	for version, root := range hierarchies(t) {
		t.Run(version, func(t *testing.T) {
			dir := own(t, root)
			n, stranger := newChild(t, "exec sleep 600", dir), newChild(t, "exec sleep 600", dir)
			refused := func(says string) {
				t.Helper()
				p := Params{Process: "all", Tree: true, How: Freezer}
				faults, err := newPauser(p).Plan(t.Context(), injectors.Aim{On: []targets.Node{n}})
				if err == nil || !strings.Contains(err.Error(), says) {
					t.Errorf("%+v, %v; want %q", faults, err, says)
				}
			}
			refused("holds others as well")
			if err := syscall.Kill(stranger.main.PID, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			until(t, "the stranger is dead", func() (bool, error) {
				s, err := kernel.ReadStat(stranger.main.PID)
				return err != nil || s.Dead(), nil
			})
			name, frozen, thawed := group{cgroups.Group{V2: version == "v2"}}.file()
			if err := os.WriteFile(filepath.Join(dir, name), []byte(frozen), 0); err != nil {
				t.Fatal(err)
			}
			refused("frozen already")
			if err := os.WriteFile(filepath.Join(dir, name), []byte(thawed), 0); err != nil {
				t.Fatal(err)
			}
		})
	}
	refusedRoot, err := made(`{"how": "freezer"}`)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newPauser(refusedRoot).Plan(t.Context(), injectors.Aim{On: []targets.Node{newChild(t, "exec sleep 600", "")}}); err == nil {
		t.Error("a process in the test's own control group could be frozen")
	}
}

func TestAGroupThatIsGoneOrAnotherHasNothingToTakeBack(t *testing.T) {
	for version, root := range hierarchies(t) {
		t.Run(version, func(t *testing.T) {
			dir := own(t, root)
			x := newPauser(Params{})
			info, err := os.Stat(dir)
			if err != nil {
				t.Fatal(err)
			}
			ino := info.Sys().(*syscall.Stat_t).Ino
			s := state{How: Freezer, Group: &group{cgroups.Group{Dir: dir, Inode: ino + 1, V2: version == "v2"}}}
			if err := x.Inject(t.Context(), nil, s); !errors.Is(err, targets.ErrGone) {
				t.Errorf("another group was frozen: %v", err)
			}
			if err := x.Revert(t.Context(), nil, s); err != nil {
				t.Error(err)
			}
			s.Group.Dir += "-gone"
			if err := x.Revert(t.Context(), nil, s); err != nil {
				t.Error(err)
			}
		})
	}
}
