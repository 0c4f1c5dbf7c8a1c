//go:build !linux

package kernel

import (
	"fmt"
	"runtime"

	"github.com/dapple-drills/dapple/targets"
)

// unsupported is the error of everything that only Linux has.
func unsupported(what string) error {
	return fmt.Errorf("%s: needs Linux, this is %s: %w", what, runtime.GOOS, targets.ErrUnsupported)
}
