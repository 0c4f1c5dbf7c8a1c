package process

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"
)

// OnKeeperGone calls do, once and from another goroutine, when the keeper that
// started this process is gone. In a process that no keeper started it does
// nothing. Call it early: until then a descriptor that must not reach children
// is open to them.
func OnKeeperGone(do func()) error {
	value, ok := os.LookupEnv(LifelineEnv)
	if !ok {
		return nil
	}
	fd, err := strconv.Atoi(value)
	if err != nil || fd < 3 {
		return fmt.Errorf("%s=%q: want the number of a descriptor", LifelineEnv, value)
	}
	syscall.CloseOnExec(fd)
	pipe := os.NewFile(uintptr(fd), "lifeline")
	go func() {
		_, _ = io.Copy(io.Discard, pipe) // EOF or error: both mean that the keeper is gone
		do()
	}()
	return nil
}
