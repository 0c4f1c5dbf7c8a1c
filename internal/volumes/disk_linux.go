package volumes

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/internal/mounts"
	"github.com/dapple-drills/dapple/targets"
)

// DiskOf finds the disk on which a file system lies. The error wraps
// targets.ErrUnsupported if it lies on none of this machine.
func DiskOf(m mounts.Mount) (Disk, error) {
	if m.FSType == "overlay" {
		upper := Upper(m)
		if upper == "" {
			return Disk{}, fmt.Errorf("it is a read-only overlay: nothing is written to it: %w", targets.ErrUnsupported)
		}
		below, err := Host(upper)
		if err != nil {
			return Disk{}, fmt.Errorf("looking for the disk below the overlay: %w", err)
		}
		if below.FSType == "overlay" {
			return Disk{}, fmt.Errorf("it is an overlay upon an overlay (%s): give a volume of its own: %w", upper, targets.ErrUnsupported)
		}
		return DiskOf(below)
	}
	number := Device(m)
	if m.Major == 0 { // made up: proc_pid_mountinfo(5), as on btrfs
		var st unix.Stat_t
		if !strings.HasPrefix(m.Source, "/dev/") || unix.Stat(m.Source, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFBLK {
			return Disk{}, fmt.Errorf("it is a %s, which lies on no disk of this machine: give a path on a disk: %w", m.FSType, targets.ErrUnsupported)
		}
		number = fmt.Sprintf("%d:%d", unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev)))
	}
	return whole("/sys/dev/block", number)
}

// whole finds the disk of which a device may be a part: only it has a queue.
func whole(sys, number string) (Disk, error) {
	dir, err := filepath.EvalSymlinks(filepath.Join(sys, number))
	if errors.Is(err, fs.ErrNotExist) {
		return Disk{}, fmt.Errorf("device %s is no disk of this machine: %w", number, targets.ErrUnsupported)
	}
	if err != nil {
		return Disk{}, fmt.Errorf("looking for device %s: %w", number, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "partition")); err == nil {
		dir = path.Dir(dir)
	}
	if _, err := os.Stat(filepath.Join(dir, "queue")); err != nil {
		return Disk{}, fmt.Errorf("device %s (%s) has no queue of requests: %w", number, path.Base(dir), targets.ErrUnsupported)
	}
	data, err := os.ReadFile(filepath.Join(dir, "dev"))
	if err != nil {
		return Disk{}, fmt.Errorf("asking for the number of %s: %w", path.Base(dir), err)
	}
	return Disk{Number: strings.TrimSpace(string(data)), Name: path.Base(dir)}, nil
}
