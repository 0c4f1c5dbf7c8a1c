// Package cgroups finds the control group that is a node's alone, and reads and
// writes its files: what the faults that work by control groups have in common.
// Both versions are spoken (kernel documentation, admin-guide/cgroup-v1 and
// cgroup-v2).
//
// It refuses the root group, and a group that holds others than the node. It does
// not know what the files mean.
package cgroups

import (
	"path"
	"slices"
	"strings"

	"github.com/dapple-drills/dapple/internal/mounts"
)

// A Group is a control group, as data.
type Group struct {
	Dir   string `json:"dir"`   // "/sys/fs/cgroup/freezer/docker/…"
	Inode uint64 `json:"inode"` // one that was made again is another
	V2    bool   `json:"v2,omitempty"`
}

// A Want says which group of a node is looked for.
type Want struct {
	V1   string // the controller of version 1: "freezer", "cpu", "memory", "blkio"
	V2   string // a file that the group of version 2 must have: "cgroup.freeze", "cpu.max"
	Does string // what is done to it, for errors: "freezing it"
	Mend string // what to do instead, for errors: "use how: stop"
}

// A place is where a group may be.
type place struct {
	dir string
	v2  bool
}

// places finds the directories of the groups of a process whose /proc/PID/cgroup
// is text, and says why there are not more. Version 1 goes first: where it has the
// controller, version 2 does not.
func places(text string, ms []mounts.Mount, controller string) (found []place, why []string) {
	for _, v2 := range []bool{false, true} {
		name := "the " + controller + " controller of cgroup v1"
		if v2 {
			name = "cgroup v2"
		}
		inside, ok := hierarchy(text, controller, v2)
		switch {
		case !ok:
			continue
		case slices.Contains(strings.Split(inside, "/"), ".."):
			// cgroup_namespaces(7): it is shown relative to our own root.
			why = append(why, "its group in "+name+" is not to be seen in the control groups' namespace of dapple")
			continue
		case path.Clean("/"+inside) == "/":
			why = append(why, "its group in "+name+" is the root, with every process of the machine")
			continue
		}
		dir, ok := mountedAt(ms, inside, controller, v2)
		if !ok {
			why = append(why, name+" is mounted nowhere here with its group "+inside)
			continue
		}
		found = append(found, place{dir, v2})
	}
	return found, why
}

func mountedAt(ms []mounts.Mount, inside, controller string, v2 bool) (string, bool) {
	for _, m := range ms {
		_, has := m.Option(controller)
		if v2 && m.FSType != "cgroup2" || !v2 && (m.FSType != "cgroup" || !has) {
			continue
		}
		if dir, ok := m.Place(inside); ok {
			return dir, true
		}
	}
	return "", false
}

// hierarchy finds the path in the hierarchy of the controller: the line with its
// name (v1), or with no name (v2).
func hierarchy(text, controller string, v2 bool) (inside string, ok bool) {
	for line := range strings.Lines(text) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) == 3 && (v2 && f[0] == "0" && f[1] == "" || !v2 && slices.Contains(strings.Split(f[1], ","), controller)) {
			return f[2], true
		}
	}
	return "", false
}
