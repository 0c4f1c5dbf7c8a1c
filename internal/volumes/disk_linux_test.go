package volumes

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dapple-drills/dapple/internal/mounts"
	"github.com/dapple-drills/dapple/targets"
)

// sysfs makes what /sys/dev/block shows of a disk, of a part of it, and of a
// device that has no queue.
func sysfs(t *testing.T) (devBlock string) {
	t.Helper()
	root := t.TempDir()
	for name, text := range map[string]string{
		"devices/sda/dev": "8:0\n", "devices/sda/queue/nr_requests": "1", "devices/sda/sda1/dev": "8:1\n", "devices/sda/sda1/partition": "1\n",
		"devices/odd/dev": "9:0\n", "block/.keep": "",
	} {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for number, to := range map[string]string{"8:0": "sda", "8:1": "sda/sda1", "9:0": "odd"} {
		if err := os.Symlink("../devices/"+to, filepath.Join(root, "block", number)); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(root, "block")
}

func TestAPartOfADiskIsKnownByItsDisk(t *testing.T) {
	sys := sysfs(t)
	for _, number := range []string{"8:0", "8:1"} {
		if d, err := whole(sys, number); err != nil || d != (Disk{"8:0", "sda"}) {
			t.Errorf("%s: %+v, %v", number, d, err)
		}
	}
	for number, says := range map[string]string{"9:0": "no queue", "7:7": "no disk of this machine"} {
		if d, err := whole(sys, number); !errors.Is(err, targets.ErrUnsupported) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %+v, %v; want %q", number, d, err, says)
		}
	}
}

func TestAFileSystemThatLiesOnNoDiskIsRefused(t *testing.T) {
	for _, m := range []mounts.Mount{
		{FSType: "tmpfs", Source: "tmpfs", Minor: 30},
		{FSType: "nfs4", Source: "server:/export", Minor: 31},
		{FSType: "btrfs", Source: "/dev/not-there", Minor: 32},
		{FSType: "overlay", Super: "ro,lowerdir=/l", Minor: 33},
	} {
		if d, err := DiskOf(m); !errors.Is(err, targets.ErrUnsupported) {
			t.Errorf("%+v: %+v, %v", m, d, err)
		}
	}
}
