package inside

import (
	"errors"
	"fmt"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// page is the alignment that every disk takes for direct input and output.
const page = 4096

// Run tries the file from where the caller is.
func (t Try) Run(f *os.File) (took time.Duration, err error) {
	buf, free, err := aligned(t.Size)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, free()) }()
	begin := time.Now()
	for i := range t.Times {
		if err := t.one(int(f.Fd()), buf, int64(i)*int64(t.Size)); err != nil {
			return 0, err
		}
	}
	return time.Since(begin), nil
}

func (t Try) one(fd int, buf []byte, at int64) error {
	do, what := unix.Pwrite, "writing"
	if t.Read {
		do, what = unix.Pread, "reading"
	}
	n, err := do(fd, buf, at)
	if err == nil && !t.Read && !t.Direct {
		err = unix.Fdatasync(fd)
	}
	if err == nil && n < len(buf) {
		err = fmt.Errorf("%d of %d bytes", n, len(buf))
	}
	if err != nil {
		return fmt.Errorf("%s to try it: %w", what, err)
	}
	return nil
}

// aligned is memory that begins at a page.
func aligned(size int) (buf []byte, free func() error, err error) {
	if size <= 0 || size%page != 0 {
		return nil, nil, fmt.Errorf("%d bytes are no whole pages", size)
	}
	buf, err = unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
	if err != nil {
		return nil, nil, fmt.Errorf("taking memory: %w", err)
	}
	for i := 0; i < len(buf); i += 8 { // zeroes might never reach the disk
		*(*uint64)(unsafe.Pointer(&buf[i])) = uint64(i)*0x9e3779b97f4a7c15 + 1
	}
	return buf, func() error { return unix.Munmap(buf) }, nil
}
