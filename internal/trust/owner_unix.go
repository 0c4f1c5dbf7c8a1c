//go:build unix

package trust

import (
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"syscall"

	"github.com/dapple-drills/dapple/internal/diag"
)

func owner(name string, info fs.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s: its owner is not known: %w", name, ErrForeign)
	}
	if !isOperator(int(st.Uid)) {
		return diag.Hint(fmt.Errorf("%s belongs to user %d: %w", name, st.Uid, ErrForeign), "read it, and copy it to a file of your own if you want what it says")
	}
	return writable(name, info.Mode())
}

// isOperator: root, this process's user, or who became root by sudo(8).
func isOperator(uid int) bool {
	if uid == 0 || uid == os.Geteuid() {
		return true
	}
	sudo, err := strconv.Atoi(os.Getenv("SUDO_UID"))
	return err == nil && os.Geteuid() == 0 && sudo == uid
}
