package diskfill

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/internal/volumes"
	"github.com/dapple-drills/dapple/targets"
)

func planned(t *testing.T, n targets.Node, p Params) error {
	t.Helper()
	faults, err := injectors.Of(kind, newFiller(p)).Plan(t.Context(), injectors.Aim{On: []targets.Node{n}})
	if err == nil {
		t.Errorf("planned %+v", faults)
		return errors.New("")
	}
	return err
}

func TestTheHostsOwnDiskIsRefusedWithoutALimit(t *testing.T) {
	testenv.NeedRoot(t)
	dir := t.TempDir()
	n := nodeOf(t, spawn(t, exec.Command("sh", "-c", "echo ready; read end")))
	if err := planned(t, n, Params{Path: dir}); !strings.Contains(err.Error(), "carries the host's /") || !strings.Contains(err.Error(), "limit") {
		t.Error(err)
	}
	// With a limit that is less than would have to be taken, the limit is the reason.
	if err := planned(t, n, Params{Path: dir, Limit: Amount{text: "1MiB", n: 1 << 20}}); !strings.Contains(err.Error(), "more than the limit") {
		t.Error(err)
	}
	now := spaceOf(t, n, dir)
	free := now.Avail*now.Block - 256<<20 // others use that disk too
	p := Params{Path: dir, Free: Amount{text: "most", n: free}, Limit: Amount{text: "1GiB", n: 1 << 30}}
	if _, err := newFiller(p).planOne(t.Context(), n); err != nil {
		t.Errorf("with a limit it may: %v", err)
	}
}

func TestPathsThatAreNotThereAreRefused(t *testing.T) {
	n, path := mounted(t, "tmpfs")
	file := fmt.Sprintf("/proc/%d/root%s/file", n.main.PID, path)
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for p, says := range map[string]string{path + "/nowhere": "not there", path + "/file": "no directory", "/proc/self/cwd": "link of /proc"} {
		if err := planned(t, n, Params{Path: p}); !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", p, err, says)
		}
	}
	if err := syscall.Kill(n.main.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	until(t, "it is dead", func() (bool, error) { all, err := n.Processes(t.Context()); return len(all) == 0, err })
	if err := planned(t, n, Params{Path: path}); !strings.Contains(err.Error(), "does not run") {
		t.Error(err)
	}
}

// A link in the node that points to a directory of the host must lead to the
// node's own directory of that name, or nowhere.
func TestASymbolicLinkDoesNotLeadOutOfTheNode(t *testing.T) {
	testenv.NeedRoot(t)
	root, host := t.TempDir(), t.TempDir()
	for link, to := range map[string]string{"absolute": host, "relative": "../../../../../../../../../.." + host} {
		if err := os.Symlink(to, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(root, "proc"), 0o755); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), chrootEnv+"="+root)
	n := nodeOf(t, spawn(t, cmd))
	for _, link := range []string{"/absolute", "/relative", "/../" + host} {
		dir, err := volumes.OpenIn(n.main, link)
		if err == nil {
			t.Errorf("%s led to %s", link, dir.Name())
			dir.Close()
		} else if !strings.Contains(err.Error(), "not there") {
			t.Error(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(root, host), 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := volumes.OpenIn(n.main, "/absolute")
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	got, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", dir.Fd()))
	if err != nil || got != filepath.Join(root, host) {
		t.Errorf("it led to %s, %v", got, err)
	}
}

func TestATmpfsThatWouldEatTheHostsMemoryIsRefused(t *testing.T) {
	n, path := mounted(t, "tmpfs")
	v, err := volumes.Enter(t.Context(), n, path)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Dir.Close()
	if err := memory(v.Mount, state{Path: path}, 1<<50); err == nil || !strings.Contains(err.Error(), "memory") {
		t.Error(err)
	}
}
