package cgroups

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
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

// Find returns the group that holds the node and nothing else. It changes nothing.
// The error wraps targets.ErrUnsupported where there is none, and targets.ErrGone
// if the node does not run.
func Find(ctx context.Context, n targets.Node, w Want) (Group, error) {
	ps, err := procs.Of(n)
	if err != nil {
		return Group{}, err
	}
	all, err := ps.Processes(ctx)
	if err != nil {
		return Group{}, err
	}
	if len(all) == 0 || !all[0].Main {
		return Group{}, fmt.Errorf("it does not run, so it has no control group: start it first: %w", targets.ErrGone)
	}
	main := all[0]
	if id, err := kernel.Identity(main.PID); err != nil || id != main.ProcID {
		return Group{}, fmt.Errorf("its main process, pid %d, is none of this machine's: %s works only where the node runs: %w", main.PID, w.Does, targets.ErrUnsupported)
	}
	g, err := w.of(main.PID)
	if err != nil {
		return g, err
	}
	return g, w.whole(ctx, ps, g, all)
}

// of finds the group of a process.
func (w Want) of(pid int) (Group, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return Group{}, fmt.Errorf("reading its control groups: %w", err)
	}
	ms, err := mounts.Read("/proc/self/mountinfo")
	if err != nil {
		return Group{}, err
	}
	found, why := places(string(text), ms, w.V1)
	for _, p := range found {
		if _, err := os.Stat(filepath.Join(p.dir, w.V2)); p.v2 && err != nil {
			why = append(why, fmt.Sprintf("its group in cgroup v2 has no %s: the controller is not enabled there, or the kernel is too old", w.V2))
			continue
		}
		ino, err := inode(p.dir)
		return Group{Dir: p.dir, Inode: ino, V2: p.v2}, err
	}
	if len(why) == 0 {
		why = []string{"it is in no group of that kind"}
	}
	return Group{}, fmt.Errorf("%s needs a control group of its own: %s: %s, or give the node a control group: %w", w.Does, strings.Join(why, "; "), w.Mend, targets.ErrUnsupported)
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

// whole refuses a group that is not just the node: it holds a stranger, or not all
// of the node's processes.
func (w Want) whole(ctx context.Context, ps targets.Processes, g Group, all []targets.Proc) error {
	in, err := g.Members()
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
			return fmt.Errorf("its control group %s holds others as well (pid %d, %s): %s would hit them: %s, or give the node a control group of its own: %w", g.Dir, pid, s.Name, w.Does, w.Mend, targets.ErrUnsupported)
		}
	}
	for _, p := range again {
		if s, err := kernel.ReadStat(p.PID); err == nil && !s.Dead() && !slices.Contains(in, p.PID) {
			if now, err := g.Members(); err == nil && slices.Contains(now, p.PID) {
				continue
			}
			return fmt.Errorf("pid %d (%s) is not in its control group %s, and would not be hit: %s", p.PID, p.Name, g.Dir, w.Mend)
		}
	}
	return nil
}

// Members are the processes in the group and in those below it; 0 is one that our
// pid namespace does not show.
func (g Group) Members() (pids []int, err error) {
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

// Same makes sure that the group is the one that was found. The error wraps
// targets.ErrGone if it is not.
func (g Group) Same(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ino, err := inode(g.Dir)
	if err == nil && ino != g.Inode {
		err = fmt.Errorf("control group %s was made again: %w", g.Dir, targets.ErrGone)
	}
	return err
}

// Writable finds out whether a file of the group could be written. Opening changes
// nothing.
func (g Group) Writable(file, does, mend string) error {
	f, err := os.OpenFile(filepath.Join(g.Dir, file), os.O_WRONLY, 0)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s: run dapple as root (sudo), or let it use its helper container: %w: %w", does, targets.ErrUnsupported, err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: this kernel has no %s there: %s: %w: %w", does, file, mend, targets.ErrUnsupported, err)
	case err != nil:
		return fmt.Errorf("%s: %w", does, err)
	}
	return f.Close()
}

// Read reads a file of the group, without blanks around it. The error wraps
// targets.ErrGone if the group is not there any more.
func (g Group) Read(ctx context.Context, file string) (string, error) {
	if err := g.Same(ctx); err != nil {
		return "", err
	}
	data, err := os.ReadFile(filepath.Join(g.Dir, file))
	if err != nil {
		return "", lost(fmt.Errorf("asking its control group: %w", err))
	}
	return strings.TrimSpace(string(data)), nil
}

// Write writes to a file of the group. The error wraps targets.ErrGone if the
// group is not there any more.
func (g Group) Write(ctx context.Context, file, text string) error {
	if err := g.Same(ctx); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(g.Dir, file), []byte(text), 0); err != nil {
		return lost(fmt.Errorf("writing %q: %w", text, err))
	}
	return nil
}

// lost adds that the group is gone where the error means that.
func lost(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) {
		return fmt.Errorf("%w: %w", targets.ErrGone, err)
	}
	return err
}
