package mounts

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const sample = `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
40 36 0:52 / /var/lib/docker/overlay2/ab/merged rw,relatime - overlay overlay rw,lowerdir=/l,upperdir=/var/lib/docker/overlay2/ab/diff,workdir=/w
41 36 0:30 / /with\040blank\134 rw shared:3 propagate_from:2 - tmpfs a\040b rw,size=1g
42 36 0:31 /docker /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer
`

func TestMountsAreReadAsTheKernelWritesThem(t *testing.T) {
	got, err := Parse(sample)
	want := []Mount{
		{36, 98, 0, "/mnt1", "/mnt2", "ext3", "/dev/root", "rw,errors=continue", "rw,noatime", 35, false},
		{40, 0, 52, "/", "/var/lib/docker/overlay2/ab/merged", "overlay", "overlay", "rw,lowerdir=/l,upperdir=/var/lib/docker/overlay2/ab/diff,workdir=/w", "rw,relatime", 36, false},
		{41, 0, 30, "/", `/with blank\`, "tmpfs", "a b", "rw,size=1g", "rw", 36, true},
		{42, 0, 31, "/docker", "/sys/fs/cgroup/freezer", "cgroup", "cgroup", "rw,freezer", "rw", 36, false},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Fatalf("%v (-want +got):\n%s", err, diff)
	}
	if v, ok := got[1].Option("upperdir"); !ok || v != "/var/lib/docker/overlay2/ab/diff" {
		t.Errorf("upperdir %q, %v", v, ok)
	}
	if _, ok := got[3].Option("freezer"); !ok {
		t.Error("an option without a value is not seen")
	}
	if _, ok := got[3].Option("free"); ok {
		t.Error("a part of an option counts")
	}
}

func TestAPathInsideAFileSystemIsFoundThroughItsMount(t *testing.T) {
	m := Mount{Root: "/docker", Point: "/sys/fs/cgroup/freezer"}
	for inside, want := range map[string]string{"/docker/ab": "/sys/fs/cgroup/freezer/ab", "/docker": "/sys/fs/cgroup/freezer", "/dockers/x": "", "/": ""} {
		if got, ok := m.Place(inside); got != want || ok != (want != "") {
			t.Errorf("%s: %q, %v", inside, got, ok)
		}
	}
	m.Root = "/"
	if got, _ := m.Place("/docker/ab"); got != "/sys/fs/cgroup/freezer/docker/ab" {
		t.Error(got)
	}
}

func TestOurOwnMountsCanBeRead(t *testing.T) {
	if _, err := os.Stat("/proc/self/mountinfo"); err != nil {
		t.Skip("needs Linux")
	}
	if all, err := Read("/proc/self/mountinfo"); err != nil || len(all) == 0 {
		t.Error(all, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(sample)
	f.Add(" - ")
	f.Add(`1 1 0:1 / /a\04 rw - x y z`)
	f.Fuzz(func(t *testing.T, data string) {
		all, err := Parse(data)
		if err == nil && len(all) != strings.Count(strings.TrimSuffix(data, "\n"), "\n")+1 && data != "" {
			t.Errorf("%d mounts of %q", len(all), data)
		}
	})
}
