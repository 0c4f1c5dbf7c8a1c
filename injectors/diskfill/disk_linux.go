package diskfill

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/internal/mounts"
	"github.com/dapple-drills/dapple/internal/procs"
	"github.com/dapple-drills/dapple/targets"
)

// kernelDisk reaches file systems through the root of a node's main process.
type kernelDisk struct{}

// A volume is an open directory inside a node.
type volume struct {
	dir   *os.File
	main  targets.ProcID
	mount mounts.Mount
}

func (v volume) device() string { return device(v.mount) }

func device(m mounts.Mount) string { return fmt.Sprintf("%d:%d", m.Major, m.Minor) }

// enter opens the path inside the node. The error wraps targets.ErrGone if the
// node does not run.
func enter(ctx context.Context, n targets.Node, dir string) (volume, error) {
	ps, err := procs.Of(n)
	if err != nil {
		return volume{}, err
	}
	all, err := ps.Processes(ctx)
	if err != nil {
		return volume{}, err
	}
	if len(all) == 0 || !all[0].Main {
		return volume{}, fmt.Errorf("it does not run, so there is no way to its disks: start it first: %w", targets.ErrGone)
	}
	v := volume{main: all[0].ProcID}
	if v.dir, err = openIn(v.main, dir); err != nil {
		return volume{}, err
	}
	if v.mount, err = mountOf(v.dir, fmt.Sprintf("/proc/%d/mountinfo", v.main.PID)); err != nil {
		return volume{}, errors.Join(err, v.dir.Close())
	}
	return v, nil
}

// openIn opens a directory as the process sees it. The kernel resolves the path
// below the root of the process: neither "..", nor an absolute symbolic link, nor a
// link of /proc leads out of it (openat2(2), RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS).
func openIn(id targets.ProcID, dir string) (*os.File, error) {
	root, err := unix.Open(fmt.Sprintf("/proc/%d/root", id.PID), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ESRCH):
		return nil, fmt.Errorf("%v: %w", id, targets.ErrGone)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return nil, fmt.Errorf("entering the root of %v: run dapple as root (sudo), or let it use its helper container: %w: %w", id, targets.ErrUnsupported, err)
	case err != nil:
		return nil, fmt.Errorf("entering the root of %v: %w", id, err)
	}
	defer unix.Close(root)
	// Opened first and checked afterwards: what was opened is the root of id.
	if now, err := kernel.Identity(id.PID); err != nil || now != id {
		return nil, errors.Join(fmt.Errorf("%v: %w", id, targets.ErrGone), err)
	}
	fd, err := unix.Openat2(root, dir, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil, fmt.Errorf("path %s is not there inside the node (symbolic links are followed inside it only)", dir)
	case errors.Is(err, unix.ENOTDIR):
		return nil, fmt.Errorf("path %s is no directory inside the node: give the directory that it is in", dir)
	case errors.Is(err, unix.ELOOP):
		return nil, fmt.Errorf("path %s leads through a link of /proc, or in a circle: give the path to which it leads", dir)
	case errors.Is(err, unix.ENOSYS):
		return nil, fmt.Errorf("opening %s: openat2 needs Linux 5.6: %w", dir, targets.ErrUnsupported)
	case err != nil:
		return nil, fmt.Errorf("opening %s inside the node: %w", dir, err)
	}
	return os.NewFile(uintptr(fd), dir), nil
}

// mountOf finds the mount of an open file by its number: the device that stat(2)
// shows is made up on overlay and btrfs.
func mountOf(f *os.File, mountinfo string) (mounts.Mount, error) {
	var st unix.Statx_t
	if err := unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st); err != nil {
		return mounts.Mount{}, fmt.Errorf("asking for the mount of %s: %w", f.Name(), err)
	}
	if st.Mask&unix.STATX_MNT_ID == 0 {
		return mounts.Mount{}, fmt.Errorf("asking for the mount of %s: needs Linux 5.8: %w", f.Name(), targets.ErrUnsupported)
	}
	all, err := mounts.Read(mountinfo)
	if err != nil {
		return mounts.Mount{}, err
	}
	for _, m := range all {
		if uint64(m.ID) == st.Mnt_id {
			return m, nil
		}
	}
	return mounts.Mount{}, fmt.Errorf("the mount of %s (number %d) is not in %s", f.Name(), st.Mnt_id, mountinfo)
}

// kept is how many blocks ext4 counts as free and gives to nobody, not even to
// root: it writes its own maps there when the disk is full (kernel documentation,
// sysfs-fs-ext4, reserved_clusters). 0 if it cannot be asked.
func kept(m mounts.Mount) uint64 {
	name, err := os.Readlink("/sys/dev/block/" + device(m))
	if err != nil {
		return 0
	}
	data, err := os.ReadFile("/sys/fs/ext4/" + path.Base(name) + "/reserved_clusters")
	if err != nil {
		return 0
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(data)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// measure asks the file system.
func measure(dir *os.File, m mounts.Mount) (space, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(dir.Fd()), &st); err != nil {
		return space{}, fmt.Errorf("asking what is free on %s: %w", dir.Name(), err)
	}
	free := st.Bfree
	if m.FSType == "ext4" {
		free -= min(free, kept(m))
	}
	return space{
		Type: m.FSType, Device: device(m), Mount: m.Point, Block: uint64(st.Bsize), Blocks: st.Blocks, Free: free, Avail: st.Bavail,
		Inodes: st.Files, InodesFree: st.Ffree, ReadOnly: st.Flags&unix.ST_RDONLY != 0,
	}, nil
}

func (kernelDisk) look(ctx context.Context, n targets.Node, dir string) (space, error) {
	v, err := enter(ctx, n, dir)
	if err != nil {
		return space{}, err
	}
	now, err := measure(v.dir, v.mount)
	return now, errors.Join(err, v.dir.Close())
}
