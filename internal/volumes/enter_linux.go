package volumes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/internal/mounts"
	"github.com/dapple-drills/dapple/internal/procs"
	"github.com/dapple-drills/dapple/targets"
)

// Enter opens the path inside the node. The error wraps targets.ErrGone if the
// node does not run. The caller closes the volume.
func Enter(ctx context.Context, n targets.Node, dir string) (Volume, error) {
	id, err := mainOf(ctx, n)
	if err != nil {
		return Volume{}, err
	}
	return At(id, dir)
}

// mainOf is the node's main process.
func mainOf(ctx context.Context, n targets.Node) (targets.ProcID, error) {
	ps, err := procs.Of(n)
	if err != nil {
		return targets.ProcID{}, err
	}
	all, err := ps.Processes(ctx)
	if err != nil {
		return targets.ProcID{}, err
	}
	if len(all) == 0 || !all[0].Main {
		return targets.ProcID{}, fmt.Errorf("it does not run, so there is no way to its disks: start it first: %w", targets.ErrGone)
	}
	return all[0].ProcID, nil
}

// At opens the path as the process sees it. The caller closes the volume.
func At(id targets.ProcID, dir string) (v Volume, err error) {
	v.Main = id
	if v.Dir, err = OpenIn(v.Main, dir); err != nil {
		return Volume{}, err
	}
	if v.Mount, err = mountOf(v.Dir, fmt.Sprintf("/proc/%d/mountinfo", v.Main.PID)); err != nil {
		return Volume{}, errors.Join(err, v.Dir.Close())
	}
	return v, nil
}

// OpenIn opens a directory as the process sees it. The kernel resolves the path
// below the root of the process: neither "..", nor an absolute symbolic link, nor a
// link of /proc leads out of it (openat2(2), RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS).
func OpenIn(id targets.ProcID, dir string) (*os.File, error) {
	f, err := open(id, dir, unix.O_RDONLY|unix.O_DIRECTORY)
	if errors.Is(err, unix.ENOTDIR) {
		return nil, fmt.Errorf("path %s is no directory inside the node: give the directory that it is in", dir)
	}
	return f, err
}

// mostRead is the most that ReadFile reads of a file.
const mostRead = 1 << 20

// ReadFile reads a small file as the node's main process sees it. The error wraps
// targets.ErrGone if the node does not run, and fs.ErrNotExist if there is no such
// file.
func ReadFile(ctx context.Context, n targets.Node, path string) (text []byte, err error) {
	id, err := mainOf(ctx, n)
	if err != nil {
		return nil, err
	}
	f, err := open(id, path, unix.O_RDONLY|unix.O_NONBLOCK) // a pipe there must not hold us up
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading %s inside the node: %w", path, err)
	case !info.Mode().IsRegular() || info.Size() > mostRead:
		return nil, fmt.Errorf("%s inside the node is no small file", path)
	}
	return io.ReadAll(io.LimitReader(f, mostRead))
}

// open opens a path as the process sees it.
func open(id targets.ProcID, path string, flags uint64) (*os.File, error) {
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
	fd, err := unix.Openat2(root, path, &unix.OpenHow{
		Flags:   flags | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil, fmt.Errorf("path %s is not there inside the node (symbolic links are followed inside it only): %w", path, fs.ErrNotExist)
	case errors.Is(err, unix.ELOOP):
		return nil, fmt.Errorf("path %s leads through a link of /proc, or in a circle: give the path to which it leads", path)
	case errors.Is(err, unix.ENOSYS):
		return nil, fmt.Errorf("opening %s: openat2 needs Linux 5.6: %w", path, targets.ErrUnsupported)
	case err != nil:
		return nil, fmt.Errorf("opening %s inside the node: %w", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
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

// Host is the mount that a directory of the host is on: as its first process sees
// it, also where dapple runs in a container that shows it; else as we do. The
// error wraps fs.ErrNotExist if it is not there.
func Host(dir string) (mounts.Mount, error) {
	mountinfo := "/proc/1/mountinfo"
	root, err := unix.Open("/proc/1/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		mountinfo = "/proc/self/mountinfo"
		if root, err = unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
			return mounts.Mount{}, err
		}
	}
	defer unix.Close(root)
	fd, err := unix.Openat2(root, dir, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
	if err != nil {
		return mounts.Mount{}, fmt.Errorf("%s: %w", dir, err)
	}
	f := os.NewFile(uintptr(fd), dir)
	m, err := mountOf(f, mountinfo)
	return m, errors.Join(err, f.Close())
}

// Upper is the directory of the host in which an overlay keeps what is written to
// it; "" if the mount is no overlay, or a read-only one.
func Upper(m mounts.Mount) string {
	if m.FSType != "overlay" {
		return ""
	}
	upper, _ := m.Option("upperdir")
	return upper
}
