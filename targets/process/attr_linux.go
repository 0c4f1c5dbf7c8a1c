package process

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/dapple-drills/dapple/targets"
)

// memberAttr: a session of its own, so that its descendants can be told, and
// death with the thread that starts it.
func memberAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
}

// InNamespaces has a process started as root of a user namespace of its own, in which
// only our user and group are known (user_namespaces(7)), with mounts and a network
// of its own: threads of it that went into another network may come back to none
// but one that is theirs.
func InNamespaces(attr *syscall.SysProcAttr) error {
	attr.Cloneflags |= syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	return nil
}

// Explain adds the way out to the error of starting such a process, where this user
// may have no user namespace.
func Explain(err error) error {
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("%w: this user may have no user namespace here (see the sysctls user.max_user_namespaces, kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns, or the seccomp profile of a container): %w", err, targets.ErrUnsupported)
	}
	return err
}
