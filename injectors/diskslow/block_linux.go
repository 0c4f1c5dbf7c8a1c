package diskslow

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/internal/cgroups"
	"github.com/dapple-drills/dapple/internal/inside"
	"github.com/dapple-drills/dapple/internal/volumes"
	"github.com/dapple-drills/dapple/targets"
)

// kernelDisk is the throttle of the kernel.
type kernelDisk struct{}

const (
	throttling = "slowing its disk down"
	instead    = "use netem or pause for a node that is slow as a whole"
)

func (kernelDisk) find(ctx context.Context, n targets.Node, path string) (g cgroups.Group, d volumes.Disk, err error) {
	v, err := volumes.Enter(ctx, n, path)
	if err != nil {
		return g, d, err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(v.Dir.Fd()), &st); err != nil {
		return g, d, fmt.Errorf("asking for the file system of %s: %w", path, err)
	}
	if st.Flags&unix.ST_RDONLY != 0 {
		return g, d, fmt.Errorf("%s is mounted read-only: that it is slow could not be tried: %w", path, targets.ErrUnsupported)
	}
	if d, err = volumes.DiskOf(v.Mount); err != nil {
		return g, d, fmt.Errorf("%s: %w", path, err)
	}
	g, err = cgroups.Find(ctx, n, cgroups.Want{V1: "blkio", V2: "io.max", Does: throttling, Mend: instead})
	if err != nil {
		return g, d, err
	}
	file, _ := setting(state{Group: g}, writeBytes, 0)
	return g, d, g.Writable(file, throttling, instead)
}

func (kernelDisk) get(ctx context.Context, _ targets.Node, s state, l limit) (uint64, error) {
	file, _ := setting(s, l, 0)
	content, err := s.Group.Read(ctx, file)
	if err != nil {
		return 0, err
	}
	return reading(s, l, content)
}

func (kernelDisk) set(ctx context.Context, _ targets.Node, s state, l limit, to uint64) error {
	file, text := setting(s, l, to)
	return s.Group.Write(ctx, file, text)
}

func (kernelDisk) try(ctx context.Context, n targets.Node, s state, c change) (in, out, least time.Duration, err error) {
	v, err := volumes.Enter(ctx, n, s.Path)
	if err != nil {
		return 0, 0, 0, err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	f, direct, err := unnamed(v)
	if err != nil {
		return 0, 0, 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	t, least := trial(c)
	t.Direct = direct
	fill := t
	fill.Read = false
	if out, err = fill.Run(f); err != nil { // what is read must have been written
		return 0, 0, 0, err
	}
	if t.Read {
		if out, err = t.Run(f); err != nil {
			return 0, 0, 0, err
		}
	}
	in, err = inside.Run(ctx, []cgroups.Group{s.Group}, t, f)
	return in, out, least, err
}

// unnamed makes a file that never has a name, and that is written past the cache
// if the file system can.
func unnamed(v volumes.Volume) (f *os.File, direct bool, err error) {
	const flags = unix.O_TMPFILE | unix.O_RDWR | unix.O_CLOEXEC
	fd, err := unix.Openat(int(v.Dir.Fd()), ".", flags|unix.O_DIRECT, 0o600)
	if direct = err == nil; errors.Is(err, unix.EINVAL) {
		fd, err = unix.Openat(int(v.Dir.Fd()), ".", flags, 0o600)
	}
	if err != nil {
		return nil, false, fmt.Errorf("making a file without a name in %s to try it: %w", v.Dir.Name(), err)
	}
	return os.NewFile(uintptr(fd), v.Dir.Name()+"/(unnamed)"), direct, nil
}
