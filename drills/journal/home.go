package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// systemHome is where root keeps what must be found again by whoever comes
// after a crash, whatever their environment says (Filesystem Hierarchy
// Standard, /var/lib).
const systemHome = "/var/lib/dapple"

// Home is the directory in which dapple keeps its state on this machine:
// $DAPPLE_HOME, else /var/lib/dapple for root, else dapple in the XDG state
// directory (XDG Base Directory Specification 0.8). It is not made.
func Home() (string, error) {
	if home := os.Getenv("DAPPLE_HOME"); home != "" {
		abs, err := filepath.Abs(home)
		if err != nil {
			return "", fmt.Errorf("finding $DAPPLE_HOME: %w", err)
		}
		return abs, nil
	}
	if os.Geteuid() == 0 {
		return systemHome, nil
	}
	// The specification says that a relative path is to be ignored.
	if state := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(state) {
		return filepath.Join(state, "dapple"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", errors.Join(errors.New("no place for the journal: set DAPPLE_HOME"), err)
	}
	return filepath.Join(home, ".local", "state", "dapple"), nil
}

// Dir is the journal's directory below home.
func Dir(home string) string { return filepath.Join(home, "journal") }
