package diskfill

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/internal/volumes"
	"github.com/dapple-drills/dapple/targets"
)

// The test's own binary is also the process that holds a fault, and the main
// process of a node with a root of its own.
const (
	holdEnv   = "DAPPLE_TEST_DISKFILL_HOLD"   // "pid path"
	chrootEnv = "DAPPLE_TEST_DISKFILL_CHROOT" // the root
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(chrootEnv) != "":
		act(unix.Chroot(os.Getenv(chrootEnv)))
	case os.Getenv(holdEnv) != "":
		act(holdFor(os.Getenv(holdEnv)))
	default:
		os.Exit(m.Run())
	}
}

// act says that it is done, and waits to be killed.
func act(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ready")
	_, _ = bufio.NewReader(os.Stdin).ReadByte() // it is closed when the test dies
}

func holdFor(what string) error {
	pid, path, _ := strings.Cut(what, " ")
	number, err := strconv.Atoi(pid)
	if err != nil {
		return err
	}
	id, err := kernel.Identity(number)
	if err != nil {
		return err
	}
	inj, n := injectors.Of(kind, newFiller(Params{Path: path})), node{id}
	faults, err := inj.Plan(context.Background(), injectors.Aim{On: []targets.Node{n}})
	if err != nil {
		return err
	}
	return inj.Inject(context.Background(), n, faults[0])
}

// A node is one process.
type node struct{ main targets.ProcID }

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

// spawn starts a process in a mount namespace of its own, and returns once it says
// that it is ready. All that it mounted is gone with it.
func spawn(t *testing.T, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
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
	return cmd
}

func nodeOf(t *testing.T, cmd *exec.Cmd) node {
	t.Helper()
	id, err := kernel.Identity(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return node{id}
}

// mounted makes a node that has a file system of its own at the path.
func mounted(t *testing.T, fs string) (n node, path string) {
	t.Helper()
	testenv.NeedRoot(t)
	dir := t.TempDir()
	path = filepath.Join(dir, "data")
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	script := "mount -t tmpfs -o size=64m,nr_inodes=500 none " + path
	if fs == "ext4" {
		image := filepath.Join(dir, "image")
		// 5 % are reserved for root, as by default; 1,024 inodes.
		script = fmt.Sprintf("truncate -s 64M %s && mkfs.ext4 -q -m 5 -N 1024 %s && mount -o loop %s %s", image, image, image, path)
	}
	return nodeOf(t, spawn(t, exec.Command("sh", "-c", script+" && chmod 777 "+path+" && echo ready && read end"))), path
}

type held struct {
	inj injectors.Injector
	n   node
	f   injectors.Fault
}

// filled plans, injects, and looks that it holds.
func filled(t *testing.T, n node, p Params) held {
	t.Helper()
	h := held{injectors.Of(kind, newFiller(p)), n, injectors.Fault{}}
	faults, err := h.inj.Plan(t.Context(), injectors.Aim{On: []targets.Node{n}})
	if err != nil {
		t.Fatal(err)
	}
	h.f = faults[0]
	begin := time.Now()
	if err := h.inj.Inject(t.Context(), n, h.f); err != nil {
		t.Fatal(err)
	}
	took := time.Since(begin)
	ok, proof, err := h.inj.Effect(t.Context(), n, h.f)
	if !ok || err != nil {
		t.Fatalf("%v, %q, %v", ok, proof, err)
	}
	t.Logf("%s: in %v: %s", h.f.Does, took.Round(10*time.Microsecond), proof)
	return h
}

func (h held) reverted(t *testing.T) {
	t.Helper()
	for range 2 {
		if err := h.inj.Revert(t.Context(), h.n, h.f); err != nil {
			t.Fatal(err)
		}
	}
	if ok, proof, err := h.inj.(injectors.Reverted).Reverted(t.Context(), h.n, h.f); !ok || err != nil {
		t.Errorf("%v, %q, %v", ok, proof, err)
	}
}

func spaceOf(t *testing.T, n node, path string) space {
	t.Helper()
	now, err := kernelDisk{}.look(t.Context(), n, path)
	if err != nil {
		t.Fatal(err)
	}
	return now
}

// write writes a megabyte to a new file of the node, as a user without rights.
func write(t *testing.T, n node, path string) error {
	t.Helper()
	v, err := volumes.Enter(t.Context(), n, path)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Dir.Close()
	name := fmt.Sprintf("victim-%d", time.Now().UnixNano())
	fd, err := unix.Openat(int(v.Dir.Fd()), name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	defer func() {
		if err := unix.Unlinkat(int(v.Dir.Fd()), name, 0); err != nil {
			t.Error(err)
		}
	}()
	for range 16 {
		if _, err := asNobody(func() (int, error) { return unix.Write(fd, make([]byte, 64<<10)) })(); err != nil {
			return err
		}
	}
	return nil
}

func TestARealDiskIsFullToTheBlockAndFreeAgainAfterwards(t *testing.T) {
	for _, fs := range []string{"ext4", "tmpfs"} {
		t.Run(fs, func(t *testing.T) {
			n, path := mounted(t, fs)
			before := spaceOf(t, n, path)
			for _, c := range []struct {
				p   Params
				now func(space) uint64
			}{
				{Params{Path: path}, func(s space) uint64 { return s.Avail * s.Block }},
				{Params{Path: path, Free: Amount{text: "10MiB", n: 10 << 20}}, func(s space) uint64 { return s.Avail * s.Block }},
				{Params{Path: path, Free: Amount{text: "25%", share: 25}}, func(s space) uint64 { return s.Avail * s.Block }},
				{Params{Path: path, Root: true}, func(s space) uint64 { return s.Free * s.Block }},
				{Params{Path: path, Inodes: true}, func(s space) uint64 { return s.InodesFree }},
				{Params{Path: path, Inodes: true, Free: Amount{text: "100", n: 100}}, func(s space) uint64 { return s.InodesFree }},
			} {
				h := filled(t, n, c.p)
				var want state
				if err := json.Unmarshal(h.f.State, &want); err != nil {
					t.Fatal(err)
				}
				slack := 2 * before.Block // the file's own map
				if c.p.Inodes {
					slack = 0
				}
				got := c.now(spaceOf(t, n, path))
				if got > want.Free || want.Free-got > slack {
					t.Errorf("%d are left, asked for %d", got, want.Free)
				}
				err := write(t, n, path)
				if full := errors.Is(err, syscall.ENOSPC); full != (want.Free == 0) || !full && err != nil {
					t.Errorf("with %d left, a write of the victim's: %v", got, err)
				}
				h.reverted(t)
				if err := write(t, n, path); err != nil {
					t.Errorf("afterwards: %v", err)
				}
				after := spaceOf(t, n, path)
				if after != before {
					t.Errorf("before %+v, after %+v", before, after)
				}
			}
			entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/root%s", n.main.PID, path))
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if e.Name() != "lost+found" {
					t.Errorf("%s was left", e.Name())
				}
			}
		})
	}
}

// On ext4 root may use what others may not; a victim without rights finds it full.
func TestReservedBlocksAreLeftToRootUnlessTheVictimIsRoot(t *testing.T) {
	n, path := mounted(t, "ext4")
	h := filled(t, n, Params{Path: path})
	if now := spaceOf(t, n, path); now.Avail != 0 || now.Free == 0 {
		t.Errorf("%+v", now)
	}
	if full, words, err := (kernelDisk{}).refuses(t.Context(), n, state{Path: path, Root: true}); full || err != nil {
		t.Errorf("root: %v, %q, %v", full, words, err)
	}
	if full, words, err := (kernelDisk{}).refuses(t.Context(), n, state{Path: path}); !full || err != nil {
		t.Errorf("a user without rights: %v, %q, %v", full, words, err)
	}
	h.reverted(t)
}

func TestTheKernelFreesTheSpaceWhenTheHolderIsKilled(t *testing.T) {
	for _, fs := range []string{"ext4", "tmpfs"} {
		t.Run(fs, func(t *testing.T) {
			n, path := mounted(t, fs)
			before := spaceOf(t, n, path)
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			holder := exec.Command(self)
			holder.Env = append(os.Environ(), fmt.Sprintf("%s=%d %s", holdEnv, n.main.PID, path))
			spawn(t, holder)
			if now := spaceOf(t, n, path); now.Avail != 0 {
				t.Fatalf("the other process holds nothing: %+v", now)
			}
			begin := time.Now()
			if err := holder.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			until(t, "the space is free", func() (bool, error) {
				now := spaceOf(t, n, path)
				return now == before, fmt.Errorf("%+v", now)
			})
			t.Logf("free %v after the holder was killed", time.Since(begin).Round(100*time.Microsecond))
			// And the record alone has nothing to do.
			inj := Kind().Reopen()
			f := injectors.Fault{Kind: kind, Node: "n1", State: []byte(fmt.Sprintf(`{"path": %q, "device": %q}`, path, before.Device))}
			if err := inj.Revert(t.Context(), n, f); err != nil {
				t.Error(err)
			}
			if held, proof, err := inj.Effect(t.Context(), n, f); held || err != nil {
				t.Errorf("%v, %q, %v", held, proof, err)
			}
			if ok, proof, err := inj.(injectors.Reverted).Reverted(t.Context(), n, f); !ok || err != nil {
				t.Errorf("%v, %q, %v", ok, proof, err)
			}
		})
	}
}

func TestANodeThatDiesDoesNotKeepTheFaultFromEnding(t *testing.T) {
	n, path := mounted(t, "tmpfs")
	h := filled(t, n, Params{Path: path})
	if err := syscall.Kill(n.main.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	until(t, "it is dead", func() (bool, error) { all, err := n.Processes(t.Context()); return len(all) == 0, err })
	if held, proof, err := h.inj.Effect(t.Context(), n, h.f); !held || err != nil || !strings.Contains(proof, "down") {
		t.Errorf("what it will find is still full: %v, %q, %v", held, proof, err)
	}
	h.reverted(t)
}
