package readonly

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/internal/mounts"
	"github.com/dapple-drills/dapple/internal/volumes"
	"github.com/dapple-drills/dapple/targets"
)

// kernelMounts are the mounts of a node's main process.
type kernelMounts struct{}

func proc(id targets.ProcID, name string) string { return fmt.Sprintf("/proc/%d/%s", id.PID, name) }

func (kernelMounts) look(ctx context.Context, n targets.Node, dir string) (now seen, err error) {
	v, err := volumes.Enter(ctx, n, dir)
	if err != nil {
		return now, err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	now.state = state{Path: dir, Main: v.Main, Below: v.Mount.ID}
	if now.Space, err = os.Readlink(proc(v.Main, "ns/mnt")); err != nil {
		return now, fmt.Errorf("asking for its mounts: %w", err)
	}
	if now.Point, err = point(v); err != nil {
		return now, err
	}
	if now.Obstacle, err = obstacle(v, now.state); err != nil {
		return now, err
	}
	now.Refused, now.Words, err = refuses(v)
	if err == nil {
		now.Writers = writers(v.Main, now.Point)
	}
	return now, err
}

// point is where the directory is in the node's mounts, with no link on the way.
func point(v volumes.Volume) (string, error) {
	whole, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", v.Dir.Fd()))
	if err != nil {
		return "", fmt.Errorf("asking where %s is: %w", v.Dir.Name(), err)
	}
	// Of another mount namespace the kernel shows the path below its root.
	return whole, nil
}

// obstacle says why the directory cannot be covered.
func obstacle(v volumes.Volume, s state) (string, error) {
	for _, other := range []string{"/proc/1/ns/mnt", "/proc/self/ns/mnt"} {
		if space, err := os.Readlink(other); err == nil && space == s.Space {
			return fmt.Sprintf("the node has no mounts of its own: a view upon %s would be the host's as well; give it a mount namespace (a container has one)", s.Path), nil
		}
	}
	all, err := mounts.Read(proc(v.Main, "mountinfo"))
	if err != nil {
		return "", err
	}
	for _, m := range all {
		if m.ID == s.Below && m.Shared {
			return fmt.Sprintf("the mount that %s is on (%s) is shared with other namespaces, which would see the view as well: mount it private", s.Path, m.Point), nil
		}
		if strings.HasPrefix(m.Point, s.Point+"/") {
			return fmt.Sprintf("%s is mounted below %s, and would be hidden by a view upon it: give its own path, or another", m.Point, s.Path), nil
		}
	}
	return "", nil
}

// refuses tries to make a file without a name.
func refuses(v volumes.Volume) (bool, string, error) {
	fd, err := unix.Openat(int(v.Dir.Fd()), ".", unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	switch {
	case err == nil:
		return false, "a new file can be made", unix.Close(fd)
	case errors.Is(err, unix.EROFS):
		return true, "a new file is refused: read-only file system", nil
	}
	return false, "", fmt.Errorf("trying to make a file without a name in %s: %w", v.Dir.Name(), err)
}

// writers counts files below that the processes of the namespace have open for
// writing. What cannot be read is not counted: it is for people.
func writers(id targets.ProcID, point string) (n int) {
	space, err := os.Readlink(proc(id, "ns/mnt"))
	if err != nil {
		return 0
	}
	all, err := kernel.Procs(kernel.Filter{})
	if err != nil {
		return 0
	}
	for _, p := range all {
		if its, err := os.Readlink(proc(p.ProcID, "ns/mnt")); err != nil || its != space {
			continue
		}
		files, err := filepath.Glob(proc(p.ProcID, "fd/*"))
		if err != nil {
			continue
		}
		for _, f := range files {
			to, err := os.Readlink(f)
			if err == nil && strings.HasPrefix(to, point+"/") && writable(p.ProcID, filepath.Base(f)) {
				n++
			}
		}
	}
	return n
}

// writable says whether a descriptor is open for writing (proc(5), fdinfo).
func writable(id targets.ProcID, fd string) bool {
	data, err := os.ReadFile(proc(id, "fdinfo/"+fd))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(data)) {
		if value, is := strings.CutPrefix(line, "flags:"); is {
			flags, err := strconv.ParseUint(strings.TrimSpace(value), 8, 64)
			return err == nil && flags&unix.O_ACCMODE != unix.O_RDONLY
		}
	}
	return false
}

// found is the view in the mounts of the node: read-only, and directly upon the
// mount that was there. The error wraps targets.ErrGone if the namespace is.
func found(s state) (mounts.Mount, bool, error) {
	if space, err := os.Readlink(proc(s.Main, "ns/mnt")); err != nil || space != s.Space {
		return mounts.Mount{}, false, fmt.Errorf("the mounts of %v: %w", s.Main, targets.ErrGone)
	}
	all, err := mounts.Read(proc(s.Main, "mountinfo"))
	if err != nil {
		return mounts.Mount{}, false, fmt.Errorf("%w: %w", targets.ErrGone, err)
	}
	for _, m := range all {
		if m.Parent == s.Below && m.Point == s.Point && slices.Contains(strings.Split(m.Options, ","), "ro") {
			return m, true, nil
		}
	}
	return mounts.Mount{}, false, nil
}

func (kernelMounts) covered(ctx context.Context, _ targets.Node, s state) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	_, there, err := found(s)
	return there, err
}

func (kernelMounts) cover(_ context.Context, _ targets.Node, s state) error {
	return within(s, func() error { return lay(s.Point) })
}

// lay lays the view in the mounts of the calling thread.
func lay(point string) error {
	view, err := unix.OpenTree(unix.AT_FDCWD, point, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return fmt.Errorf("making a view of %s: open_tree (needs Linux 5.2): %w", point, err)
	}
	defer unix.Close(view)
	if err := unix.MountSetattr(view, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY, Propagation: unix.MS_PRIVATE}); err != nil {
		return fmt.Errorf("making the view read-only: mount_setattr (needs Linux 5.12): %w", err)
	}
	if err := unix.MoveMount(view, "", unix.AT_FDCWD, point, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("laying the view upon %s: %w", point, err)
	}
	return nil
}

func (kernelMounts) uncover(_ context.Context, _ targets.Node, s state) error {
	return within(s, func() error { return lift(s.Point) })
}

// lift takes the view away, and makes it writable first: a process may have made it
// its working directory, and would keep it.
func lift(point string) error {
	if err := unix.MountSetattr(unix.AT_FDCWD, point, 0, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY}); err != nil {
		return fmt.Errorf("making the view upon %s writable: %w", point, err)
	}
	if err := unix.Unmount(point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
		return fmt.Errorf("taking the view from %s: %w", point, err)
	}
	return nil
}

// within does it in the mount namespace of the node, on a thread of its own: one
// that has left what it shares with the others cannot come back.
func within(s state, do func() error) (err error) {
	ns, err := os.Open(proc(s.Main, "ns/mnt"))
	if err != nil {
		return fmt.Errorf("%v: %w", s.Main, targets.ErrGone)
	}
	defer func() { err = errors.Join(err, ns.Close()) }()
	if space, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", ns.Fd())); err != nil || space != s.Space {
		return errors.Join(fmt.Errorf("the mounts of %v: %w", s.Main, targets.ErrGone), err)
	}
	kernel.Thread(func() {
		if err = unix.Unshare(unix.CLONE_FS); err == nil {
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNS)
		}
		if err != nil {
			err = fmt.Errorf("entering the mounts of %v: run dapple as root (sudo), or let it use its helper container: %w", s.Main, err)
			return
		}
		err = do()
	})
	return err
}
