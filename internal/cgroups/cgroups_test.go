package cgroups

import (
	"strings"
	"testing"

	"github.com/dapple-drills/dapple/internal/mounts"
)

func TestAGroupIsFoundInEitherHierarchy(t *testing.T) {
	v1 := mounts.Mount{Root: "/", Point: "/sys/fs/cgroup/freezer", FSType: "cgroup", Super: "rw,freezer"}
	v2 := mounts.Mount{Root: "/", Point: "/sys/fs/cgroup", FSType: "cgroup2", Super: "rw"}
	for _, c := range []struct {
		text string
		ms   []mounts.Mount
		want string
	}{
		{"6:freezer:/docker/ab\n0::/\n", []mounts.Mount{v2, v1}, "/sys/fs/cgroup/freezer/docker/ab"},
		{"6:cpu,freezer:/docker/ab\n", []mounts.Mount{v1}, "/sys/fs/cgroup/freezer/docker/ab"},
		{"0::/system.slice/docker-ab.scope\n", []mounts.Mount{v2}, "/sys/fs/cgroup/system.slice/docker-ab.scope"},
		{"6:freezer:/\n0::/x\n", []mounts.Mount{v1, v2}, "/sys/fs/cgroup/x"},
		{"6:freezer:/docker/ab\n0::/x\n", []mounts.Mount{v2, v1}, "/sys/fs/cgroup/freezer/docker/ab /sys/fs/cgroup/x"},
		{"6:freezer:/\n0::/\n", []mounts.Mount{v1, v2}, ""},
		{"0::/../../docker/ab\n", []mounts.Mount{v2}, ""}, // from a namespace of its own
		{"6:freezer:/docker/ab\n", []mounts.Mount{v2}, ""},
		{"6:cpuset:/docker/ab\n", []mounts.Mount{v1}, ""},
		{"", nil, ""},
	} {
		found, why := places(c.text, c.ms, "freezer")
		var dirs []string
		for _, p := range found {
			dirs = append(dirs, p.dir)
		}
		if got := strings.Join(dirs, " "); got != c.want || got == "" && strings.Contains(c.text, "freezer:/docker") && len(why) == 0 {
			t.Errorf("%q: %q, %q", c.text, got, why)
		}
	}
}

func FuzzPlaces(f *testing.F) {
	f.Add("6:freezer:/docker/ab\n0::/\n")
	f.Add("0::/a/../../b\n")
	f.Add(":::\n")
	f.Fuzz(func(t *testing.T, text string) {
		ms := []mounts.Mount{{Root: "/", Point: "/sys/fs/cgroup", FSType: "cgroup2"}, {Root: "/", Point: "/sys/fs/cgroup/freezer", FSType: "cgroup", Super: "freezer"}}
		found, _ := places(text, ms, "freezer")
		for _, p := range found {
			if !strings.HasPrefix(p.dir, "/sys/fs/cgroup/") {
				t.Errorf("%q: %s, which is no group", text, p.dir)
			}
		}
	})
}
