//go:build !linux

package process

import (
	"fmt"
	"syscall"

	"github.com/dapple-drills/dapple/targets"
)

// memberAttr: without PDEATHSIG only the lifeline ends a member whose keeper
// was killed.
func memberAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// InNamespaces needs Linux.
func InNamespaces(*syscall.SysProcAttr) error {
	return fmt.Errorf("namespaces need Linux: %w", targets.ErrUnsupported)
}

// Explain has nothing to add.
func Explain(err error) error { return err }
