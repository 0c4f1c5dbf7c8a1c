package docker

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/targets"
)

// cgroupRoots are where the hierarchies of control groups are mounted: version 2
// alone, or version 1 by controller (cgroups(7)). Every container is in each.
var cgroupRoots = []string{"/sys/fs/cgroup", "/sys/fs/cgroup/pids", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"}

// members lists the processes of the container's control group. It asks the
// group itself, which costs the same however many processes the machine has;
// where that is not to be seen, it looks at all processes of the machine.
func (m mainProcess) members() ([]kernel.Proc, error) {
	pids, ok := groupPIDs(m.groups)
	if !ok {
		return kernel.Procs(kernel.Filter{CGroup: m.owns})
	}
	var procs []kernel.Proc
	for _, pid := range pids {
		p, err := kernel.ReadProc(pid)
		if errors.Is(err, targets.ErrGone) {
			continue
		}
		if err != nil {
			return nil, err
		}
		// The number may have been used again since.
		if slices.ContainsFunc(p.CGroups, m.owns) {
			procs = append(procs, p)
		}
	}
	return procs, nil
}

// owns says whether a control group is the container's, or below it.
func (m mainProcess) owns(path string) bool { return strings.Contains(path, m.container) }

// groupPIDs lists the processes in the first of the groups that is to be seen,
// and in those below it; ok is false if none is.
func groupPIDs(groups []string) (pids []int, ok bool) {
	for _, root := range cgroupRoots {
		for _, g := range groups {
			if pids, err := treePIDs(filepath.Join(root, g)); err == nil && len(pids) > 0 {
				return pids, true
			}
		}
	}
	return nil, false
}

func treePIDs(dir string) ([]int, error) {
	var pids []int
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		if err != nil {
			return err
		}
		for line := range strings.FieldsSeq(string(data)) {
			pid, err := strconv.Atoi(line)
			if err != nil {
				return err
			}
			// 0 is a process of another pid namespace: not ours to see.
			if pid == 0 {
				return fs.ErrInvalid
			}
			pids = append(pids, pid)
		}
		return nil
	})
	slices.Sort(pids)
	return slices.Compact(pids), err
}
