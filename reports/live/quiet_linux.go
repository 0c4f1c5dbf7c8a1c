package live

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// quiet turns off the echo of typed characters on w, if it is a terminal, and
// returns what turns it on again. Signals by keys (ISIG) stay as they are.
func quiet(w io.Writer) (restore func() error, err error) {
	f, ok := w.(*os.File)
	if !ok {
		return func() error { return nil }, nil
	}
	fd := int(f.Fd())
	before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if errors.Is(err, unix.ENOTTY) {
		return func() error { return nil }, nil
	}
	if err != nil {
		return nil, err
	}
	after := *before
	after.Lflag &^= unix.ECHO
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &after); err != nil {
		return nil, err
	}
	return func() error {
		if err := unix.IoctlSetTermios(fd, unix.TCSETS, before); err != nil {
			return fmt.Errorf("giving the terminal its settings back: %w", err)
		}
		return nil
	}, nil
}
