package diskslow

import (
	"bufio"
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
	"github.com/dapple-drills/dapple/internal/inside"
	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/internal/volumes"
	"github.com/dapple-drills/dapple/targets"
)

// The test's own binary is also the child that tries a disk.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == inside.Mode {
		if err := inside.Main(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// A node is one process in a control group of its own.
type node struct {
	main  targets.ProcID
	group string
}

func (node) Name() string                                    { return "n1" }
func (node) Exec(context.Context, ...string) ([]byte, error) { return nil, errors.New("not needed") }

func (n node) Processes(context.Context) ([]targets.Proc, error) {
	s, err := kernel.ReadStat(n.main.PID)
	if errors.Is(err, targets.ErrGone) || err == nil && (s.Start != n.main.Start || s.Dead()) {
		return nil, nil
	}
	return []targets.Proc{{ProcID: n.main, Name: s.Name, State: string(s.State), Main: true}}, err
}

func (n node) Hold(ctx context.Context, id targets.ProcID) (targets.Handle, error) {
	return kernel.Hold(ctx, id)
}

// mounted makes a node in a control group of blkio's, with an ext4 of its own on
// a loop device. All of it is gone when the test ends.
func mounted(t *testing.T) (n node, path string) {
	t.Helper()
	testenv.NeedRoot(t)
	group := filepath.Join("/sys/fs/cgroup/blkio", fmt.Sprintf("dapple-test-%d-%d", os.Getpid(), time.Now().UnixNano()))
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Fatalf("this machine has no blkio controller of cgroup v1: %v", err)
	}
	t.Cleanup(func() {
		until(t, "the control group is removed", func() (bool, error) { err := os.Remove(group); return err == nil, err })
	})
	dir := t.TempDir()
	path = filepath.Join(dir, "data")
	image := filepath.Join(dir, "image")
	script := fmt.Sprintf("mkdir %s && truncate -s 64M %s && mkfs.ext4 -q %s && mount -o loop %s %s && echo $$ > %s/cgroup.procs && echo ready && read end", path, image, image, image, path, group)
	cmd := exec.Command("sh", "-c", script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may be dead
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("it says %q, %v", line, err)
	}
	id, err := kernel.Identity(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return node{id, group}, path
}

func until(t *testing.T, what string, ok func() (bool, error)) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for {
		done, err := ok()
		if done {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("it did not come to be that %s: %v", what, err)
		}
	}
}

// settings is what the group's files say, as a person would read them.
func settings(t *testing.T, n node) string {
	t.Helper()
	var all strings.Builder
	for _, l := range []limit{readBytes, writeBytes, readOps, writeOps} {
		data, err := os.ReadFile(filepath.Join(n.group, v1Files[l]))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&all, "%s:\n%s", v1Files[l], data)
	}
	return all.String()
}

// proven injects, and looks until it holds: the machine may be busy.
func proven(t *testing.T, inj injectors.Injector, n targets.Node) injectors.Fault {
	t.Helper()
	faults, err := inj.Plan(t.Context(), injectors.Aim{On: []targets.Node{n}})
	if err != nil {
		t.Fatal(err)
	}
	f := faults[0]
	if held, proof, err := inj.Effect(t.Context(), n, f); held || err != nil {
		t.Errorf("before it was made: %v, %q, %v", held, proof, err)
	}
	if err := inj.Inject(t.Context(), n, f); err != nil {
		t.Fatal(err)
	}
	until(t, "it is proven", func() (bool, error) {
		held, proof, err := inj.Effect(t.Context(), n, f)
		if held {
			t.Logf("%s: %s", f.Does, proof)
		}
		return held, errors.Join(err, errors.New(proof))
	})
	return f
}

func TestARealDiskIsSlowFromInsideAndAsItWasAfterwards(t *testing.T) {
	for _, with := range []string{`{"write": "1MiB/s"}`, `{"read": "2MiB/s"}`, `{"write_ops": 20}`, `{"read": "1MiB", "write": "1MiB", "read_ops": 50, "write_ops": 50}`} {
		t.Run(with, func(t *testing.T) {
			n, path := mounted(t)
			p, err := made(strings.Replace(with, "{", fmt.Sprintf("{%q: %q, ", "path", path), 1))
			if err != nil {
				t.Fatal(err)
			}
			// The operator has a limit on that disk, and one on another.
			g, d, err := kernelDisk{}.find(t.Context(), n, path)
			if err != nil {
				t.Fatal(err)
			}
			if err := g.Write(t.Context(), v1Files[writeBytes], d.Number+" 104857600"); err != nil {
				t.Fatal(err)
			}
			before := settings(t, n)
			inj := injectors.Of(kind, newSlower(p))
			f := proven(t, inj, n)
			if settings(t, n) == before {
				t.Error("nothing was set")
			}
			again := Kind().Reopen() // as another process, with the record alone
			for range 2 {
				if err := again.Revert(t.Context(), n, f); err != nil {
					t.Fatal(err)
				}
			}
			if ok, proof, err := again.(injectors.Reverted).Reverted(t.Context(), n, f); !ok || err != nil {
				t.Errorf("%v, %q, %v", ok, proof, err)
			}
			if after := settings(t, n); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
			if held, proof, err := again.Effect(t.Context(), n, f); held || err != nil {
				t.Errorf("afterwards: %v, %q, %v", held, proof, err)
			}
		})
	}
}

// The victim's own synced write, not the try of the proof.
func TestASyncedWriteOfTheVictimTakesAsLongAsTheLimitSays(t *testing.T) {
	n, path := mounted(t)
	inj := injectors.Of(kind, newSlower(Params{Path: path, Write: Rate{"1MiB/s", 1 << 20}}))
	f := proven(t, inj, n)
	if took := victim(t, n, path); took < 700*time.Millisecond {
		t.Errorf("a megabyte at 1 MiB/s was written and synced in %v", took)
	}
	if out, err := exec.Command("sh", "-c", f.Undo).CombinedOutput(); err != nil { // a person's way back
		t.Fatalf("%s: %v: %s", f.Undo, err, out)
	}
	until(t, "it is fast again", func() (bool, error) {
		took := victim(t, n, path)
		return took < 700*time.Millisecond, fmt.Errorf("it took %v", took)
	})
}

// victim writes a megabyte from the node's group as a program would, and syncs it.
func victim(t *testing.T, n node, path string) time.Duration {
	t.Helper()
	script := fmt.Sprintf("echo $$ > %s/cgroup.procs && exec dd if=/dev/zero of=%s/victim bs=64k count=16 conv=fsync status=none", n.group, path)
	begin := time.Now()
	if out, err := exec.Command("nsenter", "-t", fmt.Sprint(n.main.PID), "-m", "sh", "-c", script).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return time.Since(begin)
}

// A bad twin: the limits stand, but on a disk that the path is not on.
func TestALimitOnAnotherDiskIsNotTakenForTheFault(t *testing.T) {
	n, path := mounted(t)
	g, d, err := kernelDisk{}.find(t.Context(), n, path)
	if err != nil {
		t.Fatal(err)
	}
	other, err := loopOf(d.Name)
	if err != nil {
		t.Fatal(err)
	}
	s := state{Path: path, Group: g, Disk: other, Changes: []change{{Limit: writeBytes, Now: 1 << 20}}}
	x := newSlower(Params{})
	if err := x.Inject(t.Context(), n, s); err != nil {
		t.Fatal(err)
	}
	if held, proof, err := x.Effect(t.Context(), n, s); held || err != nil {
		t.Errorf("%v, %q, %v", held, proof, err)
	}
}

// loopOf finds another loop device than the given one. The limit is for the test's
// own group.
func loopOf(name string) (volumes.Disk, error) {
	all, err := filepath.Glob("/sys/block/loop*/dev")
	if err != nil {
		return volumes.Disk{}, err
	}
	for _, file := range all {
		data, err := os.ReadFile(file)
		if other := filepath.Base(filepath.Dir(file)); err == nil && other != name {
			return volumes.Disk{Number: strings.TrimSpace(string(data)), Name: other}, nil
		}
	}
	return volumes.Disk{}, errors.New("this machine has one loop device")
}

func TestWhatIsNoDiskOrNotTheNodesAloneIsRefused(t *testing.T) {
	n, path := mounted(t)
	plan := func(path string) error {
		p := Params{Path: path, Write: Rate{"1MiB/s", 1 << 20}}
		faults, err := newSlower(p).Plan(t.Context(), injectors.Aim{On: []targets.Node{n}})
		if err == nil {
			t.Errorf("%s: planned %+v", path, faults)
			return errors.New("")
		}
		return err
	}
	if err := plan("/dev/shm"); !errors.Is(err, targets.ErrUnsupported) || !strings.Contains(err.Error(), "no disk of this machine") {
		t.Errorf("a tmpfs: %v", err)
	}
	if err := plan(path + "/nowhere"); !strings.Contains(err.Error(), "not there") {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(n.group, "cgroup.procs"), fmt.Append(nil, os.Getpid()), 0); err != nil {
		t.Fatal(err)
	}
	err := plan(path)
	if back := os.WriteFile("/sys/fs/cgroup/blkio/cgroup.procs", fmt.Append(nil, os.Getpid()), 0); back != nil {
		t.Fatal(back)
	}
	if !errors.Is(err, targets.ErrUnsupported) || !strings.Contains(err.Error(), "holds others as well") {
		t.Errorf("a stranger in the group: %v", err)
	}
	if err := os.WriteFile("/sys/fs/cgroup/blkio/cgroup.procs", fmt.Append(nil, n.main.PID), 0); err != nil {
		t.Fatal(err)
	}
	if err := plan(path); !errors.Is(err, targets.ErrUnsupported) || !strings.Contains(err.Error(), "is the root") {
		t.Errorf("the root group: %v", err)
	}
}

func TestAGroupThatIsGoneHasNothingToTakeBack(t *testing.T) {
	testenv.NeedRoot(t)
	s := state{Group: cgroups.Group{Dir: "/sys/fs/cgroup/blkio/not-there"}, Disk: volumes.Disk{Number: "8:0"}, Changes: []change{{Limit: writeBytes, Now: 1}}}
	x := newSlower(Params{})
	if err := x.Inject(t.Context(), node{}, s); !errors.Is(err, targets.ErrGone) {
		t.Errorf("%v", err)
	}
	if err := x.Revert(t.Context(), node{}, s); err != nil {
		t.Error(err)
	}
	if ok, proof, err := x.Reverted(t.Context(), node{}, s); !ok || err != nil {
		t.Errorf("%v, %q, %v", ok, proof, err)
	}
}
