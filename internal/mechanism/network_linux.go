package mechanism

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"github.com/vishvananda/netlink"
	nsfd "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/internal/kernel"
)

// scratch calls do with the loopback of a network namespace of its own.
func scratch(do func(h *netlink.Handle, lo int) error) error {
	ns, err := kernel.NewNetNS()
	if err != nil {
		return err
	}
	err = within(ns, do)
	return errors.Join(err, ns.Close())
}

func within(ns *os.File, do func(h *netlink.Handle, lo int) error) error {
	h, err := netlink.NewHandleAt(nsfd.NsHandle(ns.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("opening a netlink socket: %w", err)
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("finding the loopback: %w", err)
	}
	if err := h.LinkSetUp(lo); err != nil {
		return fmt.Errorf("setting the loopback up: %w", err)
	}
	return do(h, lo.Attrs().Index)
}

// queue tries one kind of qdisc.
func queue(kind string) func(context.Context) error {
	return func(context.Context) error {
		return scratch(func(h *netlink.Handle, lo int) error {
			err := h.QdiscAdd(qdisc(kind, lo))
			if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
				err = diag.Hint(fmt.Errorf("this kernel has no qdisc %s: %w", kind, err), "modprobe sch_"+kind+", or a kernel with it: Debian's has; without it, what needs it is done by other means where there are any")
			}
			return err
		})
	}
}

func qdisc(kind string, lo int) netlink.Qdisc {
	at := netlink.QdiscAttrs{LinkIndex: lo, Handle: netlink.MakeHandle(7, 0), Parent: netlink.HANDLE_ROOT}
	switch kind {
	case "netem":
		return netlink.NewNetem(at, netlink.NetemQdiscAttrs{Latency: 1000, Limit: 10})
	case "tbf":
		return &netlink.Tbf{QdiscAttrs: at, Rate: 1 << 20, Limit: 1 << 16, Buffer: 1 << 16}
	}
	at.Handle, at.Parent = netlink.MakeHandle(0xffff, 0), netlink.HANDLE_CLSACT
	return &netlink.GenericQdisc{QdiscAttrs: at, QdiscType: kind}
}

// steering puts a program that lets everything pass on what leaves.
func steering(ctx context.Context) error {
	if err := queue("clsact")(ctx); err != nil {
		return err
	}
	fd, err := program()
	if err != nil {
		return diag.Hint(fmt.Errorf("loading a BPF program: %w", err), "run dapple as root (CAP_BPF, CAP_NET_ADMIN); a kernel with CONFIG_BPF_SYSCALL")
	}
	err = scratch(func(h *netlink.Handle, lo int) error {
		if err := h.QdiscAdd(qdisc("clsact", lo)); err != nil {
			return err
		}
		err := h.FilterAdd(&netlink.BpfFilter{
			FilterAttrs: netlink.FilterAttrs{LinkIndex: lo, Parent: netlink.HANDLE_MIN_EGRESS, Handle: 1, Protocol: unix.ETH_P_ALL, Priority: 1},
			Fd:          fd, Name: "dapple_try", DirectAction: true,
		})
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
			err = diag.Hint(fmt.Errorf("this kernel has no filter bpf: %w", err), "modprobe cls_bpf, or a kernel with CONFIG_NET_CLS_BPF")
		}
		return err
	})
	return errors.Join(err, unix.Close(fd))
}

// The numbers of bpf(2) (linux/bpf.h).
const (
	bpfProgLoad  = 5
	typeSchedCls = 3
)

// program loads "r0 = 0; exit".
func program() (fd int, err error) {
	code := make([]byte, 16)
	code[0], code[8] = 0xb7, 0x95 // BPF_ALU64|BPF_MOV|BPF_K, BPF_JMP|BPF_EXIT
	licence := []byte("GPL\x00")
	// The beginning of union bpf_attr: prog_type, insn_cnt, insns, license.
	attr := make([]byte, 48)
	binary.NativeEndian.PutUint32(attr[0:], typeSchedCls)
	binary.NativeEndian.PutUint32(attr[4:], 2)
	binary.NativeEndian.PutUint64(attr[8:], uint64(uintptr(unsafe.Pointer(&code[0]))))
	binary.NativeEndian.PutUint64(attr[16:], uint64(uintptr(unsafe.Pointer(&licence[0]))))
	r, _, errno := unix.Syscall(unix.SYS_BPF, bpfProgLoad, uintptr(unsafe.Pointer(&attr[0])), uintptr(len(attr)))
	runtime.KeepAlive(code)
	runtime.KeepAlive(licence)
	if errno != 0 {
		return -1, errno
	}
	return int(r), nil
}
