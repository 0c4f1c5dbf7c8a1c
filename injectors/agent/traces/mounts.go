package traces

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/dapple-drills/dapple/internal/mounts"
	"github.com/dapple-drills/dapple/internal/netlook"
	"github.com/dapple-drills/dapple/targets"
)

// sharesMounts says whether the process sees the very mounts that we see.
func sharesMounts(id targets.ProcID) (bool, error) {
	theirs, err := os.Stat(fmt.Sprintf("/proc/%d/ns/mnt", id.PID))
	if err != nil {
		return false, err
	}
	ours, err := os.Stat("/proc/self/ns/mnt")
	return err == nil && os.SameFile(theirs, ours), err
}

// system are where a running system, or an engine of containers, mounts and
// unmounts by itself.
func system(point string) bool {
	for _, p := range []string{"/proc", "/sys", "/dev", "/run", "/snap", "/var/lib/docker", "/var/lib/containerd", "/var/lib/containers", "/var/lib/kubelet"} {
		if point == p || strings.HasPrefix(point, p+"/") {
			return true
		}
	}
	return false
}

func (d *diff) mounts(before, after []mounts.Mount) {
	if before == nil || after == nil {
		return // it was not to be seen, or it shares ours, where others mount
	}
	for _, m := range after {
		i := slices.IndexFunc(before, func(o mounts.Mount) bool { return o.Point == m.Point && place(o) == place(m) })
		switch {
		case i >= 0 && readOnly(m) && !readOnly(before[i]):
			d.say(d.enter("mount -o remount,rw "+m.Point), "the mount %s (%s) is read-only", m.Point, m.FSType)
		case i >= 0 || system(m.Point):
		case d.same || netlook.Ours(m.Source) || netlook.Ours(m.Point):
			d.say(d.enter("umount "+m.Point), "%s (%s) is mounted at %s", m.Source, m.FSType, m.Point)
		}
	}
	for _, m := range before {
		gone := !slices.ContainsFunc(after, func(o mounts.Mount) bool { return o.Point == m.Point })
		if d.same && gone && !system(m.Point) {
			d.say(d.enter("mount "+m.Point)+" # with its own settings", "%s (%s) is not mounted at %s any more", m.Source, m.FSType, m.Point)
		}
	}
}

// place is what is mounted; a container that was started again has a new device
// for the same overlay.
func place(m mounts.Mount) string { return m.FSType + " " + m.Root }

// readOnly asks the mount and its file system.
func readOnly(m mounts.Mount) bool {
	_, super := m.Option("ro")
	return super || slices.Contains(strings.Split(m.Options, ","), "ro")
}

// enter is how a command gets to the mounts of the node.
func (d *diff) enter(command string) string {
	return fmt.Sprintf("nsenter --mount --target %d %s", d.pid, command)
}
