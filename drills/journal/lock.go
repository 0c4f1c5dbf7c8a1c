package journal

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"

	"github.com/dapple-drills/dapple/internal/durable"
)

// ErrLocked is wrapped when another dapple drills the same system.
var ErrLocked = errors.New("another drill is running on this system")

// A Lock keeps other dapples of this machine off a system. The kernel ends it
// with the process that took it.
type Lock struct{ file *flock.Flock }

// A locker is what a lock file says of who took it.
type locker struct {
	PID    int    `json:"pid"`
	Drill  string `json:"drill"`
	System string `json:"system"`
}

// Take locks the system for a drill, below home. If it is taken, the error wraps
// ErrLocked and names the pid that has it.
func Take(home, system, drill string) (*Lock, error) {
	return take(home, system, drill, fmt.Errorf("system %s: %w", system, ErrLocked))
}

// Scheduler is what the lock of a scheduler is called, in place of a system.
const Scheduler = "dapple schedule"

// TakeScheduler keeps other schedulers from this home: there is one for each.
func TakeScheduler(home string) (*Lock, error) {
	return take(home, Scheduler, "any that is due", errors.New("another scheduler runs here"))
}

func take(home, system, drill string, taken error) (*Lock, error) {
	dir := filepath.Join(home, "locks")
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("locking system %s: %w", system, err)
	}
	path := filepath.Join(dir, lockName(system))
	l := &Lock{flock.New(path, flock.SetPermissions(0o600))}
	got, err := l.file.TryLock()
	if err != nil {
		return nil, fmt.Errorf("locking system %s: %w", system, err)
	}
	if !got {
		return nil, fmt.Errorf("%w: %s has %s; wait for it, or interrupt it with kill -INT", taken, holder(path), path)
	}
	data, err := json.Marshal(locker{os.Getpid(), drill, system})
	if err == nil {
		// Not by rename: the lock is on this very file.
		err = os.WriteFile(path, data, 0o600)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("locking system %s: %w", system, err), l.file.Close())
	}
	return l, nil
}

// Release gives the system free. The file stays: if it were removed, a third
// dapple could lock a new file while a second waits for the old one.
func (l *Lock) Release() error {
	if err := l.file.Close(); err != nil {
		return fmt.Errorf("unlocking %s: %w", l.file.Path(), err)
	}
	return nil
}

func holder(path string) string {
	data, err := os.ReadFile(path)
	var who locker
	if err != nil || json.Unmarshal(data, &who) != nil || who.PID == 0 {
		return "a process that has not said its pid yet"
	}
	return fmt.Sprintf("pid %d (drill %s)", who.PID, who.Drill)
}

// lockName keeps what is readable of a system's name, and adds a checksum so
// that different names never meet in one file.
func lockName(system string) string {
	readable := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '_'
	}, system)
	if len(readable) > 60 {
		readable = readable[:60]
	}
	sum := sha256.Sum256([]byte(system))
	return readable + "-" + hex.EncodeToString(sum[:4]) + ".lock"
}
