package netns_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/netns"
	"github.com/dapple-drills/dapple/targets/process"
)

// played lets this binary be a keeper, or a member that says its name to whoever
// connects.
func played(part string, args []string) {
	switch part {
	case "keeper":
		if err := netns.KeeperMain(context.Background(), args); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	case "member":
		l, err := net.Listen("tcp", ":"+port)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		for {
			c, err := l.Accept()
			if err != nil {
				os.Exit(1)
			}
			_, _ = io.WriteString(c, args[0])
			_ = c.Close()
		}
	}
}

const port = "7007"

// keep starts a keeper with members a and b in a lab.
func keep(t *testing.T) (*process.Cluster, []*netns.Node) {
	t.Helper()
	me, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	o := process.Options{Keeper: []string{me, "keeper"}, Dir: filepath.Join(t.TempDir(), "c"), Lifeline: true, Namespaces: true}
	for _, name := range []string{"a", "b"} {
		o.Members = append(o.Members, process.Member{Name: name, Argv: []string{me, "member", name}})
	}
	c, err := process.Start(t.Context(), o)
	if errors.Is(err, targets.ErrUnsupported) {
		testenv.Need(t, "userns", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := c.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	all, err := netns.Nodes(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	var nodes []*netns.Node
	for _, n := range all {
		if err := n.(targets.Starter).Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, n.(*netns.Node))
	}
	return c, nodes
}

// said is what the member at the other end of a connection says.
func said(dial func(ctx context.Context, network, addr string) (net.Conn, error), n *netns.Node) string {
	addrs, err := n.Addresses(context.Background())
	if err != nil {
		return err.Error()
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c, err := dial(ctx, "tcp", net.JoinHostPort(addrs[0], port))
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	word, err := io.ReadAll(c)
	return string(word) + fmt.Sprint(errors.Join(err))
}

func TestMembersInALabAreReachedByClientsAndByEachOtherFromOutside(t *testing.T) {
	c, nodes := keep(t)
	a, b := nodes[0], nodes[1]
	clients := func(ctx context.Context, network, addr string) (net.Conn, error) {
		return netns.DialClients(ctx, c.Socket(), network, addr)
	}
	until(t, "a answers", func() bool { return said(clients, a) == "a<nil>" })
	until(t, "b answers to a", func() bool { return said(a.DialContext, b) == "b<nil>" })
	if got := said((&net.Dialer{}).DialContext, a); strings.HasPrefix(got, "a") {
		t.Errorf("a is reached from this machine's own network: %s", got)
	}
	again, err := netns.Opener().Open(t.Context(), b.Spec())
	if err != nil {
		t.Fatal(err)
	}
	if got := said(again.(*netns.Node).DialContext, a); got != "a<nil>" {
		t.Errorf("from b, opened again, a says %q", got)
	}
}

func TestAMemberInALabHasItsOwnDiskAndNetworkAndItsProcessesAreSeen(t *testing.T) {
	_, nodes := keep(t)
	a := nodes[0]
	procs, err := a.Processes(t.Context())
	if err != nil || len(procs) != 1 || !procs[0].Main {
		t.Fatalf("its processes: %+v, %v", procs, err)
	}
	path, err := a.NetNS(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.Readlink(path)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := a.Exec(t.Context(), "readlink", "/proc/self/ns/net", fmt.Sprintf("/proc/%d/ns/net", procs[0].PID)); string(out) != want+"\n"+want+"\n" || err != nil {
		t.Errorf("a command and the member run in %q, %v, want %q", out, err, want)
	}
	if _, err := a.Exec(t.Context(), "sh", "-c", "echo no such luck >&2; exit 3"); err == nil || !strings.Contains(err.Error(), "no such luck") {
		t.Errorf("a command that fails: %v, want what it said", err)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(fmt.Sprintf("/proc/%d/root"+netns.DiskPath, procs[0].PID), &st); err != nil || st.Type != unix.TMPFS_MAGIC || st.Blocks*uint64(st.Bsize) != netns.DiskSize {
		t.Errorf("its disk: %+v, %v", st, err)
	}
}

func TestAProgramInALabIsKilledWithWhoeverAskedForIt(t *testing.T) {
	_, nodes := keep(t)
	a := nodes[0]
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := a.Exec(ctx, "sh", "-c", "sleep 1000 & wait"); err == nil {
		t.Error("a command that was cut off succeeded")
	}
	until(t, "what it started is dead", func() bool {
		procs, err := a.Processes(t.Context())
		return err == nil && len(procs) == 1
	})
}

func TestAMemberInALabIsKilledAndStartedAgainOnItsOldDisk(t *testing.T) {
	_, nodes := keep(t)
	a := nodes[0]
	if _, err := a.Exec(t.Context(), "sh", "-c", "echo kept > /mnt/file"); err != nil {
		t.Fatal(err)
	}
	if err := a.Fence(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s, err := a.State(t.Context()); s.Running || err != nil {
		t.Errorf("after fencing: %+v, %v", s, err)
	}
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := nodes[1].Exec(t.Context(), "cat", "/mnt/file"); err == nil {
		t.Error("another member sees its file")
	}
	if out, err := a.Exec(t.Context(), "cat", "/mnt/file"); string(out) != "kept\n" || err != nil {
		t.Errorf("its file: %q, %v", out, err)
	}
}

func TestNothingOutlivesAKeeperThatIsKilled(t *testing.T) {
	c, nodes := keep(t)
	var ids []targets.ProcID
	for _, n := range nodes {
		procs, err := n.Processes(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range procs {
			ids = append(ids, p.ProcID)
		}
	}
	s, err := kernel.ReadStat(ids[0].PID)
	if err != nil {
		t.Fatal(err)
	}
	p, err := kernel.ReadProc(s.PID)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(p.Parent, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		until(t, "a member is dead", func() bool {
			s, err := kernel.ReadStat(id.PID)
			return errors.Is(err, targets.ErrGone) || err == nil && (s.Start != id.Start || s.Dead())
		})
	}
	if _, err := nodes[0].NetNS(t.Context()); !errors.Is(err, targets.ErrGone) {
		t.Errorf("its network then: %v, want ErrGone", err)
	}
	if err := c.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(c.Dir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory: %v", err)
	}
}
