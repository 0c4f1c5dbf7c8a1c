package vmtest

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dapple-drills/dapple/internal/vmtest/guest/order"
)

// build writes the kernel and the initial file system of the guest into dir.
func (g Guest) build(ctx context.Context, dir string, names []string) error {
	k, err := findKernel()
	if err != nil {
		return err
	}
	modules, err := k.order(g.Modules)
	if err != nil {
		return err
	}
	tests, err := testBinary(ctx, dir)
	if err != nil {
		return err
	}
	first := filepath.Join(dir, "init")
	if err := goBuild(ctx, "build", "-ldflags=-s -w", "-o", first, "github.com/dapple-drills/dapple/internal/vmtest/guest"); err != nil {
		return err
	}
	a := archive{dirs: map[string]bool{}}
	for _, d := range []string{"/proc", "/sys", "/dev", "/tmp", "/run", "/root", "/mnt", "/var/tmp"} {
		a.folder(d)
	}
	a.add(entry{Name: "/dev/console", Mode: charDevice | 0o600, Major: 5, Minor: 1}, nil)
	o := order.Order{Argv: []string{"/test", "-test.v", "-test.count=1", "-test.run=^(" + strings.Join(names, "|") + ")$"},
		Env: append([]string{"PATH=/bin", "HOME=/root", "TMPDIR=/tmp", "DAPPLE_HAVE=" + inside + "," + g.Have}, g.Env...)}
	if g.Timeout > 0 {
		o.Argv = append(o.Argv, "-test.timeout="+g.Timeout.String())
	}
	files := maps.Clone(g.Files)
	if files == nil {
		files = map[string]string{}
	}
	files["/init"], files["/test"] = first, tests
	for i, m := range modules {
		name := fmt.Sprintf("/modules/%03d-%s", i, filepath.Base(m))
		files[name] = m
		o.Modules = append(o.Modules, name)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		data, err := os.ReadFile(files[name])
		if err != nil {
			return fmt.Errorf("the guest's %s: %w", name, err)
		}
		a.file(name, data)
	}
	data, err := json.Marshal(o)
	if err != nil {
		return err
	}
	a.file(order.Path, data)
	a.add(entry{Name: "TRAILER!!!"}, nil)
	if err := os.Symlink(k.image, filepath.Join(dir, "vmlinuz")); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "initrd"), a.Bytes(), 0o600)
}

// testBinary is the test binary of the package that asks, without a need for
// shared libraries, which the guest does not have: the one that runs, or, with
// the race detector, one made anew.
func testBinary(ctx context.Context, dir string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	f, err := elf.Open(self)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if !slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		return self, nil
	}
	out := filepath.Join(dir, "test")
	return out, goBuild(ctx, "test", "-c", "-vet=off", "-ldflags=-s -w", "-o", out, ".")
}

// goBuild makes a static program. Tests run in the folder of their package.
func goBuild(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// Kinds of files, as stat(2) names them.
const (
	directory  = 0o040000
	regular    = 0o100000
	charDevice = 0o020000
)

// An entry is the head of one file in an archive that the kernel unpacks at boot
// (cpio(5), "new ASCII").
type entry struct {
	Name         string
	Mode         uint32
	Major, Minor uint32
}

type archive struct {
	bytes.Buffer
	count int
	dirs  map[string]bool
}

func (a *archive) add(e entry, data []byte) {
	a.count++
	name := strings.TrimPrefix(e.Name, "/")
	fmt.Fprintf(a, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", a.count, e.Mode, 0, 0, 1, 0, len(data), 0, 0, e.Major, e.Minor, len(name)+1, 0)
	a.WriteString(name)
	a.WriteByte(0)
	a.align()
	a.Write(data)
	a.align()
}

// align fills up to a multiple of four bytes.
func (a *archive) align() { a.Write(make([]byte, -a.Len()&3)) }

// folder adds a folder and those above it.
func (a *archive) folder(name string) {
	if name == "/" || a.dirs[name] {
		return
	}
	a.folder(path.Dir(name))
	a.dirs[name] = true
	a.add(entry{Name: name, Mode: directory | 0o755}, nil)
}

func (a *archive) file(name string, data []byte) {
	a.folder(path.Dir(name))
	a.add(entry{Name: name, Mode: regular | 0o755}, data)
}
