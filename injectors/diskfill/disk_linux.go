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

	"github.com/dapple-drills/dapple/internal/mounts"
	"github.com/dapple-drills/dapple/internal/volumes"
	"github.com/dapple-drills/dapple/targets"
)

// kernelDisk reaches file systems through the root of a node's main process.
type kernelDisk struct{}

// kept is how many blocks ext4 counts as free and gives to nobody, not even to
// root: it writes its own maps there when the disk is full (kernel documentation,
// sysfs-fs-ext4, reserved_clusters). 0 if it cannot be asked.
func kept(m mounts.Mount) uint64 {
	name, err := os.Readlink("/sys/dev/block/" + volumes.Device(m))
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
		Type: m.FSType, Device: volumes.Device(m), Mount: m.Point, Block: uint64(st.Bsize), Blocks: st.Blocks, Free: free, Avail: st.Bavail,
		Inodes: st.Files, InodesFree: st.Ffree, ReadOnly: st.Flags&unix.ST_RDONLY != 0,
	}, nil
}

func (kernelDisk) look(ctx context.Context, n targets.Node, dir string) (space, error) {
	v, err := volumes.Enter(ctx, n, dir)
	if err != nil {
		return space{}, err
	}
	now, err := measure(v.Dir, v.Mount)
	return now, errors.Join(err, v.Close())
}
