package netns_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/netns"
)

func lab(t *testing.T, members ...netns.Member) *netns.Lab {
	t.Helper()
	testenv.NeedRoot(t)
	l, err := netns.New(t.Context(), members...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return l
}

// listen listens inside the node and answers everyone with its name.
func listen(t *testing.T, n *netns.Node) (port string) {
	t.Helper()
	path, err := n.NetNS(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var l net.Listener
	if err := kernel.InNetNS(path, func() (err error) { l, err = net.Listen("tcp", ":0"); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, n.Name())
			c.Close()
		}
	}()
	_, port, _ = net.SplitHostPort(l.Addr().String())
	return port
}

func TestEveryNodeReachesEveryOtherByEachOfItsAddresses(t *testing.T) {
	l := lab(t, netns.Named("a", "b", "c")...)
	for _, to := range l.Nodes() {
		port := listen(t, l.Node(to.Name()))
		addrs, err := to.(targets.Addresser).Addresses(t.Context())
		if err != nil || len(addrs) != 2 {
			t.Fatalf("addresses of %s: %v, %v", to.Name(), addrs, err)
		}
		for _, from := range l.Nodes() {
			for _, a := range addrs {
				c, err := from.(targets.Dialer).DialContext(t.Context(), "tcp", net.JoinHostPort(a, port))
				if err != nil {
					t.Errorf("%s to %s (%s): %v", from.Name(), to.Name(), a, err)
					continue
				}
				said, err := io.ReadAll(c)
				if string(said) != to.Name() || err != nil {
					t.Errorf("%s to %s (%s): %q, %v", from.Name(), to.Name(), a, said, err)
				}
				c.Close()
			}
		}
	}
}

func TestALabTouchesNothingOfThisMachinesOwnNetwork(t *testing.T) {
	l := lab(t, netns.Named("a", "b")...)
	list, err := net.Interfaces() // other tests may come and go beside us
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range list {
		if addrs, err := i.Addrs(); err == nil && strings.Contains(fmt.Sprint(addrs), "198.18.") || i.Name == "hub" || i.Name == "to1" {
			t.Errorf("this machine has the link %s with %v", i.Name, addrs)
		}
	}
	if _, err := net.DialTimeout("tcp", net.JoinHostPort(address(t, l.Node("a")), listen(t, l.Node("a"))), 100*time.Millisecond); err == nil {
		t.Error("a node can be reached from this machine's own network")
	}
}

func address(t *testing.T, n *netns.Node) string {
	t.Helper()
	addrs, err := n.Addresses(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return addrs[0]
}

func TestANodeIsOpenedAgainFromItsSpecAndGoneWithItsLab(t *testing.T) {
	l := lab(t, netns.Named("a")...)
	spec := l.Node("a").Spec()
	n, err := netns.Opener().Open(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	want, err := l.Node("a").NetNS(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := n.(targets.NetNS).NetNS(t.Context()); got != want || err != nil {
		t.Errorf("its namespace: %q, %v, want %q", got, err, want)
	}
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := n.(targets.NetNS).NetNS(t.Context()); !errors.Is(err, targets.ErrGone) {
		t.Errorf("its namespace after its lab was closed: %v, want ErrGone", err)
	}
	if _, err := netns.Opener().Open(t.Context(), spec); !errors.Is(err, targets.ErrGone) {
		t.Errorf("opening it then: %v, want ErrGone", err)
	}
}

func TestACommandRunsInsideTheNodeAndIsKilledWithItsContext(t *testing.T) {
	l := lab(t, netns.Named("a")...)
	n := l.Node("a")
	path, err := n.NetNS(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.Readlink(path)
	if err != nil {
		t.Fatal(err)
	}
	out, err := n.Exec(t.Context(), "readlink", "/proc/self/ns/net")
	if strings.TrimSpace(string(out)) != want || err != nil {
		t.Errorf("it ran in %q, %v, want %q", out, err, want)
	}
	if _, err := n.Exec(t.Context(), "sh", "-c", "echo no such luck >&2; exit 3"); err == nil || !strings.Contains(err.Error(), "no such luck") {
		t.Errorf("a command that fails: %v, want what it said", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := n.Exec(ctx, "sh", "-c", "sleep 1000 & wait"); err == nil {
		t.Error("a command that was cut off succeeded")
	}
	if procs, err := n.Processes(t.Context()); len(procs) > 0 || err != nil {
		t.Errorf("left behind: %v, %v", procs, err)
	}
}

func TestAMainProcessIsSeenKilledFencedAndStartedAgainFromAnyProcess(t *testing.T) {
	l := lab(t, netns.Member{Name: "a", Main: []string{"sh", "-c", "sleep 1000 & wait"}})
	opened, err := netns.Opener().Open(t.Context(), l.Node("a").Spec())
	if err != nil {
		t.Fatal(err)
	}
	n := opened.(*netns.Node)
	first := running(t, n)
	h, err := n.Hold(t.Context(), first.ProcID)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(h.Exited(t.Context()), h.Close()); err != nil {
		t.Fatal(err)
	}
	until(t, "the main process is said to be dead", func() bool {
		s, err := n.State(t.Context())
		return err == nil && !s.Running && strings.Contains(s.Detail, "killed")
	})
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := running(t, n)
	if second.ProcID == first.ProcID {
		t.Error("the dead process is shown as the running one")
	}
	if err := n.Fence(t.Context()); err != nil {
		t.Fatal(err)
	}
	if procs, err := n.Processes(t.Context()); len(procs) > 0 || err != nil {
		t.Errorf("after fencing there are %v, %v", procs, err)
	}
	if s, err := n.State(t.Context()); s.Running || err != nil {
		t.Errorf("after fencing: %+v, %v", s, err)
	}
}

func running(t *testing.T, n *netns.Node) targets.Proc {
	t.Helper()
	var main targets.Proc
	until(t, "the main process and its child run", func() bool {
		procs, err := n.Processes(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		// What a dead main process had started goes on, as on any machine.
		if len(procs) >= 2 && procs[0].Main {
			main = procs[0]
			return true
		}
		return false
	})
	return main
}

func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for !is() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not within 10 s", what)
		}
	}
}

// makerEnv makes this test binary a process that makes a lab and waits.
const makerEnv = "DAPPLE_TEST_NETNS_MAKER"

func TestMain(m *testing.M) {
	if os.Getenv(makerEnv) != "" {
		maker()
	}
	if len(os.Args) > 2 {
		played(os.Args[1], os.Args[2:])
	}
	os.Exit(m.Run())
}

// maker makes a lab, tells what is in it, and waits to be killed.
func maker() {
	l, err := netns.New(context.Background(), netns.Member{Name: "a", Main: []string{"sleep", "1000"}}, netns.Member{Name: "b"})
	if err != nil {
		os.Stdout.WriteString("error: " + err.Error() + "\n")
		os.Exit(1)
	}
	procs, err := l.Node("a").Processes(context.Background())
	if err != nil || len(procs) != 1 {
		os.Stdout.WriteString("error: no main process\n")
		os.Exit(1)
	}
	os.Stdout.WriteString("up " + procs[0].String() + "\n")
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

func TestTheDeathOfTheMakerTakesTheWholeLabWithIt(t *testing.T) {
	testenv.NeedRoot(t)
	died(t, nil)
}

func TestALabNeedsNoRootInAUserNamespace(t *testing.T) {
	nobody := 65534
	attr := &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	if os.Getuid() == 0 {
		// Root drops what it has first.
		attr.Credential = &syscall.Credential{Uid: 0, Gid: 0, NoSetGroups: true}
		attr.UidMappings[0].HostID, attr.GidMappings[0].HostID = nobody, nobody
	}
	died(t, attr)
}

// died starts a maker, kills it and looks for what it left.
func died(t *testing.T, attr *syscall.SysProcAttr) {
	t.Helper()
	exe := copyOf(t)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), makerEnv+"=1")
	cmd.SysProcAttr, cmd.Stderr = attr, os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		if attr != nil && errors.Is(err, syscall.EPERM) {
			testenv.Need(t, "userns", err)
		}
		t.Fatal(err)
	}
	line := make([]byte, 200)
	n, _ := out.Read(line)
	said := string(line[:n])
	if !strings.HasPrefix(said, "up ") {
		t.Errorf("the maker said %q", said)
	}
	mains := sleepers(t, cmd.Process.Pid)
	if len(mains) != 1 {
		t.Errorf("the maker has %d main processes, want 1", len(mains))
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed: that is its error
	for _, id := range mains {
		until(t, "the main process is gone", func() bool {
			s, err := kernel.ReadStat(id.PID)
			return errors.Is(err, targets.ErrGone) || err == nil && (s.Start != id.Start || s.Dead())
		})
	}
}

func sleepers(t *testing.T, parent int) (ids []targets.ProcID) {
	t.Helper()
	procs, err := kernel.Procs(kernel.Filter{Keep: func(p kernel.Proc) bool { return p.Parent == parent }})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range procs {
		ids = append(ids, p.ProcID)
	}
	return ids
}

// copyOf is this binary where another user can run it.
func copyOf(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "dapple-netns")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "maker")
	if err := os.WriteFile(path, data, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}
