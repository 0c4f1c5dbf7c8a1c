package nft

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/targets"
)

// TryQueue has a packet of its own go through a queue, in a network namespace of
// its own which nobody else sees, and says which kind of rule the kernel takes for
// Hand. The error wraps targets.ErrUnsupported if neither.
func TryQueue() (byTarget bool, err error) {
	ns, err := kernel.NewNetNS()
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, ns.Close()) }()
	path := fmt.Sprintf("/proc/self/fd/%d", ns.Fd())
	if err := kernel.InNetNS(path, upLoopback); err != nil {
		return false, fmt.Errorf("a network namespace to try queues in: %w", err)
	}
	own := tryQueue(path, false)
	if own == nil {
		return false, nil
	}
	if target := tryQueue(path, true); target != nil {
		return false, fmt.Errorf("no packet goes through a queue (wanted: Linux 5.18 with CONFIG_NETFILTER_NETLINK_QUEUE, and CONFIG_NFT_QUEUE or CONFIG_NFT_COMPAT with CONFIG_NETFILTER_XT_TARGET_NFQUEUE): %w; %w", own, target)
	}
	return true, nil
}

func upLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r)
}

// tryQueue sends a packet, has the queue tag it, and wants a rule to know it by
// its tag.
func tryQueue(path string, byTarget bool) (err error) {
	const number, tag = 1, 0x0da00100
	c, err := Dial(path)
	if err != nil {
		return explain(err)
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	q, err := OpenQueue(path, QueueConfig{Number: number, Length: 10, Copy: 64})
	if err != nil {
		return explain(err)
	}
	defer func() { err = errors.Join(err, q.Close()) }()
	t, h := Table{Inet, "dapple_try"}, Sending()
	b := &Batch{}
	b.AddTable(t)
	b.AddChain(t, "leave", &h)
	b.AddRule(t, "leave", "again", Tagged(tag, tag|0xff), Count(), Drop())
	b.AddRule(t, "leave", "hand", Count(), Hand(number, byTarget))
	if err := c.Commit(b); err != nil {
		return explain(err)
	}
	if err := kernel.InNetNS(path, sendSomething); err != nil {
		return err
	}
	taken := 0
	err = q.Take(10, func(p Packet) {
		taken++
		q.Again(number, p.ID, tag, nil)
	})
	if err == nil {
		err = q.Flush()
	}
	if err != nil {
		return err
	}
	rules, err := c.Rules(t)
	if err == nil && (taken != 1 || len(rules) != 2 || rules[0].Packets != 1 || rules[1].Packets != 1) {
		err = fmt.Errorf("of one packet, %d came out of the queue, and the rules saw %v: %w", taken, rules, targets.ErrUnsupported)
	}
	return err
}

// sendSomething sends a datagram to nobody, over loopback.
func sendSomething() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Sendto(fd, []byte("dapple"), 0, &unix.SockaddrInet4{Port: 9, Addr: [4]byte{127, 0, 0, 1}})
}
