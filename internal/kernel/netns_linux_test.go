package kernel_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/internal/testenv"
)

const ownNS = "/proc/thread-self/ns/net"

func TestADialFromOurOwnNamespaceTalksToTheListener(t *testing.T) {
	testenv.NeedRoot(t)
	l := listen(t)
	c, err := kernel.DialNetNS(t.Context(), ownNS, "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	buf := make([]byte, 5)
	if _, err := s.Read(buf); err != nil || string(buf) != "hello" {
		t.Fatalf("read %q, %v", buf, err)
	}
	// Deadlines must work: the probes rest on them.
	if err := c.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("reading past the deadline: got %v, want a deadline error", err)
	}
}

func TestADialFromAnotherNamespaceCannotReachOurLoopback(t *testing.T) {
	testenv.NeedRoot(t)
	l := listen(t)
	path := otherNS(t)
	_, err := kernel.DialNetNS(t.Context(), path, "tcp", l.Addr().String())
	if err == nil {
		t.Fatal("connected to a listener of our namespace from inside another")
	}
	// An empty namespace has its loopback down.
	if !errors.Is(err, syscall.ENETUNREACH) && !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v, want network unreachable or connection refused", err)
	}
}

func TestDialsInsideLeaveEveryOtherGoroutineInItsNamespace(t *testing.T) {
	testenv.NeedRoot(t)
	path := otherNS(t)
	want, err := os.Readlink(ownNS)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				_, _ = kernel.DialNetNS(t.Context(), path, "tcp", "127.0.0.1:1") // refused or unreachable: either will do
			}
		})
		wg.Go(func() {
			for range 200 {
				if got, err := os.Readlink(ownNS); err != nil || got != want {
					t.Errorf("a goroutine ran in %s (%v), want %s", got, err, want)
				}
			}
		})
	}
	wg.Wait()
}

func TestARefusedConnectionSaysSo(t *testing.T) {
	testenv.NeedRoot(t)
	l := listen(t)
	addr := l.Addr().String()
	l.Close()
	_, err := kernel.DialNetNS(t.Context(), ownNS, "tcp", addr)
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v, want connection refused", err)
	}
}

func TestADialEndsWithItsContext(t *testing.T) {
	testenv.NeedRoot(t)
	l := listen(t)
	// A full backlog makes the kernel ignore further SYNs: a dial that hangs.
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) { err = syscall.Listen(int(fd), 0) }); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	for range 10 {
		c, dialErr := kernel.DialNetNS(ctx, ownNS, "tcp", l.Addr().String())
		if err = dialErr; err != nil {
			break
		}
		defer c.Close()
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the context's error", err)
	}
}

func TestBadAddressesAreExplained(t *testing.T) {
	for _, c := range []struct{ network, addr, want string }{
		{"tcp", "localhost:80", "names are not resolved"},
		{"tcp", "127.0.0.1", "want ip:port"},
		{"udp", "127.0.0.1:80", "want tcp"},
		{"tcp6", "127.0.0.1:80", "of that family"},
	} {
		_, err := kernel.DialNetNS(t.Context(), ownNS, c.network, c.addr)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: got %v, want an error with %q", c.network, c.addr, err, c.want)
		}
	}
}

func TestANamespaceThatIsGoneIsAnError(t *testing.T) {
	_, err := kernel.DialNetNS(t.Context(), "/proc/1/ns/no-such", "tcp", "127.0.0.1:80")
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want not exist", err)
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// otherNS is the network namespace of a child that has one of its own.
func otherNS(t *testing.T) (path string) {
	t.Helper()
	cmd := exec.Command("cat")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	return fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid)
}

func TestTheProcessItselfIsNeverSeenInsideANamespaceThatItEnters(t *testing.T) {
	testenv.NeedRoot(t)
	home, err := kernel.NetNSID("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	ns, err := kernel.NewNetNS()
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	path := fmt.Sprintf("/proc/self/fd/%d", ns.Fd())
	inner, err := kernel.NetNSID(path)
	if err != nil || inner == home {
		t.Fatal("no namespace of its own", err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				err := kernel.InNetNS(path, func() error {
					in, err := kernel.NetNSID("/proc/thread-self/ns/net")
					if in != inner || err != nil {
						t.Errorf("the thread is in %d, %v, want %d", in, err, inner)
					}
					// What /proc shows of a process is its main thread.
					out, err := kernel.NetNSID("/proc/self/ns/net")
					if out != home || err != nil {
						t.Errorf("the process is seen in %d, %v, want %d", out, err, home)
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// The kernel gives the number of a namespace that went away to the next one: whoever
// remembered the first must not take the second for it.
func TestANamespaceIsNotTheOneWhoseNumberItWasGiven(t *testing.T) {
	testenv.NeedRoot(t)
	made := func() (*os.File, kernel.NetNS) {
		t.Helper()
		ns, err := kernel.NewNetNS()
		if err != nil {
			t.Fatal(err)
		}
		id, err := kernel.NetNSOf(fmt.Sprintf("/proc/self/fd/%d", ns.Fd()))
		if err != nil || id.Inode == 0 || id.Cookie == 0 {
			t.Fatal(id, err)
		}
		return ns, id
	}
	first, was := made()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; {
		ns, is := made()
		defer ns.Close() // the numbers that are free are the ones that were freed
		if is.Is(was) {
			t.Fatalf("%+v is taken for %+v", is, was)
		}
		if is.Inode == was.Inode {
			t.Logf("%v was given again", is)
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the number %v was not given again in 30 s", was)
		}
		<-time.After(10 * time.Millisecond) // the kernel takes a namespace down in its own time
	}
}

func TestANamespaceOfAnEarlierRecordIsKnownByItsNumber(t *testing.T) {
	var old, now kernel.NetNS
	if err := json.Unmarshal([]byte("4026532001"), &old); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(`{"inode": 4026532001, "cookie": 4099}`), &now); err != nil {
		t.Fatal(err)
	}
	if !old.Is(now) || !now.Is(old) || now.Is(kernel.NetNS{Inode: now.Inode, Cookie: 4100}) || now.Is(kernel.NetNS{Inode: 1, Cookie: 4099}) {
		t.Errorf("%+v, %+v", old, now)
	}
	if err := json.Unmarshal([]byte(`"x"`), &old); err == nil {
		t.Error("a word was taken for a namespace")
	}
}
