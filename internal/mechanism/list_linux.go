package mechanism

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/internal/cgroups"
	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/internal/nft"
)

// List is all of them, in the order in which people read them.
func List() []Mechanism {
	return []Mechanism{
		{"nf_tables: a table that dies with its holder, with a deadline", "partition, netem", func(context.Context) error { return nft.Try().Cut }},
		{"nf_tables: silent drops of what leaves", "partition of other machines", func(context.Context) error { return nft.Try().Leaving }},
		{"nf_tables: refusals", "partition with action reject", func(context.Context) error { return nft.Try().Reject }},
		{"nf_tables: packets that go elsewhere, and answers as if from there", "dns", func(context.Context) error { return nft.TryRewrite() }},
		{"queue of packets to a program (NFQUEUE)", "netem by the engine user", func(context.Context) error { _, err := nft.TryQueue(); return err }},
		{"qdisc netem", "netem by the kernel", queue("netem")},
		{"qdisc tbf", "netem with rate alone, where there is no qdisc netem", queue("tbf")},
		{"qdisc clsact", "netem to some peers only", queue("clsact")},
		{"filter bpf (cls_bpf)", "netem to some peers only", steering},
		{"freezer of control groups", "pause with how: freezer", freezer},
		{"limit of processors by control group", "pressure", group("cpu", "cpu.max", "cpu.cfs_quota_us", "50000", "50000 100000")},
		{"limit of memory by control group", "pressure with memory", group("memory", "memory.high", "memory.limit_in_bytes", "67108864", "67108864")},
		{"ptrace of a child", "clockskew", tracing},
		{"news of new processes (proc connector)", "clockskew of processes that come later", connector},
		{"user namespaces", "clusters in namespaces without root", userNamespace},
		{"types of the kernel (BTF)", "programs at functions of the kernel", types},
		{"what a function of the kernel returns (fmod_ret)", "no fault yet: diskfill without filling, errors of one file system", changing},
	}
}

// group sets a limit for a control group in which nobody is.
func group(controller, v2File, v1File, v1Value, v2Value string) func(context.Context) error {
	return func(context.Context) error {
		return cgroups.Scratch(cgroups.Want{V1: controller, V2: v2File}, func(g cgroups.Group) error {
			if g.V2 {
				return g.Sets(v2File, v2Value, v2Value)
			}
			return g.Sets(v1File, v1Value, v1Value)
		})
	}
}

// child is a process of our own that lives until its stdin is closed.
func child(attr *syscall.SysProcAttr) (cmd *exec.Cmd, end func() error, err error) {
	cmd = exec.Command("cat")
	cmd.SysProcAttr = attr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	return cmd, func() error { return errors.Join(stdin.Close(), cmd.Wait()) }, nil
}

func userNamespace(context.Context) error {
	_, end, err := child(&syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	})
	if err != nil {
		return diag.Hint(fmt.Errorf("starting a process in a user namespace: %w", err), "sysctl user.max_user_namespaces=10000, and where there is one kernel.apparmor_restrict_unprivileged_userns=0")
	}
	return end()
}

// procNews is the group of the connector (linux/connector.h, CN_IDX_PROC).
const procNews = 1

// connector asks for the news and unsubscribes by closing (linux/cn_proc.h).
func connector(context.Context) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_CONNECTOR)
	if err != nil {
		return diag.Hint(fmt.Errorf("opening the connector: %w", err), "a kernel with CONFIG_CONNECTOR and CONFIG_PROC_EVENTS")
	}
	err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: procNews})
	if err != nil {
		err = diag.Hint(fmt.Errorf("listening to the news of processes: %w", err), "run dapple as root (CAP_NET_ADMIN), in the machine's own namespaces")
	}
	return errors.Join(err, unix.Close(fd))
}

func types(context.Context) error {
	const file = "/sys/kernel/btf/vmlinux"
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return diag.Hint(fmt.Errorf("there is no %s", file), "a kernel with CONFIG_DEBUG_INFO_BTF, as those of distributions")
	}
	if err != nil {
		return err
	}
	return f.Close()
}
