package nft

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/targets"
)

// TryRewrite has a packet go elsewhere than to its address, and the answer come as
// if from there, in a network namespace of its own which nobody else sees. The
// error wraps targets.ErrUnsupported if it does not.
func TryRewrite() (err error) {
	ns, err := kernel.NewNetNS()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ns.Close()) }()
	path := fmt.Sprintf("/proc/self/fd/%d", ns.Fd())
	if err := kernel.InNetNS(path, upLoopback); err != nil {
		return fmt.Errorf("a network namespace to try it in: %w", err)
	}
	c, err := Dial(path)
	if err != nil {
		return explain(err)
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	asked, server := [4]byte{127, 0, 0, 53}, [4]byte{127, 0, 0, 1}
	const port, serverPort = 53, 5353
	t, h, b := Table{Inet, "dapple_try"}, Rerouting(), &Batch{}
	b.AddTable(t)
	b.AddChain(t, "send", &h)
	udp := Protocol(unix.IPPROTO_UDP)
	b.AddRule(t, "send", "", udp, Source.Is(server[:]), Source.Port(serverPort), Source.SetAddress(asked[:]), Source.SetPort(unix.IPPROTO_UDP, port), Accept())
	b.AddRule(t, "send", "", udp, Target.Is(asked[:]), Target.Port(port), Count(), Target.SetAddress(server[:]), Target.SetPort(unix.IPPROTO_UDP, serverPort))
	if err := c.Commit(b); err != nil {
		return explain(err)
	}
	return kernel.InNetNS(path, func() error {
		return converse(&unix.SockaddrInet4{Addr: asked, Port: port}, &unix.SockaddrInet4{Addr: server, Port: serverPort})
	})
}

// converse asks at one address and answers at the other: all is done within the
// calls, so nothing is waited for.
func converse(asked, server *unix.SockaddrInet4) (err error) {
	var fds [2]int
	for i := range fds {
		if fds[i], err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
			return os.NewSyscallError("socket", err)
		}
		defer unix.Close(fds[i])
	}
	if err := unix.Bind(fds[1], server); err != nil {
		return os.NewSyscallError("bind", err)
	}
	if err := unix.Connect(fds[0], asked); err != nil {
		return os.NewSyscallError("connect", err)
	}
	if _, err := unix.Write(fds[0], []byte("dapple")); err != nil {
		return os.NewSyscallError("write", err)
	}
	buf := make([]byte, 100)
	_, from, err := unix.Recvfrom(fds[1], buf, 0)
	if err != nil {
		return fmt.Errorf("a packet that is sent elsewhere does not arrive there: %w: %w", targets.ErrUnsupported, err)
	}
	if err := unix.Sendto(fds[1], []byte("dapple"), 0, from); err != nil {
		return os.NewSyscallError("sendto", err)
	}
	if _, err := unix.Read(fds[0], buf); err != nil {
		return fmt.Errorf("an answer from elsewhere does not arrive: %w: %w", targets.ErrUnsupported, err)
	}
	return nil
}
