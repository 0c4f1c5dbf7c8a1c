package traces

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dapple-drills/dapple/internal/mounts"
	"github.com/dapple-drills/dapple/internal/netlook"
	"github.com/dapple-drills/dapple/targets"
)

// A Limit is what a file of a control group says.
type Limit struct{ File, Value string }

// limiting are the files that hold limits: of version 2 (kernel documentation,
// cgroup-v2) and of version 1 (cgroup-v1).
var limiting = []string{
	"cpu.max", "cpu.weight", "memory.max", "memory.high", "memory.swap.max", "io.max", "io.weight", "pids.max", "cpuset.cpus",
	"cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.shares", "memory.limit_in_bytes", "memory.soft_limit_in_bytes", "memory.memsw.limit_in_bytes",
	"blkio.throttle.read_bps_device", "blkio.throttle.write_bps_device", "blkio.throttle.read_iops_device", "blkio.throttle.write_iops_device",
}

// groups reads the limits of the control groups of a process, but not those of the
// root, which has none.
func (l *Look) groups(id targets.ProcID) error {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", id.PID))
	if err != nil {
		return err
	}
	ms, err := mounts.Read("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	l.Limits, l.Groups = map[string]Limit{}, map[string]string{}
	var errs []error
	for line := range strings.Lines(string(data)) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) != 3 || f[2] == "/" || strings.Contains(f[2], "..") {
			continue
		}
		if dir, ok := directory(ms, f[1], f[2]); ok {
			errs = append(errs, l.group(dir))
		}
	}
	return errors.Join(errs...)
}

// directory finds the group of a hierarchy: by its controllers, or version 2 by
// having none.
func directory(ms []mounts.Mount, controllers, inside string) (string, bool) {
	for _, m := range ms {
		first, _, _ := strings.Cut(controllers, ",")
		_, has := m.Option(first)
		if m.FSType == "cgroup2" && controllers == "" || m.FSType == "cgroup" && controllers != "" && has {
			if dir, ok := m.Place(inside); ok {
				return dir, true
			}
		}
	}
	return "", false
}

func (l *Look) group(dir string) error {
	for _, name := range limiting {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		l.Limits[name] = Limit{filepath.Join(dir, name), strings.TrimSpace(string(data))}
	}
	below, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, d := range below {
		if d.IsDir() && netlook.Ours(d.Name()) {
			l.Groups[filepath.Join(dir, d.Name())] = d.Name()
		}
	}
	return err
}

func (d *diff) limits(before, after Look) {
	for _, name := range slices.Sorted(maps.Keys(after.Limits)) {
		b, known := before.Limits[name]
		a := after.Limits[name]
		if known && a.Value != b.Value {
			d.say(undo(b, a), "its control group has %s %q, before it was %q", name, a.Value, b.Value)
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(after.Groups)) {
		if _, was := before.Groups[dir]; !was {
			d.say("rmdir "+dir, "the control group %s is there", dir)
		}
	}
}

// undo writes the old value; a limit of one device is taken away by naming it.
func undo(b, a Limit) string {
	var parts []string
	for line := range strings.Lines(a.Value) {
		device, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case strings.Contains(b.Value, device+" "):
		case strings.HasSuffix(a.File, "io.max"):
			parts = append(parts, fmt.Sprintf("echo '%s rbps=max wbps=max riops=max wiops=max' > %s", device, a.File))
		case strings.Contains(a.File, "throttle"):
			parts = append(parts, fmt.Sprintf("echo '%s 0' > %s", device, a.File))
		}
	}
	if b.Value != "" {
		parts = append(parts, fmt.Sprintf("echo '%s' > %s", b.Value, a.File))
	}
	return strings.Join(parts, "; ")
}
