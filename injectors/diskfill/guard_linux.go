package diskfill

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/dustin/go-humanize"
	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/internal/mounts"
	"github.com/dapple-drills/dapple/internal/volumes"
	"github.com/dapple-drills/dapple/targets"
)

// hostDirs are what a host, its engine of containers and dapple cannot do without.
var hostDirs = []string{
	"/", "/var", "/var/lib/docker", "/var/lib/containerd", "/var/lib/containers", "/var/log", "/var/lib/dapple",
	"/home", "/root", "/tmp", "/run", "/dev/shm", "/boot",
}

func (kernelDisk) allowed(ctx context.Context, n targets.Node, s state, need uint64) error {
	v, err := volumes.Enter(ctx, n, s.Path)
	if err != nil {
		return err
	}
	err = errors.Join(descriptors(s, need), memory(v.Mount, s, need))
	if s.Limit == 0 {
		err = errors.Join(err, shared(v))
	}
	return errors.Join(err, v.Close())
}

// shared refuses a disk that others than the node live on.
func shared(v volumes.Volume) error {
	const mend = "give an explicit limit (limit: 1GiB), or a volume of its own"
	host, err := hostDevices()
	if err != nil {
		return err
	}
	where := fmt.Sprintf("its disk (%s on device %s)", v.Mount.FSType, v.Device())
	if v.Mount.Point == "/" {
		where = fmt.Sprintf("no file system of its own is mounted there: it is on the node's root (%s on device %s), which", v.Mount.FSType, v.Device())
	}
	if dir, is := host[v.Device()]; is {
		return fmt.Errorf("%s: %s also carries the host's %s: %s", v.Dir.Name(), where, dir, mend)
	}
	dev, dir, err := engines(v)
	switch {
	case err != nil:
		return fmt.Errorf("%s: whether %s is the host's cannot be told: %s: %w", v.Dir.Name(), where, mend, err)
	case v.Mount.FSType == "overlay" && host[dev] != "":
		return fmt.Errorf("%s: %s lies in %s, on the disk that carries the host's %s: %s", v.Dir.Name(), where, dir, host[dev], mend)
	case dev != "" && (v.Mount.FSType == "overlay" || dev == v.Device()):
		return fmt.Errorf("%s: %s is the one on which the engine keeps its containers (%s): %s", v.Dir.Name(), where, dir, mend)
	}
	return nil
}

// engines is the device on which the engine of the node keeps its root: of the
// upper layer of its overlay. It has none where the root is no overlay.
func engines(v volumes.Volume) (dev, upper string, err error) {
	all, err := mounts.Read(fmt.Sprintf("/proc/%d/mountinfo", v.Main.PID))
	if err != nil {
		return "", "", err
	}
	for _, m := range append([]mounts.Mount{v.Mount}, all...) {
		upper := volumes.Upper(m)
		if upper == "" || m.ID != v.Mount.ID && m.Point != "/" {
			continue
		}
		dev, err := hostDevice(upper)
		return dev, upper, err
	}
	return "", "", nil
}

// hostDevices are the devices of hostDirs, each with the first that is on it.
func hostDevices() (map[string]string, error) {
	host := map[string]string{}
	for _, dir := range hostDirs {
		dev, err := hostDevice(dir)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("looking for the host's own disks: %w", err)
		}
		if host[dev] == "" {
			host[dev] = dir
		}
	}
	return host, nil
}

// hostDevice is the device of a directory of the host.
func hostDevice(dir string) (string, error) {
	m, err := volumes.Host(dir)
	return volumes.Device(m), err
}

// spare are descriptors that the agent needs for other things than inodes.
const spare = 512

// descriptors refuses more inodes than can be held: each takes a descriptor.
func descriptors(s state, need uint64) error {
	if !s.Inodes {
		return nil
	}
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return fmt.Errorf("asking how many files may be open: %w", err)
	}
	if need+spare > lim.Max {
		return fmt.Errorf("%s: %d inodes are to be taken, each by an open file, and %d files may be open: leave more, or raise the limit of the system (ulimit -Hn): %w", s.Path, need, lim.Max, targets.ErrUnsupported)
	}
	return nil
}

// memory refuses a fill that would take more than half of what the host has to
// spare: a tmpfs is its memory.
func memory(m mounts.Mount, s state, need uint64) error {
	if m.FSType != "tmpfs" || s.Inodes {
		return nil
	}
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return fmt.Errorf("asking for free memory: %w", err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		text, is := strings.CutPrefix(lines.Text(), "MemAvailable:")
		if !is {
			continue
		}
		avail, err := humanize.ParseBytes(strings.TrimSuffix(strings.TrimSpace(text), " kB") + "KiB")
		if err != nil {
			return fmt.Errorf("asking for free memory: %w", err)
		}
		if need > avail/2 {
			return fmt.Errorf("%s is a tmpfs: %s of it are the host's memory, of which only %s are free: leave more free, or make it smaller", s.Path, humanize.IBytes(need), humanize.IBytes(avail))
		}
		return nil
	}
	return errors.New("asking for free memory: /proc/meminfo has no MemAvailable")
}
