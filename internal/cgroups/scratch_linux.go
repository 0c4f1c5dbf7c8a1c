package cgroups

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/internal/mounts"
	"github.com/dapple-drills/dapple/targets"
)

// Scratch calls do with an empty group of our own, in the hierarchy in which groups
// like the wanted one are, and removes it. The error wraps targets.ErrUnsupported
// where there is no such hierarchy.
func Scratch(w Want, do func(g Group) error) error {
	ms, err := mounts.Read("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	var errs []error
	for _, v2 := range []bool{false, true} {
		for _, m := range ms {
			_, has := m.Option(w.V1)
			if v2 && m.FSType != "cgroup2" || !v2 && (m.FSType != "cgroup" || !has) {
				continue
			}
			lacks, err := w.scratch(m.Point, v2, do)
			if lacks == nil {
				return err
			}
			errs = append(errs, lacks)
		}
	}
	if len(errs) == 0 {
		errs = append(errs, fmt.Errorf("no hierarchy of control groups with %s is mounted: %w", w.V1, targets.ErrUnsupported))
	}
	return diag.Hint(errors.Join(errs...), "run dapple as root, on a machine with cgroup v2 and the controller on for the groups below its root (systemd does so), or with v1's "+w.V1)
}

// scratch does it below one root. lacks says that it cannot be done there.
func (w Want) scratch(root string, v2 bool, do func(g Group) error) (lacks, err error) {
	dir, err := os.MkdirTemp(root, "dapple-doctor-")
	if err != nil {
		return fmt.Errorf("making a control group: %w: %w", targets.ErrUnsupported, err), nil
	}
	defer func() { err = errors.Join(err, os.Remove(dir)) }()
	if _, missing := os.Stat(filepath.Join(dir, w.V2)); v2 && missing != nil {
		return fmt.Errorf("a group of cgroup v2 at %s has no %s: the controller is not enabled there: %w", root, w.V2, targets.ErrUnsupported), nil
	}
	ino, err := inode(dir)
	if err != nil {
		return nil, err
	}
	return nil, do(Group{Dir: dir, Inode: ino, V2: v2})
}

// Sets writes to a file of the group, and makes sure that it says so afterwards:
// what is written and what is read may be spelled differently.
func (g Group) Sets(file, text, says string) error {
	if err := os.WriteFile(filepath.Join(g.Dir, file), []byte(text), 0); err != nil {
		return fmt.Errorf("%w: writing %q: %w", targets.ErrUnsupported, text, err)
	}
	data, err := os.ReadFile(filepath.Join(g.Dir, file))
	if err == nil && !strings.Contains(string(data), says) {
		err = fmt.Errorf("%s of a new control group says %q, after %q was written to it: %w", file, strings.TrimSpace(string(data)), text, targets.ErrUnsupported)
	}
	return err
}
