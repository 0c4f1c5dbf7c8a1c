//go:build !linux

package volumes

import (
	"context"
	"fmt"
	"os"
	"runtime"

	"github.com/dapple-drills/dapple/internal/mounts"
	"github.com/dapple-drills/dapple/targets"
)

// errOther says what is missing: openat2(2) and mountinfo.
var errOther = fmt.Errorf("the disks of a node need Linux, this is %s: %w", runtime.GOOS, targets.ErrUnsupported)

// Enter needs Linux.
func Enter(context.Context, targets.Node, string) (Volume, error) { return Volume{}, errOther }

// At needs Linux.
func At(targets.ProcID, string) (Volume, error) { return Volume{}, errOther }

// OpenIn needs Linux.
func OpenIn(targets.ProcID, string) (*os.File, error) { return nil, errOther }

// Host needs Linux.
func Host(string) (mounts.Mount, error) { return mounts.Mount{}, errOther }

// Upper needs Linux.
func Upper(mounts.Mount) string { return "" }

// DiskOf needs Linux.
func DiskOf(mounts.Mount) (Disk, error) { return Disk{}, errOther }

// ReadFile needs Linux.
func ReadFile(context.Context, targets.Node, string) ([]byte, error) { return nil, errOther }
