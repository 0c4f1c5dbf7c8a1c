package traces

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"

	"github.com/dapple-drills/dapple/internal/netlook"
	"github.com/dapple-drills/dapple/targets"
)

// temporary are the places where anybody may write, so where a fault could leave a
// file. They are looked at in nodes that have mounts of their own: elsewhere other
// programs of ours have theirs.
var temporary = []string{"/tmp", "/var/tmp", "/run", "/dev/shm"}

func (l *Look) files(root string) {
	l.Files = map[string]bool{}
	for _, dir := range temporary {
		list, err := os.ReadDir(root + dir)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			l.unseen("files in its "+dir, err)
		}
		for _, e := range list {
			if netlook.Ours(e.Name()) {
				l.Files[dir+"/"+e.Name()] = true
			}
		}
	}
}

func (d *diff) files(before, after map[string]bool, main targets.ProcID) {
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if !before[name] {
			d.say(fmt.Sprintf("rm -r /proc/%d/root%s", main.PID, name), "the file %s is there", name)
		}
	}
}
