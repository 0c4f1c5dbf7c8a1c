package pause

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/internal/mounts"
	"github.com/dapple-drills/dapple/internal/procs"
	"github.com/dapple-drills/dapple/targets"
)

// kernelFreezer is the freezer of control groups: that of version 1
// (freezer.state, kernel documentation cgroup-v1/freezer-subsystem) or that of
// version 2 (cgroup.freeze, cgroup-v2).
type kernelFreezer struct{}

func (kernelFreezer) find(ctx context.Context, n targets.Node, all []targets.Proc) (group, error) {
	main := all[0]
	if id, err := kernel.Identity(main.PID); err != nil || id != main.ProcID {
		return group{}, fmt.Errorf("its main process, pid %d, is none of this machine's: how: freezer works only where the node runs: %w", main.PID, targets.ErrUnsupported)
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", main.PID))
	if err != nil {
		return group{}, fmt.Errorf("reading its control groups: %w", err)
	}
	ms, err := mounts.Read("/proc/self/mountinfo")
	if err != nil {
		return group{}, err
	}
	g, err := groupOf(string(text), ms)
	if err != nil {
		return g, err
	}
	if g.Inode, err = inode(g.Dir); err != nil {
		return g, err
	}
	if err := writable(g); err != nil {
		return g, err
	}
	return g, whole(ctx, n, g, all)
}

// groupOf finds the directory of the group of a process whose /proc/PID/cgroup is
// text. A freezer of version 1 goes first: where there is one, the groups of
// version 2 beside it often hold everything.
func groupOf(text string, ms []mounts.Mount) (group, error) {
	var why []string
	for _, v2 := range []bool{false, true} {
		inside, ok := hierarchy(text, v2)
		switch {
		case !ok:
			continue
		case slices.Contains(strings.Split(inside, "/"), ".."):
			// cgroup_namespaces(7): it is shown relative to our own root.
			why = append(why, fmt.Sprintf("its group in %s is not to be seen in the control groups' namespace of dapple", version(v2)))
			continue
		case path.Clean("/"+inside) == "/":
			why = append(why, fmt.Sprintf("its group in %s is the root, with every process of the machine", version(v2)))
			continue
		}
		for _, m := range ms {
			_, isFreezer := m.Option("freezer")
			if v2 && m.FSType != "cgroup2" || !v2 && (m.FSType != "cgroup" || !isFreezer) {
				continue
			}
			if dir, ok := m.Place(inside); ok {
				return group{Dir: dir, V2: v2}, nil
			}
		}
		why = append(why, fmt.Sprintf("%s is mounted nowhere here with its group %s", version(v2), inside))
	}
	if len(why) == 0 {
		why = []string{"it is in no group that can be frozen"}
	}
	return group{}, fmt.Errorf("no control group of its own can be frozen: %s: use how: stop, or give the node a control group: %w", strings.Join(why, "; "), targets.ErrUnsupported)
}

func version(v2 bool) string {
	if v2 {
		return "cgroup v2"
	}
	return "the freezer of cgroup v1"
}

// hierarchy finds the path in the hierarchy of the freezer: the line with the
// controller (v1), or with no controller (v2).
func hierarchy(text string, v2 bool) (inside string, ok bool) {
	for line := range strings.Lines(text) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) == 3 && (v2 && f[0] == "0" && f[1] == "" || !v2 && slices.Contains(strings.Split(f[1], ","), "freezer")) {
			return f[2], true
		}
	}
	return "", false
}

func inode(dir string) (uint64, error) {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("control group %s: %w", dir, targets.ErrGone)
	}
	if err != nil {
		return 0, fmt.Errorf("control group: %w", err)
	}
	return info.Sys().(*syscall.Stat_t).Ino, nil
}

// writable finds out whether the group could be frozen. Opening changes nothing.
func writable(g group) error {
	name, _, _ := g.file()
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("freezing it: run dapple as root (sudo), or let it use its helper container: %w: %w", targets.ErrUnsupported, err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("freezing it: this kernel has no freezer there (cgroup v2: Linux 5.2): use how: stop: %w: %w", targets.ErrUnsupported, err)
	case err != nil:
		return fmt.Errorf("freezing it: %w", err)
	}
	return f.Close()
}

// whole refuses a group that is not just the node: it holds a stranger, or not all
// of the node's processes.
func whole(ctx context.Context, n targets.Node, g group, all []targets.Proc) error {
	in, err := members(g)
	if err != nil {
		return err
	}
	ps, err := procs.Of(n)
	if err != nil {
		return err
	}
	again, err := ps.Processes(ctx) // of those that came meanwhile
	if err != nil {
		return err
	}
	ours := map[int]bool{}
	for _, p := range append(slices.Clone(all), again...) {
		ours[p.PID] = true
	}
	for _, pid := range in {
		s, err := kernel.ReadStat(pid)
		if pid != 0 && (errors.Is(err, targets.ErrGone) || err == nil && s.Dead()) {
			continue
		}
		if !ours[pid] {
			return fmt.Errorf("its control group %s holds others as well (pid %d, %s): freezing it would pause them: use how: stop, or give the node a control group of its own: %w", g.Dir, pid, s.Name, targets.ErrUnsupported)
		}
	}
	for _, p := range again {
		if s, err := kernel.ReadStat(p.PID); err == nil && !s.Dead() && !slices.Contains(in, p.PID) {
			if now, err := members(g); err == nil && slices.Contains(now, p.PID) {
				continue
			}
			return fmt.Errorf("pid %d (%s) is not in its control group %s, and would go on: use how: stop", p.PID, p.Name, g.Dir)
		}
	}
	return nil
}

// members are the processes in the group and in those below it; 0 is one that
// our pid namespace does not show.
func members(g group) (pids []int, err error) {
	err = filepath.WalkDir(g.Dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(name, "cgroup.procs"))
		for field := range strings.FieldsSeq(string(data)) {
			pid, bad := strconv.Atoi(field)
			if bad != nil {
				return bad
			}
			pids = append(pids, pid)
		}
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.EOPNOTSUPP) {
			return nil // it was just removed, or is threaded: its threads are a group's above
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing control group %s: %w", g.Dir, err)
	}
	return pids, nil
}

func (kernelFreezer) set(ctx context.Context, _ targets.Node, g group, to string) error {
	if err := same(ctx, g); err != nil {
		return err
	}
	name, _, _ := g.file()
	if err := os.WriteFile(name, []byte(to), 0); err != nil {
		return lost(fmt.Errorf("writing %s: %w", to, err))
	}
	return nil
}

// same makes sure that the group is the one that was planned.
func same(ctx context.Context, g group) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ino, err := inode(g.Dir)
	if err == nil && ino != g.Inode {
		err = fmt.Errorf("control group %s was made again: %w", g.Dir, targets.ErrGone)
	}
	return err
}

// lost adds that the group is gone where the error means that.
func lost(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) {
		return fmt.Errorf("%w: %w", targets.ErrGone, err)
	}
	return err
}

func (kernelFreezer) frozen(ctx context.Context, _ targets.Node, g group) (all, half bool, words string, err error) {
	if err := same(ctx, g); err != nil {
		return false, false, "", err
	}
	if !g.V2 {
		state, err := readWord(g.Dir + "/freezer.state")
		return state == "FROZEN", state != "THAWED", fmt.Sprintf("%s/freezer.state is %s", g.Dir, state), err
	}
	asked, err := readWord(g.Dir + "/cgroup.freeze")
	if err != nil {
		return false, false, "", err
	}
	events, err := readWord(g.Dir + "/cgroup.events")
	all = strings.Contains(events, "frozen 1")
	return all, all || asked != "0", fmt.Sprintf("%s/cgroup.freeze is %s, its cgroup.events: %s", g.Dir, asked, strings.ReplaceAll(events, "\n", ", ")), err
}

func readWord(name string) (string, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return "", lost(fmt.Errorf("looking at the freezer: %w", err))
	}
	return strings.TrimSpace(string(data)), nil
}
