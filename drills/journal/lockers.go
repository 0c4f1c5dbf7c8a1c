package journal

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A Locker is what a lock file says: which process took the system for which
// drill. It may be gone since: a lock file stays.
type Locker struct {
	PID    int
	Drill  string
	System string
	Since  time.Time // when it was written
}

// Lockers are those of the lock files below home, the scheduler's among them. No
// lock is touched: to try one would refuse it, for that moment, to a drill. A file
// that is being written is left out.
func Lockers(home string) ([]Locker, error) {
	dir := filepath.Join(home, "locks")
	items, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var found []Locker
	for _, item := range items {
		if !strings.HasSuffix(item.Name(), ".lock") {
			continue
		}
		path := filepath.Join(dir, item.Name())
		data, rerr := os.ReadFile(path)
		info, serr := os.Stat(path)
		var who locker
		if rerr != nil || serr != nil || json.Unmarshal(data, &who) != nil || who.PID <= 0 {
			continue
		}
		found = append(found, Locker{who.PID, who.Drill, who.System, info.ModTime()})
	}
	return found, err
}
