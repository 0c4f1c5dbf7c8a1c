// Package vmtest runs tests of a package on another kernel than this machine's:
// Debian's, in a virtual machine that QEMU emulates. It is for what the kernel
// underneath cannot do (netem), or does otherwise (version 2 of control groups
// alone), so that no test of it has to be left out.
//
// A guest has the test binary of the package that asks, a kernel and its modules,
// and nothing else: no programs, no disk, no network. It boots in some seconds,
// so the tests of a package share one boot:
//
//	func TestOnDebiansKernel(t *testing.T) {
//		vmtest.Run(t, vmtest.Guest{
//			Modules: []string{"veth", "bridge", "sch_netem"},
//			Have:    "root,netem",
//			Tests:   []string{"TestNetem"}, // all whose names begin so
//		})
//	}
//
// Each test that was sent is a subtest here, with what it said in the guest. One
// that did not run there, was skipped there, or of which nothing was heard, has
// failed: no test passes because the guest did not run.
//
// The package does not use hardware virtualization, which not every machine that
// runs tests has, and knows no architecture but amd64. It installs nothing:
// .ci/vm-kernel does. It is for tests only.
package vmtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/internal/vmtest/guest/order"
)

// A Guest is what a package's tests need.
type Guest struct {
	// Modules are loaded before the tests, each after what it depends on.
	Modules []string
	// Have is what the guest has, as in DAPPLE_HAVE: a test that is sent there for
	// one of these must not skip for its lack.
	Have string
	// Tests are the beginnings of the names of the tests to run.
	Tests []string
	// Files are put into the guest: path there to path here.
	Files map[string]string
	// Env is added to the environment of the tests: "KEY=value".
	Env []string
	// Timeout is for the tests, without the boot; 4 minutes if it is 0.
	Timeout time.Duration
}

// bootTime is how long a guest may take until its tests begin: 3 s on an idle
// machine, so that this only ends a boot that hangs.
const bootTime = 5 * time.Minute

// Need ends the test unless this machine can run guests.
func Need(t testing.TB) {
	t.Helper()
	testenv.Need(t, "vm", missing())
}

// Inside ends the test unless it runs in a guest. It is for what is a guest's
// alone; a test that needs no more than, say, netem says so instead, and runs
// wherever that is.
func Inside(t testing.TB) {
	t.Helper()
	var outside error
	if _, err := os.Stat(order.Path); err != nil {
		outside = errors.New("it is run in a guest by another test of this package")
	}
	testenv.Need(t, inside, outside)
}

// inside is the feature that every guest has, and nothing else.
const inside = "guest"

func missing() error {
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		return fmt.Errorf("guests are for linux/amd64, this is %s/%s", runtime.GOOS, runtime.GOARCH)
	}
	if _, err := exec.LookPath(qemu); err != nil {
		return fmt.Errorf("%w: apt-get install qemu-system-x86", err)
	}
	_, err := findKernel()
	return err
}

// Run boots a guest, and has each of its tests as a subtest of t.
func Run(t *testing.T, g Guest) {
	t.Helper()
	Need(t)
	names, err := g.tests()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := g.build(t.Context(), dir, names); err != nil {
		t.Fatal(err)
	}
	r, err := g.boot(t, dir)
	if err != nil {
		t.Fatalf("%v\nthe guest's console:\n%s\nwhat its tests said:\n%s", err, r.console, r.said)
	}
	t.Logf("guest: Linux %s, tests began %v after its start, all took %v", r.up.kernel, r.booted.Round(time.Millisecond), r.took.Round(time.Millisecond))
	for _, x := range judge(r.said, names) {
		t.Run(x.name, func(t *testing.T) {
			t.Log(x.said)
			if x.bad != "" {
				t.Error(x.bad)
			}
		})
	}
	if r.code != 0 && !t.Failed() {
		t.Errorf("the test binary ended with %d in the guest, but every test passed:\n%s", r.code, r.said)
	}
}

// boot runs the guest, a second time if it did not come up: emulated machines
// hang at times. What happens after that is the tests', and is not repeated.
func (g Guest) boot(t *testing.T, dir string) (r result, err error) {
	limit := g.Timeout
	if limit == 0 {
		limit = 4 * time.Minute
	}
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), bootTime+limit)
		r, err = run(ctx, machine{Kernel: filepath.Join(dir, "vmlinuz"), Initrd: filepath.Join(dir, "initrd"), Console: filepath.Join(dir, "console")})
		cancel()
		if !errors.Is(err, errNotUp) {
			break
		}
		t.Logf("%v; its console:\n%s", err, r.console)
	}
	return r, err
}
