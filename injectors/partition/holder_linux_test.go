package partition

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/netns"
)

// holderEnv makes this test binary a process that holds one fault, as an agent
// does: what it is to hold comes on its stdin.
const holderEnv = "DAPPLE_TEST_HOLDER"

type order struct {
	Spec  targets.Spec
	Fault injectors.Fault
	Lease time.Duration
	Every time.Duration // between renewals; 0 is never
}

func holder() int {
	ctx := context.Background()
	var o order
	if err := json.NewDecoder(os.Stdin).Decode(&o); err != nil {
		fmt.Println("error:", err)
		return 1
	}
	n, err := netns.Opener().Open(ctx, o.Spec)
	if err == nil {
		inj := Kind().Reopen()
		renew := func() error { return inj.(injectors.Renewer).Renew(ctx, n, o.Fault, o.Lease) }
		if err = renew(); err == nil {
			err = inj.Inject(ctx, n, o.Fault)
		}
		if err == nil {
			fmt.Println("held")
			err = hold(renew, o.Every)
		}
	}
	fmt.Println("error:", err)
	return 1
}

func hold(renew func() error, every time.Duration) error {
	if every == 0 {
		every = time.Hour
	}
	for range time.Tick(every) {
		if err := renew(); err != nil {
			return err
		}
	}
	return nil
}

// hire starts a process that holds the fault, and returns it once it does.
func hire(t testing.TB, l *netns.Lab, f injectors.Fault, o order) *exec.Cmd {
	t.Helper()
	o.Spec, o.Fault = l.Node(f.Node).Spec(), f
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), holderEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if err := json.NewEncoder(in).Encode(o); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 1000)
	k, _ := out.Read(line)
	if said := strings.TrimSpace(string(line[:k])); said != "held" {
		t.Fatalf("the holder said %q", said)
	}
	return cmd
}

// A stream sends numbered datagrams from one node to another and dates what
// arrives.
type stream struct {
	sent, got int64
	times     map[int64]time.Time
	sends     map[int64]time.Time
}

// roomy gives c a buffer in which a receiver that is not scheduled for a while
// loses nothing: the losses of this test's own sockets are not the fault's.
func roomy(t testing.TB, c *net.UDPConn) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Control(func(fd uintptr) {
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20) != nil {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 8<<20) // as much as there may be
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// run sends every pause until stop is closed.
func streamOf(t testing.TB, from, to *netns.Node, pause time.Duration, stop <-chan struct{}) <-chan stream {
	t.Helper()
	var in net.PacketConn
	within(t, to, func() (err error) { in, err = net.ListenPacket("udp4", ":0"); return err })
	roomy(t, in.(*net.UDPConn))
	addr := net.JoinHostPort(addrOf(t, to, 4), fmt.Sprint(in.LocalAddr().(*net.UDPAddr).Port))
	out := dial(t, "udp", from, addr)
	s := stream{times: map[int64]time.Time{}, sends: map[int64]time.Time{}}
	done := make(chan stream, 1)
	received := make(chan struct{})
	go func() {
		defer close(received)
		buf := make([]byte, 100)
		for {
			k, _, err := in.ReadFrom(buf)
			if err != nil {
				return
			}
			var n int64
			if _, err := fmt.Sscan(string(buf[:k]), &n); err == nil {
				s.got++
				s.times[n] = time.Now()
			}
		}
	}()
	go func() {
		defer func() {
			_ = in.SetReadDeadline(time.Now().Add(500 * time.Millisecond)) // a busy machine reads late
			<-received
			in.Close()
			out.Close()
			done <- s
		}()
		for {
			select {
			case <-stop:
				return
			default:
			}
			s.sends[s.sent] = time.Now()
			_, _ = fmt.Fprint(out, s.sent)
			s.sent++
			if pause > 0 {
				ts := unix.NsecToTimespec(int64(pause))
				_ = unix.Nanosleep(&ts, nil)
			}
		}
	}()
	return done
}
