package readonly

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/targets"
)

// here lays a view upon a file system in memory, in mounts of its own that are gone
// with the thread that made them, and takes it away again.
func here(ctx context.Context) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	kernel.Thread(func() { err = tried() })
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) {
		err = diag.Hint(fmt.Errorf("%w: %w", targets.ErrUnsupported, err), "run dapple as root (CAP_SYS_ADMIN), on Linux 5.12 or later")
	}
	return err
}

func tried() error {
	const place = "/proc" // a directory that there always is; what is in it is seen by this thread alone
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("making mounts of its own: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making its mounts private: %w", err)
	}
	if err := unix.Mount("dapple-try", place, "tmpfs", 0, "size=64k"); err != nil {
		return fmt.Errorf("mounting a file system in memory: %w", err)
	}
	if err := lay(place); err != nil {
		return err
	}
	if err := made(place); !errors.Is(err, unix.EROFS) {
		return fmt.Errorf("a view that is read-only lets a file be made (%v): %w", err, targets.ErrUnsupported)
	}
	if err := lift(place); err != nil {
		return err
	}
	return made(place)
}

// made makes a file without a name.
func made(dir string) error {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("making a file without a name: %w", err)
	}
	return unix.Close(fd)
}
