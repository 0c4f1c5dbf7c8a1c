package nft

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/targets"
)

// Features are what of nf_tables this kernel was seen to do. A nil error is yes;
// one that wraps targets.ErrUnsupported is no, with the reason; any other means
// that it could not be told.
type Features struct {
	Cut     error // an owned table that drops on arrival, held by a lease, counting
	Leaving error // a silent drop of what leaves
	Reject  error // an answer instead of silence
}

// Try makes and removes tables in a network namespace of its own, which nobody
// else sees. It takes a millisecond.
func Try() Features {
	ns, err := kernel.NewNetNS()
	if err != nil {
		return Features{err, err, err}
	}
	path := fmt.Sprintf("/proc/self/fd/%d", ns.Fd())
	f := Features{Cut: try(path, Inet, cutBatch), Leaving: try(path, Netdev, leavingBatch), Reject: try(path, Inet, rejectBatch)}
	if err := ns.Close(); err != nil && f.Cut == nil {
		f.Cut = err
	}
	return f
}

func try(path string, f Family, fill func(*Batch, Table)) (err error) {
	c, err := Dial(path)
	if err != nil {
		return explain(err)
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	b, t := &Batch{}, Table{f, "dapple_try"}
	b.AddTable(t)
	fill(b, t)
	if err := c.Commit(b); err != nil {
		return explain(err)
	}
	tables, err := c.Tables()
	if err != nil {
		return err
	}
	for _, seen := range tables {
		if seen.Table == t && seen.Owner == c.Port() {
			return nil
		}
	}
	return fmt.Errorf("the kernel made a table and lists %v: %w", tables, targets.ErrUnsupported)
}

// explain says which of the kernel's answers mean that it lacks something.
func explain(err error) error {
	switch {
	case errors.Is(err, os.ErrPermission), errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w: it takes root (CAP_NET_ADMIN): run with sudo", err)
	case errors.Is(err, unix.EPROTONOSUPPORT):
		return fmt.Errorf("this kernel has no netlink for netfilter (CONFIG_NETFILTER_NETLINK): %w: %w", targets.ErrUnsupported, err)
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT), errors.Is(err, unix.EAFNOSUPPORT):
		// ENOENT is the answer for an expression or a chain type that is no part
		// of this kernel; EINVAL and EOPNOTSUPP for an unknown flag or hook.
		return fmt.Errorf("this kernel's nf_tables cannot do it (wanted: Linux 5.12 with CONFIG_NF_TABLES_INET; to drop silently what leaves, Linux 5.16 with CONFIG_NETFILTER_EGRESS): %w: %w", targets.ErrUnsupported, err)
	}
	return err
}

func cutBatch(b *Batch, t Table) {
	lease := Set{Name: "lease", ID: 1, Key: Mark(), Timeouts: true}
	peers := Set{Name: "peers", ID: 2, Key: IPv4(), Counting: true}
	ports := Set{Name: "ports", ID: 3, Key: Port(), Ranges: true}
	b.AddSet(t, lease)
	b.AddSet(t, peers)
	b.AddSet(t, ports)
	b.AddElements(t, lease, []Element{{Key: []byte{0, 0, 0, 1}, Timeout: time.Minute}})
	b.AddElements(t, peers, []Element{{Key: []byte{192, 0, 2, 1}}})
	b.AddElements(t, ports, []Element{{Key: []byte{0, 9}}, {Key: []byte{0, 10}, End: true}})
	h := Arriving()
	b.AddChain(t, "arrive", &h)
	b.AddRule(t, "arrive", "", Without(lease, []byte{0, 0, 0, 1}), Accept())
	b.AddRule(t, "arrive", "", Protocol(unix.IPPROTO_TCP), Opening(), Target.Ports(ports), Source.In(peers), Count(), Drop())
}

func leavingBatch(b *Batch, t Table) {
	h := Leaving("lo")
	b.AddChain(t, "leave", &h)
	b.AddRule(t, "leave", "", Target.Within([]byte{192, 0, 2, 1}, 32), Count(), Drop())
}

func rejectBatch(b *Batch, t Table) {
	h := Arriving()
	b.AddChain(t, "arrive", &h)
	b.AddRule(t, "arrive", "", Protocol(unix.IPPROTO_TCP), Reset())
	b.AddRule(t, "arrive", "", Unreachable())
}
