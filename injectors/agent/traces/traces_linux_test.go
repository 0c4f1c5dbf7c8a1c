package traces_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dapple-drills/dapple/injectors/agent/traces"
	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/netns"
)

// A node of one process in a network, mounts and a control group of its own.
func node(t testing.TB) *netns.Node {
	t.Helper()
	testenv.NeedRoot(t)
	l, err := netns.New(context.WithoutCancel(t.Context()), netns.Member{Name: "a", Main: []string{"unshare", "--mount", "sleep", "1000"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	n := l.Node("a")
	for { // until unshare has become sleep
		if p := procsOf(t, n); len(p) > 0 && p[0].Name == "sleep" {
			return n
		}
		if t.Context().Err() != nil {
			t.Fatal("the node never came up")
		}
	}
}

func procsOf(t testing.TB, n *netns.Node) []targets.Proc {
	t.Helper()
	all, err := n.Processes(context.WithoutCancel(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func look(t testing.TB, n *netns.Node) traces.Look {
	t.Helper()
	l := traces.Node(t.Context(), n, procsOf(t, n))
	if len(l.Unseen) > 0 {
		t.Fatalf("unseen: %v", l.Unseen)
	}
	return l
}

// sh runs a line of shell inside the node's namespaces.
func sh(t testing.TB, n *netns.Node, line string) error {
	t.Helper()
	pid := fmt.Sprint(procsOf(t, n)[0].PID)
	out, err := exec.Command("nsenter", "--net", "--mount", "--target", pid, "sh", "-c", line).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", line, err, bytes.TrimSpace(out))
	}
	return nil
}

// run runs a command of the audit as a person would, on this machine.
func run(t testing.TB, command string) error {
	t.Helper()
	out, err := exec.Command("sh", "-c", command).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", command, err, bytes.TrimSpace(out))
	}
	return nil
}

// Every trace is named, and the command that is named removes it: afterwards the
// audit finds nothing.
func TestEveryTraceIsNamedAndItsCommandRemovesIt(t *testing.T) {
	for _, c := range []struct{ name, before, fault, what string }{
		{"a qdisc", "", "tc qdisc add dev eth0 root tbf rate 1mbit burst 10kb latency 50ms", "the qdisc of eth0 (root) is tbf"},
		{"a hook for filters", "", "tc qdisc add dev eth0 clsact", "the qdisc clsact is on eth0"},
		{"a filter on a hook that was there", "tc qdisc add dev eth0 clsact", "tc filter add dev eth0 egress pref 7 protocol ip u32 match u32 0 0", "the filter u32 (pref 7) is on eth0 (egress)"},
		{"a link that is down", "", "ip link set eth0 down", "the link eth0 is down"},
		{"a black hole", "", "ip route add blackhole 192.0.2.0/24", "the route blackhole 192.0.2.0/24 is there"},
		{"a black hole of IPv6", "", "ip -6 route add blackhole 2001:db8::/32", "the route blackhole 2001:db8::/32 dev lo"},
		{"a route that is gone", "ip route add 192.0.2.0/24 dev eth0", "ip route del 192.0.2.0/24", "the route 192.0.2.0/24 dev eth0"},
		{"a table of ours", "", "nft add table inet dapple_x", "the table inet dapple_x is there"},
		{"a rule that drops", "nft add table inet fw; nft add chain inet fw in '{ type filter hook input priority 0; }'", "nft add rule inet fw in tcp dport 5432 drop", "a rule that stops traffic is in chain in of table inet fw"},
		{"a rule of iptables", "iptables -A INPUT -p tcp --dport 1 -j ACCEPT", "iptables -A INPUT -p tcp --dport 5432 -j DROP", "a rule that stops traffic is in chain INPUT"},
		{"a rejecting rule of iptables", "iptables -A INPUT -p tcp --dport 1 -j ACCEPT", "iptables -A INPUT -p tcp --dport 5432 -j REJECT", "a rule that stops traffic is in chain INPUT"},
		{"a mount", "", "mount -t tmpfs dapple-x /mnt", "dapple-x (tmpfs) is mounted at /mnt"},
		{"a mount that is read-only", "mount -t tmpfs x /mnt", "mount -o remount,ro /mnt", "the mount /mnt (tmpfs) is read-only"},
		{"a file of ours", "mount -t tmpfs x /tmp", "touch /tmp/dapple-full", "the file /tmp/dapple-full is there"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := node(t)
			if err := sh(t, n, c.before); err != nil {
				t.Fatal(err)
			}
			before := look(t, n)
			if left := traces.Diff("a", before, look(t, n)); len(left) > 0 {
				t.Fatalf("without a fault: %+v", left)
			}
			if err := sh(t, n, c.fault); err != nil {
				t.Fatal(err)
			}
			left := traces.Diff("a", before, look(t, n))
			if len(left) != 1 || !strings.Contains(left[0].What, c.what) || left[0].Node != "a" {
				t.Fatalf("got %+v, want one: %s", left, c.what)
			}
			if err := run(t, left[0].Command); err != nil {
				t.Fatal(err)
			}
			if left := traces.Diff("a", before, look(t, n)); len(left) > 0 {
				t.Errorf("after %q: %+v", left[0].Command, left)
			}
		})
	}
}

// What is not ours and is gone is told, though no command can bring it back.
func TestWhatAFaultTookAwayIsNamed(t *testing.T) {
	for _, c := range []struct{ name, before, fault, what string }{
		{"a qdisc", "tc qdisc add dev eth0 root handle 7: tbf rate 1gbit burst 100kb latency 50ms", "tc qdisc del dev eth0 root", "the qdisc tbf of eth0 (root) is gone"},
		{"a qdisc with other settings", "tc qdisc add dev eth0 root handle 7: tbf rate 1gbit burst 100kb latency 50ms", "tc qdisc change dev eth0 root handle 7: tbf rate 1mbit burst 100kb latency 50ms", "the qdisc of eth0 (root) is tbf 7:"},
		{"a firewall", "nft add table inet fw", "nft flush ruleset", "the table inet fw, which is not dapple's, is gone"},
		{"a link", "ip link add d0 type veth peer name d1", "ip link del d0", "the link d0 is gone"},
		{"a mount", "mount -t tmpfs x /mnt", "umount /mnt", "x (tmpfs) is not mounted at /mnt any more"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := node(t)
			if err := sh(t, n, c.before); err != nil {
				t.Fatal(err)
			}
			before := look(t, n)
			if err := sh(t, n, c.fault); err != nil {
				t.Fatal(err)
			}
			left := traces.Diff("a", before, look(t, n))
			found := false
			for _, l := range left {
				found = found || strings.Contains(l.What, c.what) && l.Command != ""
			}
			if !found {
				t.Errorf("got %+v, want %s", left, c.what)
			}
		})
	}
}

// What a healthy system does by itself during a drill is nothing left.
func TestWhatASystemChangesByItselfIsNotLeft(t *testing.T) {
	for _, c := range []struct{ name, before, change string }{
		{"an address moves with the primary", "", "ip addr add 198.18.200.1/16 dev eth0; ip route add 203.0.113.0/24 dev eth0 proto bird"},
		{"an address goes", "ip addr add 198.19.0.1/24 dev eth0", "ip addr del 198.19.0.1/24 dev eth0"},
		{"a rule that lets pass", "nft add table inet fw; nft add chain inet fw in '{ type filter hook input priority 0; }'", "nft add rule inet fw in tcp dport 5432 accept"},
		{"a firewall is loaded again", "nft add table inet fw; nft add chain inet fw in; nft add rule inet fw in tcp dport 1 counter drop", "nft flush chain inet fw in; nft add rule inet fw in tcp dport 1 counter drop"},
		{"an engine's own chains", "", "iptables -N DOCKER-ISOLATION; iptables -A DOCKER-ISOLATION -j DROP"},
		{"something in /run", "", "mkdir -p /run/x && mount -t tmpfs x /run/x"},
		{"a file of somebody else", "mount -t tmpfs x /tmp", "touch /tmp/pgsql"},
		{"packets pass", "iptables -A INPUT -p icmp -j DROP; tc qdisc add dev lo root handle 3: tbf rate 1gbit burst 100kb latency 50ms", "ping -c1 -W1 127.0.0.1 || true"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := node(t)
			if err := sh(t, n, c.before); err != nil {
				t.Fatal(err)
			}
			before := look(t, n)
			if err := sh(t, n, c.change); err != nil {
				t.Fatal(err)
			}
			if left := traces.Diff("a", before, look(t, n)); len(left) > 0 {
				t.Errorf("%+v", left)
			}
		})
	}
}

// A node that was started again has new namespaces: what went with the old ones is
// not missed, and what a fault left in the new ones is found.
func TestANewNamespaceIsComparedWithWhatAFreshOneHas(t *testing.T) {
	old, next := node(t), node(t)
	if err := sh(t, old, "tc qdisc add dev eth0 root handle 7: tbf rate 1gbit burst 100kb latency 50ms; nft add table inet fw; ip route add 192.0.2.0/24 dev eth0; mount -t tmpfs x /mnt"); err != nil {
		t.Fatal(err)
	}
	before := look(t, old)
	if left := traces.Diff("a", before, look(t, next)); len(left) > 0 {
		t.Errorf("%+v", left)
	}
	// The number of a namespace that went away is given to the next one.
	reused := look(t, next)
	reused.Net.ID = before.Net.ID
	if left := traces.Diff("a", before, reused); len(left) > 0 {
		t.Errorf("the number is the same, the namespace is not: %+v", left)
	}
	if err := sh(t, next, "nft add table inet dapple_y; tc qdisc add dev lo root tbf rate 1mbit burst 10kb latency 50ms; ip route add blackhole 192.0.2.0/24; mount -t tmpfs dapple-x /srv"); err != nil {
		t.Fatal(err)
	}
	if left := traces.Diff("a", before, look(t, next)); len(left) != 4 {
		t.Errorf("%+v, want four", left)
	}
}

func TestALimitThatChangedIsNamedWithWhatItWas(t *testing.T) {
	n := node(t)
	group, err := memoryGroup(t)
	testenv.Need(t, "cgroups", err)
	procs := filepath.Join(group, "cgroup.procs")
	if err := os.WriteFile(procs, []byte(fmt.Sprint(procsOf(t, n)[0].PID)), 0); err != nil {
		t.Fatal(err)
	}
	before := look(t, n)
	for _, name := range []string{"memory.limit_in_bytes", "memory.max"} {
		file := filepath.Join(group, name)
		if _, err := os.Stat(file); err == nil {
			if err := os.WriteFile(file, []byte("1073741824"), 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.Mkdir(filepath.Join(group, "dapple-burner"), 0o755); err != nil {
		t.Fatal(err)
	}
	left := traces.Diff("a", before, look(t, n))
	if len(left) != 2 || !strings.Contains(left[0].What, "1073741824") || !strings.Contains(left[1].What, "dapple-burner") {
		t.Fatalf("%+v", left)
	}
	for _, l := range left {
		if err := run(t, l.Command); err != nil {
			t.Error(err)
		}
	}
	if left := traces.Diff("a", before, look(t, n)); len(left) > 0 {
		t.Errorf("afterwards: %+v", left)
	}
}

// memoryGroup makes a control group for the test.
func memoryGroup(t *testing.T) (string, error) {
	for _, root := range []string{"/sys/fs/cgroup/memory", "/sys/fs/cgroup"} {
		dir := filepath.Join(root, fmt.Sprintf("test-traces-%d", os.Getpid()))
		if err := os.Mkdir(dir, 0o755); err != nil {
			continue
		}
		t.Cleanup(func() {
			pids, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
			if err != nil {
				t.Error(err)
			}
			for pid := range strings.FieldsSeq(string(pids)) {
				_ = os.WriteFile(filepath.Join(root, "cgroup.procs"), []byte(pid), 0) // it may have ended
			}
			if err := os.Remove(dir); err != nil {
				t.Error(err)
			}
		})
		return dir, nil
	}
	return "", fmt.Errorf("no control group could be made")
}

func BenchmarkLook(b *testing.B) {
	n := node(b)
	all := procsOf(b, n)
	for b.Loop() {
		if l := traces.Node(b.Context(), n, all); l.Net == nil {
			b.Fatal(l.Unseen)
		}
	}
}
