package mechanism

import (
	"context"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/internal/diag"
)

// A program at the end of a function of the kernel that may change what it returns
// (fmod_ret), and the two functions that it is tried at: one that faults would change,
// where it is only loaded, which is when the kernel checks whether it may be there; and
// one that there is for such tries (net/bpf/test_run.c), which nobody else calls.
const (
	changed = "security_file_permission"
	idle    = "bpf_modify_return_test"
)

// notSupported is ENOTSUPP of the kernel, which is no number of programs.
const notSupported = unix.Errno(524)

func changing(context.Context) error {
	p, err := returning(changed)
	if err != nil {
		return err
	}
	if err := p.Close(); err != nil {
		return err
	}
	if p, err = returning(idle); err != nil {
		return err
	}
	defer p.Close()
	l, err := link.AttachTracing(link.TracingOptions{Program: p})
	if err != nil {
		return explained(fmt.Errorf("having a program at the end of %s: %w", idle, err))
	}
	return l.Close()
}

// returning loads a program that leaves things as they are.
func returning(function string) (*ebpf.Program, error) {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "dapple_try", Type: ebpf.Tracing, AttachType: ebpf.AttachModifyReturn, AttachTo: function,
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}, License: "GPL",
	})
	if err != nil {
		return nil, explained(fmt.Errorf("loading a program for the end of %s: %w", function, err))
	}
	return p, nil
}

func explained(err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return diag.Hint(err, "run dapple as root (CAP_BPF, CAP_PERFMON); a kernel in lockdown (cat /sys/kernel/security/lockdown) refuses it for everybody: boot with lockdown=none")
	case errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, unix.ENOENT), errors.Is(err, unix.EINVAL), errors.Is(err, notSupported), errors.Is(err, btf.ErrNotFound):
		return diag.Hint(err, "a kernel from Linux 5.7 with CONFIG_DEBUG_INFO_BTF and CONFIG_BPF_JIT, as those of distributions")
	}
	return err
}
