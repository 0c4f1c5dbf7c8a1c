package tc

import (
	"errors"
	"fmt"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/targets"
)

// All functions of this file speak to the kernel about the network namespace that
// the calling thread is in.

// parents are where the filters of a direction are attached.
var parents = map[way]uint32{out: netlink.HANDLE_MIN_EGRESS, in: netlink.HANDLE_MIN_INGRESS}

// without says which module a kernel lacks that answers "no such thing".
func without(module string, err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("%w: this kernel has no %s: load it (modprobe %s), or install the package that has it (linux-modules-extra, kernel-modules-extra): %w",
			targets.ErrUnsupported, module, module, err)
	}
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("%w: %w: it takes CAP_NET_ADMIN and CAP_BPF: run with sudo", targets.ErrUnsupported, err)
	}
	return err
}

// addLink makes an intermediate device, up, with its alias.
func addLink(name, alias string) (index int, err error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.TxQLen = name, 1000
	attrs.Flags = 0
	if err := netlink.LinkAdd(&netlink.Ifb{LinkAttrs: attrs}); err != nil {
		return 0, fmt.Errorf("making the device %s: %w", name, without("ifb", err))
	}
	link, err := netlink.LinkByName(name)
	if err != nil {
		return 0, fmt.Errorf("finding the device %s: %w", name, err)
	}
	if err := netlink.LinkSetAlias(link, alias); err != nil {
		return 0, fmt.Errorf("naming the device %s: %w", name, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return 0, fmt.Errorf("setting the device %s up: %w", name, err)
	}
	return link.Attrs().Index, nil
}

// request is a message about queues and filters.
func request(kind, flags int, m nl.TcMsg) *nl.NetlinkRequest {
	r := nl.NewNetlinkRequest(kind, flags)
	r.AddData(&m)
	return r
}

// addQueue makes the queue of the intermediate device.
func addQueue(index int, kind string, options []byte) error {
	r := request(unix.RTM_NEWQDISC, unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL, nl.TcMsg{Ifindex: int32(index), Parent: netlink.HANDLE_ROOT})
	r.AddData(nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated(kind)))
	r.AddData(nl.NewRtAttr(nl.TCA_OPTIONS, options))
	if _, err := r.Execute(unix.NETLINK_ROUTE, 0); err != nil {
		return fmt.Errorf("giving it a queue %s: %w", kind, without("sch_"+kind, err))
	}
	return nil
}

// clsact is where filters are attached beside a device's queue.
func clsact(index int) *netlink.Clsact {
	return &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}}
}

// addPlace makes the place for filters, if there is none. The kernel takes the
// chance to lengthen a queue of length 0 (a veth's, say), which is not asked for.
func addPlace(device int) error {
	before, err := netlink.LinkByIndex(device)
	if err != nil {
		return err
	}
	if err := netlink.QdiscAdd(clsact(device)); err != nil {
		if errors.Is(err, unix.EEXIST) {
			return nil
		}
		return without("sch_ingress", err)
	}
	after, err := netlink.LinkByIndex(device)
	if err != nil || after.Attrs().TxQLen == before.Attrs().TxQLen {
		return err
	}
	return netlink.LinkSetTxQLen(after, before.Attrs().TxQLen)
}

// addFilter leads what the program chooses to the intermediate device.
func addFilter(device int, w way, name string, program, link int) error {
	r := request(unix.RTM_NEWTFILTER, unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL,
		nl.TcMsg{Ifindex: int32(device), Parent: parents[w], Info: uint32(nl.Swap16(unix.ETH_P_ALL))})
	r.AddData(nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated("bpf")))
	options := nl.NewRtAttr(nl.TCA_OPTIONS, nil)
	actions := options.AddRtAttr(nl.TCA_BPF_ACT, nil)
	if err := netlink.EncodeActions(actions, []netlink.Action{netlink.NewMirredAction(link)}); err != nil {
		return err
	}
	options.AddRtAttr(nl.TCA_BPF_FD, nl.Uint32Attr(uint32(program)))
	options.AddRtAttr(nl.TCA_BPF_NAME, nl.ZeroTerminated(name))
	r.AddData(options)
	if _, err := r.Execute(unix.NETLINK_ROUTE, 0); err != nil {
		return fmt.Errorf("adding a filter: %w", without("cls_bpf or act_mirred", err))
	}
	return nil
}

// A filter is one that the kernel has.
type filter struct {
	device  int
	parent  uint32
	handle  uint32
	info    uint32 // preference and protocol
	kind    string
	name    string // of a BPF filter
	program uint32 // the BPF program's id
}

// filters lists those of one direction of a device. A device that has none, or is
// not there, has no filters.
func filters(device int, w way) (list []filter, err error) {
	r := request(unix.RTM_GETTFILTER, unix.NLM_F_DUMP, nl.TcMsg{Ifindex: int32(device), Parent: parents[w]})
	messages, err := r.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWTFILTER)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOENT) {
		return nil, nil // without clsact
	}
	if err != nil {
		return nil, fmt.Errorf("listing filters: %w", err)
	}
	for _, m := range messages {
		head := nl.DeserializeTcMsg(m)
		has, err := attributes(m[head.Len():])
		if err != nil {
			return nil, err
		}
		options, err := attributes(has[nl.TCA_OPTIONS])
		if err != nil {
			return nil, err
		}
		if head.Handle == 0 || head.Parent != parents[w] {
			continue // the head of a preference, not a filter
		}
		f := filter{device: device, parent: head.Parent, handle: head.Handle, info: head.Info, kind: text(has[nl.TCA_KIND]), name: text(options[nl.TCA_BPF_NAME])}
		if f.kind == "bpf" && len(options[nl.TCA_BPF_ID]) == 4 {
			f.program = nl.NativeEndian().Uint32(options[nl.TCA_BPF_ID])
		}
		list = append(list, f)
	}
	return list, nil
}

func text(b []byte) string { return strings.TrimRight(string(b), "\x00") }

// remove deletes the filter. One that is gone is removed.
func (f filter) remove() error {
	r := request(unix.RTM_DELTFILTER, unix.NLM_F_ACK, nl.TcMsg{Ifindex: int32(f.device), Parent: f.parent, Handle: f.handle, Info: f.info})
	r.AddData(nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated(f.kind)))
	_, err := r.Execute(unix.NETLINK_ROUTE, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EINVAL) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("removing a filter: %w", err)
	}
	return nil
}

// A queue is one that the kernel has.
type queue struct {
	device         int
	parent, handle uint32
	kind           string
	options        []byte

	packets, dropped, waiting uint32
}

// queues lists those of all devices.
func queues() (list []queue, err error) {
	r := request(unix.RTM_GETQDISC, unix.NLM_F_DUMP, nl.TcMsg{})
	messages, err := r.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWQDISC)
	if err != nil {
		return nil, fmt.Errorf("listing queues: %w", err)
	}
	for _, m := range messages {
		head := nl.DeserializeTcMsg(m)
		has, err := attributes(m[head.Len():])
		if err != nil {
			return nil, err
		}
		q := queue{device: int(head.Ifindex), parent: head.Parent, handle: head.Handle, kind: text(has[nl.TCA_KIND]), options: has[nl.TCA_OPTIONS]}
		counts, err := attributes(has[nl.TCA_STATS2])
		if err != nil {
			return nil, err
		}
		native := nl.NativeEndian()
		if b := counts[nl.TCA_STATS_BASIC]; len(b) >= 12 { // struct gnet_stats_basic: bytes, packets
			q.packets = native.Uint32(b[8:])
		}
		if b := counts[nl.TCA_STATS_QUEUE]; len(b) >= 12 { // struct gnet_stats_queue: qlen, backlog, drops
			q.waiting, q.dropped = native.Uint32(b), native.Uint32(b[8:])
		}
		list = append(list, q)
	}
	return list, nil
}
