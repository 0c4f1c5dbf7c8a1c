package partition

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dapple-drills/dapple/internal/testenv"
)

func TestTheDeathOfTheHolderEndsTheCutAtOnce(t *testing.T) {
	l := newLab(t, "a", "b")
	faults, err := plan(t, l.Nodes(), `{"from": ["others"]}`, "a")
	if err != nil {
		t.Fatal(err)
	}
	cmd := hire(t, l, faults[0], order{Lease: time.Hour})
	stop := make(chan struct{})
	s := streamOf(t, l.Node("b"), l.Node("a"), 0, stop)
	pause(20 * time.Millisecond)
	killed := time.Now()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	until(t, "the table is gone", func() bool {
		ok, _, err := newCutter(defaults(), kernelGround{}).Reverted(t.Context(), l.Node("a"), stateOf(t, faults[0]))
		return ok && err == nil
	})
	pause(20 * time.Millisecond)
	close(stop)
	first := (<-s).first()
	if first.IsZero() || first.Before(killed) {
		t.Fatalf("the first packet passed at %v, the holder was killed at %v", first, killed)
	}
	t.Logf("packets passed %v after the kill", first.Sub(killed))
}

func TestAHolderThatHangsLosesTheCutWhenItsLeaseEnds(t *testing.T) {
	l := newLab(t, "a", "b")
	faults, err := plan(t, l.Nodes(), `{"from": ["others"]}`, "a")
	if err != nil {
		t.Fatal(err)
	}
	const lease = 500 * time.Millisecond
	cmd := hire(t, l, faults[0], order{Lease: lease, Every: lease / 5})
	pause(lease + lease/2) // it is renewed beyond its first lease
	stop := make(chan struct{})
	s := streamOf(t, l.Node("b"), l.Node("a"), 100*time.Microsecond, stop)
	before := time.Now()
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	stopped := time.Now()
	pause(lease + 600*time.Millisecond)
	close(stop)
	first := (<-s).first()
	// The last renewal was at most a fifth of a lease, and a late wake-up, before
	// it was stopped; the kernel counts in ticks of its clock, and a busy machine
	// sends late.
	if first.IsZero() || first.Before(before.Add(lease/2)) || first.After(stopped.Add(lease+500*time.Millisecond)) {
		t.Errorf("packets passed %v after it was stopped, want the rest of the lease of %v", first.Sub(stopped), lease)
	}
	t.Logf("packets passed %v after the holder was stopped, lease %v", first.Sub(stopped), lease)
}

func TestRenewalsLetNotOnePacketThrough(t *testing.T) {
	l := newLab(t, "a", "b")
	h := cut(t, l.Nodes(), `{"from": ["others"]}`, "a")
	c, s := h.by["a"], stateOf(t, h.faults[0])
	stop := make(chan struct{})
	out := streamOf(t, l.Node("b"), l.Node("a"), 0, stop)
	const lease = 2 * time.Second
	for range 2000 {
		if err := c.Renew(t.Context(), nil, s, lease); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	r := <-out
	if r.sent < 100 || r.got > 0 {
		t.Errorf("%d of %d packets passed", r.got, r.sent)
	}
}

func TestBystandersLoseNotOnePacket(t *testing.T) {
	l := newLab(t, "a", "b", "c")
	stop := make(chan struct{})
	toVictim, fromVictim := streamOf(t, l.Node("c"), l.Node("a"), 200*time.Microsecond, stop), streamOf(t, l.Node("a"), l.Node("c"), 200*time.Microsecond, stop)
	for range 20 {
		h := cut(t, l.Nodes(), `{"peers": ["b"], "ports": ["5432", "9"]}`, "a")
		h.revert(t)
		h = cut(t, l.Nodes(), `{"peers": ["b", "192.0.2.7"]}`, "a")
		h.revert(t)
	}
	close(stop)
	for _, s := range []stream{<-toVictim, <-fromVictim} {
		if s.sent < 100 || s.got != s.sent {
			t.Errorf("%d of %d packets arrived", s.got, s.sent)
		}
	}
}

func TestANodeThatIsGoneHasNothingToRevert(t *testing.T) {
	l := newLab(t, "a", "b")
	h := cut(t, l.Nodes(), `{"from": ["others"]}`, "a")
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.revert(t)
	if err := Kind().Reopen().Revert(t.Context(), h.nodes["a"], h.faults[0]); err != nil && !strings.Contains(err.Error(), "not there any more") {
		t.Error(err)
	}
}

func TestWithoutRootItAllWorksInAUserNamespace(t *testing.T) {
	if os.Getenv(rootless) != "" {
		t.Skip("this is it")
	}
	exe := copyOf(t)
	const which = "^(TestWhoHears|TestOneWay|TestTheDeath|TestMachines|TestTheEffect|TestRejectIs|TestResetEnds)"
	cmd := exec.CommandContext(t.Context(), exe, "-test.run", which, "-test.v")
	cmd.Env = append(os.Environ(), rootless+"=1")
	host := syscall.SysProcIDMap{HostID: os.Getuid(), Size: 1}
	group := syscall.SysProcIDMap{HostID: os.Getgid(), Size: 1}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET}
	if os.Getuid() == 0 { // become nobody first
		host.HostID, group.HostID = 65534, 65534
		cmd.SysProcAttr.Credential = &syscall.Credential{NoSetGroups: true}
	}
	cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{host}, []syscall.SysProcIDMap{group}
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	if err != nil && len(out) == 0 {
		testenv.Need(t, "userns", err)
	}
	if err != nil || strings.Contains(string(out), "--- SKIP") || !strings.Contains(string(out), "--- PASS: TestWhoHears") {
		t.Errorf("%v\n%s", err, out)
	}
}

// copyOf is this binary where another user can run it.
func copyOf(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "dapple-partition")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	data, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err == nil {
		err = os.WriteFile(dir+"/partition.test", data, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir + "/partition.test"
}

// pause waits on the wall clock: for leases that run in the kernel there is
// nothing else to wait for.
func pause(d time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	<-ctx.Done()
}

// first is when the first packet arrived.
func (s stream) first() (at time.Time) {
	for _, x := range s.times {
		if at.IsZero() || x.Before(at) {
			at = x
		}
	}
	return at
}

func TestAFaultSurvivesItsRecord(t *testing.T) {
	l := newLab(t, "a", "b")
	faults, err := plan(t, l.Nodes(), `{"peers": ["b", "192.0.2.0/24", "clients"], "ports": ["80-90"], "also": ["dns", "ssh"]}`, "a")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range faults {
		s := stateOf(t, f)
		data, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(f.State), string(data)); d != "" {
			t.Error(d)
		}
		if !strings.Contains(f.Undo, s.Table) || !strings.Contains(f.Undo, "nsenter --net=/proc/") {
			t.Errorf("undo: %s", f.Undo)
		}
	}
}
