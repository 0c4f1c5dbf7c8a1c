// Package kernel asks the Linux kernel for what faults and their proofs need:
// processes by an identity that cannot be mistaken, their death at the moment of
// it, their states, the boot id, the monotonic clock, and what this process may
// do.
//
// It only looks and signals; what a fault is, and which process it is for, is
// not known here. On other systems everything compiles and returns an error that
// wraps targets.ErrUnsupported.
package kernel

import (
	"context"
	"fmt"

	"github.com/dapple-drills/dapple/targets"
)

// A Proc is one process as /proc shows it to us.
type Proc struct {
	targets.Proc
	// CGroups are the paths of its control groups, one per hierarchy
	// (cgroups(7), /proc/PID/cgroup, third field).
	CGroups []string
	// NSPID is its pid in each pid namespace, from ours inwards (proc(5),
	// NSpid). Its last element is 1 for pid 1 of a container.
	NSPID []int
}

// A Filter says which processes to list. Its parts narrow (AND); a zero part
// takes all.
type Filter struct {
	// CGroup is asked for each path of CGroups; one match suffices. It is asked
	// first, so that what it refuses costs one read.
	CGroup func(path string) bool
	// Keep is asked last, with everything read.
	Keep func(Proc) bool
}

// Sockets makes a non-blocking TCP socket, for IPv6 or IPv4, in the network
// namespace that path names. It is NetNSSocket, or asks somebody who may.
type Sockets func(ctx context.Context, path string, v6 bool) (fd int, err error)

// Dispositions is what a process does with signals (proc(5), Sig* in
// /proc/PID/status). Bit n-1 stands for signal n.
type Dispositions struct {
	Pending uint64 // sent, to the process or its main thread, and not yet delivered
	Blocked uint64 // by the main thread
	Ignored uint64
	Caught  uint64
	NSPID   []int
}

// Has says whether signal number sig is in mask.
func Has(mask uint64, sig int) bool { return sig >= 1 && sig <= 64 && mask&(1<<(sig-1)) != 0 }

// A Cap is a capability (capabilities(7)).
type Cap uint

// The capabilities that faults ask for, by their numbers in linux/capability.h.
const (
	CapKill      Cap = 5
	CapNetAdmin  Cap = 12
	CapSysPtrace Cap = 19
	CapSysAdmin  Cap = 21
	CapSysTime   Cap = 25
)

var capNames = map[Cap]string{
	CapKill: "CAP_KILL", CapNetAdmin: "CAP_NET_ADMIN", CapSysPtrace: "CAP_SYS_PTRACE",
	CapSysAdmin: "CAP_SYS_ADMIN", CapSysTime: "CAP_SYS_TIME",
}

func (c Cap) String() string {
	if name, ok := capNames[c]; ok {
		return name
	}
	return fmt.Sprintf("capability %d", uint(c))
}
