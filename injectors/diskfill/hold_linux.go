package diskfill

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/internal/mounts"
	"github.com/dapple-drills/dapple/internal/volumes"
	"github.com/dapple-drills/dapple/targets"
)

// chunk is how much is taken in one call, between which a context can end: 64 MiB
// of a tmpfs take some 20 ms (they are zeroed), of a disk less than one.
const chunk = 64 << 20

// A kernelHolder holds files without names open.
type kernelHolder struct {
	dir   *os.File
	mount mounts.Mount
	s     state

	mu    sync.Mutex
	files []*os.File // the first has the blocks; all others are one inode each
	taken uint64     // bytes
	over  bool       // released
}

func (kernelDisk) hold(ctx context.Context, n targets.Node, s state) (holder, error) {
	v, err := volumes.Enter(ctx, n, s.Path)
	if err != nil {
		return nil, err
	}
	if v.Device() != s.Device {
		return nil, errors.Join(fmt.Errorf("%s is on another file system by now: %s instead of %s", s.Path, v.Device(), s.Device), v.Close())
	}
	return &kernelHolder{dir: v.Dir, mount: v.Mount, s: s}, nil
}

// errReleased ends a grow that goes on when the fault is taken back.
var errReleased = errors.New("it was taken back meanwhile")

func (h *kernelHolder) look(context.Context) (space, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over {
		return space{}, errReleased
	}
	return measure(h.dir, h.mount)
}

func (h *kernelHolder) grow(ctx context.Context) error {
	for size := uint64(chunk); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		done, next, err := h.step(size)
		if err != nil || done {
			return err
		}
		size = next
	}
}

// step takes some more, at most size bytes, and says how much to try next: a file
// needs blocks for its own map too, so the last of them do not come in one piece.
func (h *kernelHolder) step(size uint64) (done bool, next uint64, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over {
		return false, 0, errReleased
	}
	now, err := measure(h.dir, h.mount)
	if err != nil {
		return false, 0, err
	}
	left := now.left(h.s)
	if left <= h.s.Free {
		return true, 0, nil
	}
	if h.s.Inodes || len(h.files) == 0 {
		if err := h.another(); err != nil || h.s.Inodes {
			return errors.Is(err, unix.ENOSPC), size, unlessFull(err)
		}
	}
	// Rounded up: no more than asked for may be left.
	n := min(size, (left-h.s.Free+now.Block-1)/now.Block*now.Block)
	if h.s.Limit > 0 {
		n = min(n, h.s.Limit-min(h.taken, h.s.Limit))
	}
	if n < now.Block {
		return true, 0, nil // the limit; Effect says whether it was enough
	}
	n -= n % now.Block
	err = unix.Fallocate(int(h.files[0].Fd()), 0, int64(h.taken), int64(n))
	switch {
	case err == nil:
		h.taken += n
		return false, size, nil
	case errors.Is(err, unix.EINTR):
		return false, size, nil
	case errors.Is(err, unix.ENOSPC) && n > now.Block:
		return false, max(n/2, now.Block), nil
	case errors.Is(err, unix.ENOSPC):
		return true, 0, nil // the last block is not to be had; Effect says whether that is full
	}
	return false, 0, fmt.Errorf("taking space on %s (%s): fallocate: %w", h.s.Path, h.mount.FSType, err)
}

func unlessFull(err error) error {
	if errors.Is(err, unix.ENOSPC) {
		return nil
	}
	return err
}

// another makes one more file without a name.
func (h *kernelHolder) another() error {
	if h.s.Limit > 0 && h.s.Inodes && uint64(len(h.files)) >= h.s.Limit {
		return unix.ENOSPC // no more may be taken
	}
	f, err := unnamed(h.dir)
	if err != nil {
		return err
	}
	h.files = append(h.files, f)
	return nil
}

// unnamed makes a file that never has a name, so that not even a power cut leaves
// it behind (open(2), O_TMPFILE).
func unnamed(dir *os.File) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), ".", unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	switch {
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EISDIR), errors.Is(err, unix.EINVAL):
		return nil, fmt.Errorf("making a file without a name in %s: this file system, or this kernel (overlay: Linux 6.1), has none: %w: %w", dir.Name(), targets.ErrUnsupported, err)
	case err != nil:
		return nil, fmt.Errorf("making a file without a name in %s: %w", dir.Name(), err)
	}
	return os.NewFile(uintptr(fd), dir.Name()+"/(unnamed)"), nil
}

// release closes everything. Space on btrfs is free again only after a commit,
// which is up to 30 s away if nobody asks for one.
func (h *kernelHolder) release(context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over {
		return nil
	}
	h.over = true
	var errs []error
	for _, f := range h.files {
		errs = append(errs, f.Close())
	}
	h.files = nil
	if h.mount.FSType == "btrfs" {
		errs = append(errs, unix.Syncfs(int(h.dir.Fd())))
	}
	return errors.Join(append(errs, h.dir.Close())...)
}

// nobody is a user without rights (proc(5), overflowuid).
const nobody = 65534

func (kernelDisk) refuses(ctx context.Context, n targets.Node, s state) (full bool, words string, err error) {
	v, err := volumes.Enter(ctx, n, s.Path)
	if err != nil {
		return false, "", err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	f, err := unnamed(v.Dir)
	if errors.Is(err, unix.ENOSPC) {
		return true, "a new file is refused: no space left on device", nil
	}
	if err != nil {
		return false, "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if s.Inodes {
		return false, "a new file can be made", nil
	}
	now, err := measure(v.Dir, v.Mount)
	if err != nil {
		return false, "", err
	}
	// More than one block, so that nothing fits into the file's own inode.
	data := make([]byte, 2*now.Block)
	who := "root"
	write := func() (int, error) { return unix.Pwrite(int(f.Fd()), data, 0) }
	if !s.Root {
		who, write = "a user without rights", asNobody(write)
	}
	wrote, err := write()
	switch {
	case errors.Is(err, unix.ENOSPC), err == nil && wrote < len(data):
		return true, fmt.Sprintf("a write of %d bytes as %s is refused: no space left on device", len(data), who), nil
	case err != nil:
		return false, "", fmt.Errorf("trying to write to %s: %w", s.Path, err)
	}
	return false, fmt.Sprintf("%s could still write %d bytes", who, len(data)), nil
}

// asNobody makes do run on a thread that has given up what lets root use reserved
// blocks: its user for files, and CAP_SYS_RESOURCE. The thread ends with it. A
// process that is not root has nothing to give up.
func asNobody(do func() (int, error)) func() (int, error) {
	return func() (n int, err error) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			runtime.LockOSThread() // and never unlocked: the runtime ends the thread
			if os.Geteuid() == 0 {
				if err = drop(); err != nil {
					return
				}
			}
			n, err = do()
		}()
		<-done
		return n, err
	}
}

// drop takes the rights from the calling thread.
func drop() error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&hdr, &caps[0]); err != nil {
		return fmt.Errorf("giving up rights: %w", err)
	}
	caps[0].Effective &^= 1 << unix.CAP_SYS_RESOURCE
	if err := unix.Capset(&hdr, &caps[0]); err != nil {
		return fmt.Errorf("giving up rights: %w", err)
	}
	// The kernel makes a process that changes its user hidden from its own user
	// (PR_SET_DUMPABLE, proc(5)); as nothing else changes, that is undone.
	shown, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err != nil {
		return fmt.Errorf("giving up rights: %w", err)
	}
	// In a user namespace that has no such user it fails, and is not needed: root
	// there is not the root for whom blocks are reserved.
	if _, err := unix.SetfsuidRetUid(nobody); err != nil {
		return fmt.Errorf("giving up rights: %w", err)
	}
	if shown == 1 {
		if err := unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("giving up rights: %w", err)
		}
	}
	return nil
}
