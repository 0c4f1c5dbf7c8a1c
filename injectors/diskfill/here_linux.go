package diskfill

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/internal/mounts"
	"github.com/dapple-drills/dapple/internal/volumes"
)

// here takes one block of the place for temporary files by a file without a name.
// Another file system may be able to do more or less; Plan asks the one that is
// meant.
func here(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	me, err := kernel.Self()
	if err != nil {
		return err
	}
	v, err := volumes.At(me, os.TempDir())
	if err != nil {
		return err
	}
	return errors.Join(oneBlock(v.Dir, v.Mount), v.Close())
}

func oneBlock(dir *os.File, m mounts.Mount) error {
	now, err := measure(dir, m)
	if err != nil {
		return err
	}
	if err := now.usable(state{Path: dir.Name()}); err != nil {
		return err
	}
	f, err := unnamed(dir)
	if err != nil {
		return err
	}
	if err := unix.Fallocate(int(f.Fd()), 0, 0, int64(now.Block)); err != nil {
		return errors.Join(fmt.Errorf("taking one block of %s (%s): fallocate: %w", dir.Name(), m.FSType, err), f.Close())
	}
	return f.Close()
}
