package live

import (
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pty opens a pseudo-terminal of that size (pty(7)).
func pty(t *testing.T, cols, rows uint16) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	raw, err := master.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	var ioErr error
	if err := raw.Control(func(fd uintptr) {
		if ioErr = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); ioErr == nil {
			n, ioErr = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
		if ioErr == nil {
			ioErr = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols})
		}
	}); err != nil || ioErr != nil {
		t.Fatal(err, ioErr)
	}
	slave, err = os.OpenFile("/dev/pts/"+itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	return master, slave
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + string(rune('0'+n%10))
}

// A reel is all that was written to a terminal.
type reel struct {
	mu   sync.Mutex
	text strings.Builder
	news chan struct{}
}

func watch(master *os.File) *reel {
	r := &reel{news: make(chan struct{}, 1)}
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			r.mu.Lock()
			r.text.Write(buf[:n])
			r.mu.Unlock()
			select {
			case r.news <- struct{}{}:
			default:
			}
			if err != nil {
				return
			}
		}
	}()
	return r
}

// until waits for s on the terminal, after the first from bytes.
func (r *reel) until(t *testing.T, s string, from int) int {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		r.mu.Lock()
		text := r.text.String()
		r.mu.Unlock()
		if strings.Contains(text[from:], s) {
			return len(text)
		}
		select {
		case <-r.news:
		case <-deadline:
			t.Fatalf("the terminal never showed %q; it showed %q", s, text)
		}
	}
}

func lflag(t *testing.T, f *os.File) uint32 {
	t.Helper()
	termios, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return termios.Lflag
}

func TestOnATerminalTheDrillIsShownResizedAndTheTerminalGivenBack(t *testing.T) {
	master, slave := pty(t, 90, 30)
	t.Setenv("TERM", "xterm-256color")
	before := lflag(t, slave)
	screen := watch(master)
	v, err := Start(t.Context(), slave, facts(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range story(1) {
		v.Event(e)
	}
	n := screen.until(t, "takes writes", 0)
	if now := lflag(t, slave); now&unix.ISIG == 0 || now&unix.ICANON == 0 {
		t.Error("Ctrl-C would not reach the caller's handler: the terminal makes no signals")
	} else if now&unix.ECHO != 0 {
		t.Error("what is typed would be echoed into the picture")
	}
	if err := unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 12, Col: 60}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGWINCH); err != nil {
		t.Fatal(err)
	}
	screen.until(t, "patroni", n) // it was drawn anew
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if err := v.Close(); err != nil {
		t.Fatal("closing twice:", err)
	}
	v.Event(story(1)[0])
	screen.until(t, "\x1b[?1049l", 0) // left the alternate screen (xterm)
	if after := lflag(t, slave); after != before {
		t.Errorf("the terminal's modes are %#x, were %#x", after, before)
	}
}
