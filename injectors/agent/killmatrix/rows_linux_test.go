package killmatrix

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/netns"
)

// A row says how one fault is tried.
type row struct {
	kind, with string
	named      string // "" is the kind
	// alive looks, by other means than the injector's, whether the fault holds.
	alive func(v *victim) (bool, error)
	// busy is for a victim that keeps a third of a processor at work.
	busy bool
	// journal says that nothing but the journal ends it once runner and agent are
	// both dead (safety: "Four layers of ending", the last sentence).
	journal bool
}

// rows has one for every fault of the catalogue; a test keeps it so.
func rows() []row {
	flag := filepath.Join(os.TempDir(), fmt.Sprintf("matrix-%d", os.Getpid()))
	list := []row{
		{kind: "clockskew", with: `{"offset": "-1h"}`, alive: skewed},
		{kind: "command", with: fmt.Sprintf(`{"inject": ["touch", %[1]q], "revert": ["rm", "-f", %[1]q], "check": ["test", "-e", %[1]q]}`, flag),
			alive: func(*victim) (bool, error) { return exists(flag), nil }, journal: true},
		{kind: "diskfill", with: `{"path": "/mnt"}`, alive: full},
		{kind: "diskslow", with: `{"path": "/var/tmp", "write": "1MiB/s"}`, alive: slow, journal: true},
		{kind: "dns", with: `{"refuse": "servfail", "servers": ["127.0.0.1"]}`, alive: refused},
		{kind: "kill", with: `{}`, alive: down, journal: true},
		{kind: "netem", with: `{"delay": 200000000}`, alive: late},
		{kind: "noop", with: `{}`, alive: func(*victim) (bool, error) { return false, nil }},
		{kind: "partition", with: `{}`, alive: unheard},
		{kind: "pause", with: `{}`, alive: stopped, journal: true},
		{kind: "pressure", with: `{"cpu": "95%"}`, alive: limited, busy: true, journal: true},
		{kind: "pressure", named: "pressure by burner", with: `{"cpu": "5%", "by": "burner"}`, alive: burned},
		{kind: "readonly", with: fmt.Sprintf(`{"path": %q}`, private()), alive: covered, journal: true},
	}
	for i, r := range list {
		if r.named == "" {
			list[i].named = r.kind
		}
	}
	return list
}

// private is a directory that the victims have a file system of their own at, and
// below which no machine has one. To remove it here takes it from all of them.
func private() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("matrix-%d-private", os.Getpid()))
}

// makePrivate makes that directory, until the test is over.
func makePrivate(t *testing.T) {
	t.Helper()
	if err := os.Mkdir(private(), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(private()); err != nil {
			t.Error(err)
		}
	})
}

// A victim is a node "a" with a peer "b": each a process in a network and mounts of
// its own, with small file systems at /mnt and private, and in a's network what an
// operator might have there. The process of a is in control groups of its own.
type victim struct {
	lab    *netns.Lab
	a, b   *netns.Node
	port   string            // b listens there
	groups map[string]string // of a, by the controller of version 1; "" is that of version 2
}

const body = `mount -t tmpfs -o size=8m victim /mnt && mount -t tmpfs -o size=1m private "$1" &&
	mode=$2 && shift 2 && for group in "$@"; do echo $$ >"$group/cgroup.procs" || exit 1; done &&
	exec "$0" victim /mnt/clock $mode`

func newVictim(t testing.TB, r row) *victim {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	me, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	v, mode := &victim{groups: grouped(t)}, "idle"
	if r.busy {
		mode = "busy"
	}
	argv := []string{"unshare", "--mount", "sh", "-c", body, me, private(), mode}
	inGroups := append(slices.Clone(argv), slices.Sorted(maps.Values(v.groups))...)
	l, err := netns.New(ctx, netns.Member{Name: "a", Main: inGroups}, netns.Member{Name: "b", Main: argv})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	v.lab, v.a, v.b = l, l.Node("a"), l.Node("b")
	path, err := v.b.NetNS(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var listener net.Listener
	if err := kernel.InNetNS(path, func() (err error) { listener, err = net.Listen("tcp4", ":0"); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for c, err := listener.Accept(); err == nil; c, err = listener.Accept() {
			_ = c.Close()
		}
	}()
	v.name(t)
	_, v.port, _ = net.SplitHostPort(listener.Addr().String())
	return v
}

// grouped makes control groups for one victim, and removes them after it.
func grouped(t testing.TB) map[string]string {
	t.Helper()
	const root = "/sys/fs/cgroup"
	name, groups := fmt.Sprintf("dapple-matrix-%d-%s", os.Getpid(), rand.Text()[:8]), map[string]string{}
	for _, controller := range []string{"cpu", "blkio"} {
		if exists(filepath.Join(root, controller, "cgroup.procs")) {
			groups[controller] = filepath.Join(root, controller, name)
		}
	}
	if len(groups) == 0 {
		groups[""] = filepath.Join(root, name)
	}
	for _, dir := range groups {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatalf("a control group for a victim: %v", err)
		}
		t.Cleanup(func() {
			for deadline := time.Now().Add(10 * time.Second); ; <-time.After(5 * time.Millisecond) {
				err := os.Remove(dir) // it is busy until its last process is gone
				if err == nil {
					return
				}
				if time.Now().After(deadline) {
					t.Error(err)
					return
				}
			}
		})
	}
	return groups
}

// setting reads a file of a's control group: v1 of the controller, or v2.
func (v *victim) setting(controller, v1, v2 string) (string, error) {
	dir, file := v.groups[controller], v1
	if dir == "" {
		dir, file = v.groups[""], v2
	}
	data, err := os.ReadFile(filepath.Join(dir, file))
	return strings.TrimSpace(string(data)), err
}

// slow looks for the limit of the disk.
func slow(v *victim) (bool, error) {
	text, err := v.setting("blkio", "blkio.throttle.write_bps_device", "io.max")
	return strings.Contains(text, "1048576"), err
}

// limited looks for that of the processors.
func limited(v *victim) (bool, error) {
	text, err := v.setting("cpu", "cpu.cfs_quota_us", "cpu.max")
	return text != "-1" && !strings.HasPrefix(text, "max"), err
}

// burned looks for another process beside the victim's.
func burned(v *victim) (bool, error) {
	text, err := v.setting("cpu", "cgroup.procs", "cgroup.procs")
	return len(strings.Fields(text)) > 1, err
}

// covered asks whether something could be written at the victim's own file system.
func covered(v *victim) (bool, error) {
	main, ok, err := v.ready()
	if err != nil || !ok {
		return false, err
	}
	err = unix.Access(fmt.Sprintf("/proc/%d/root%s", main.PID, private()), unix.W_OK)
	if errors.Is(err, unix.EROFS) {
		return true, nil
	}
	return false, err
}

// name has a name server in a's network, at 127.0.0.1, which says of everything that
// it is so, without an answer.
func (v *victim) name(t testing.TB) {
	t.Helper()
	c, err := v.udp(func() (net.PacketConn, error) { return net.ListenPacket("udp4", "127.0.0.1:53") })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	go func() {
		buf := make([]byte, 1500)
		for n, from, err := c.ReadFrom(buf); !errors.Is(err, net.ErrClosed); n, from, err = c.ReadFrom(buf) {
			if n > 2 {
				buf[2] |= 0x80 // an answer (RFC 1035, 4.1.1)
				_, _ = c.WriteTo(buf[:n], from)
			}
		}
	}()
}

// udp makes a socket in a's network.
func (v *victim) udp(make func() (net.PacketConn, error)) (c net.PacketConn, err error) {
	path, err := v.a.NetNS(context.Background())
	if err == nil {
		err = kernel.InNetNS(path, func() error { c, err = make(); return err })
	}
	return c, err
}

// refused asks for the name "x", and looks at the code of what comes back.
func refused(v *victim) (bool, error) {
	c, err := v.udp(func() (net.PacketConn, error) { return net.ListenPacket("udp4", "127.0.0.1:0") })
	if err != nil {
		return false, err
	}
	defer c.Close()
	question := []byte{0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 'x', 0, 0, 1, 0, 1}
	if _, err := c.WriteTo(question, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 53}); err != nil {
		return false, err
	}
	buf := make([]byte, 100)
	_ = c.SetReadDeadline(time.Now().Add(250 * time.Millisecond)) // it is open
	n, _, err := c.ReadFrom(buf)
	// What is led to an agent that has just been killed gets no answer.
	return err != nil || n < 4 || buf[3]&0xf != 0, nil
}

// ready says whether the node's main process is what it is to be.
func (v *victim) ready() (main targets.ProcID, ok bool, err error) {
	all, err := v.a.Processes(context.Background())
	if err != nil || len(all) == 0 || !strings.HasPrefix(filepath.Base(os.Args[0]), all[0].Name) {
		return main, false, err
	}
	return all[0].ProcID, true, nil
}

// full asks the file system through the root of the node's process.
func full(v *victim) (bool, error) {
	main, ok, err := v.ready()
	if err != nil || !ok {
		return false, err
	}
	var st unix.Statfs_t
	if err := unix.Statfs(fmt.Sprintf("/proc/%d/root/mnt", main.PID), &st); err != nil {
		return false, err
	}
	return st.Bavail < st.Blocks/2, nil
}

// skewed reads what the node's process wrote down last, and when.
func skewed(v *victim) (bool, error) {
	main, ok, err := v.ready()
	if err != nil || !ok {
		return false, err
	}
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/root/mnt/clock", main.PID))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	ns, err := strconv.ParseInt(string(data), 10, 64)
	// No machine is so busy that what it writes down is half an hour old.
	return time.Since(time.Unix(0, ns)) > 30*time.Minute, err
}

// down looks for the death of the main process.
func down(v *victim) (bool, error) {
	s, err := v.a.State(context.Background())
	return !s.Running, err
}

// unheard tries to reach b from a.
func unheard(v *victim) (bool, error) { return v.reach(250 * time.Millisecond) }

// late tries to do so within less than what packets are held back.
func late(v *victim) (bool, error) { return v.reach(150 * time.Millisecond) }

func (v *victim) reach(within time.Duration) (failed bool, err error) {
	addrs, err := v.b.Addresses(context.Background())
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	c, err := v.a.DialContext(ctx, "tcp4", net.JoinHostPort(addrs[0], v.port))
	if err != nil {
		return true, nil
	}
	return false, c.Close()
}

// stopped asks for the states of its threads.
func stopped(v *victim) (bool, error) {
	main, ok, err := v.ready()
	if err != nil || !ok {
		return false, err
	}
	states, err := kernel.Threads(main)
	if errors.Is(err, targets.ErrGone) {
		return false, nil
	}
	return strings.Contains(states, "T"), err
}
