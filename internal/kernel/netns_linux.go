package kernel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/targets"
)

// DialNetNS connects to addr ("ip:port", no name) from inside the network
// namespace that path names (/proc/PID/ns/net). Networks are tcp, tcp4 and tcp6.
//
// Only the making of the socket happens inside the namespace, on a thread of its
// own for some microseconds: a socket stays in the namespace in which it was
// made (network_namespaces(7)). Connecting is done outside, without blocking a
// thread, so that any number of dials may wait at once.
func DialNetNS(ctx context.Context, path, network, addr string) (net.Conn, error) {
	return DialFrom(ctx, NetNSSocket, path, network, addr)
}

// DialFrom is DialNetNS with a socket that another one makes: who may not enter
// the namespace can connect a socket that was handed out of it all the same.
func DialFrom(ctx context.Context, sockets Sockets, path, network, addr string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, fmt.Errorf("address %q: want ip:port, names are not resolved: %w", addr, err)
	}
	switch {
	case network == "tcp", network == "tcp4" && to.Addr().Unmap().Is4(), network == "tcp6" && to.Addr().Is6():
	default:
		return nil, fmt.Errorf("dialling %s %s: want tcp, tcp4 or tcp6 and an address of that family", network, addr)
	}
	v6, sa := sockaddr(to)
	fd, err := sockets(ctx, path, v6)
	if err != nil {
		return nil, err
	}
	c, err := connect(ctx, fd, sa, network+" "+addr)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: net.TCPAddrFromAddrPort(to), Err: err}
	}
	return c, nil
}

func sockaddr(to netip.AddrPort) (v6 bool, sa unix.Sockaddr) {
	ip := to.Addr().Unmap()
	if ip.Is4() {
		return false, &unix.SockaddrInet4{Port: int(to.Port()), Addr: ip.As4()}
	}
	return true, &unix.SockaddrInet6{Port: int(to.Port()), Addr: ip.As16()}
}

// NetNSSocket makes a non-blocking TCP socket inside the namespace, for IPv6 or
// IPv4. It is a bare descriptor, and the caller's to close: package os would give
// it to the poller, which takes an idle socket for a connected one (see connect).
func NetNSSocket(_ context.Context, path string, v6 bool) (fd int, err error) {
	family := unix.AF_INET
	if v6 {
		family = unix.AF_INET6
	}
	err = InNetNS(path, func() error {
		if fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
			return fmt.Errorf("making a socket in %s: %w", path, err)
		}
		return nil
	})
	if err != nil {
		return -1, err
	}
	return fd, nil
}

// InNetNS calls do on a thread that is inside the network namespace which path
// names (/proc/PID/ns/net), and returns its error. A socket that do makes, and a
// process that it starts, stay in that namespace (network_namespaces(7)); do must
// not block, nor start goroutines that are to be inside.
func InNetNS(path string, do func() error) error {
	ns, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return netnsError(path, err)
	}
	defer unix.Close(ns)
	onThread(func() (reusable bool) {
		reusable, err = enter(ns, path, do)
		return reusable
	})
	return err
}

// onThread calls do on a thread of its own and waits for it. The thread ends
// unless do says that it is as it was: no other goroutine ever runs on one that is
// still inside.
//
// It is never the main thread, the one by which /proc shows the whole process: we
// would be seen in the namespace of a node, and taken for one of its processes.
func onThread(do func() (reusable bool)) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			onThread(do) // while we keep this one busy
			runtime.UnlockOSThread()
			return
		}
		if do() {
			runtime.UnlockOSThread()
		}
	}()
	<-done
}

// enter calls do inside, and says whether the thread came back out.
func enter(ns int, path string, do func() error) (back bool, err error) {
	home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return true, fmt.Errorf("opening our own network namespace: %w", err)
	}
	defer unix.Close(home)
	if err := unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
		return true, netnsError(path, err)
	}
	err = do()
	return unix.Setns(home, unix.CLONE_NEWNET) == nil, err
}

// Thread calls do on a thread that is never the main one and ends with do. What do
// changes of the thread, such as its network namespace, nobody else sees.
func Thread(do func()) { onThread(func() bool { do(); return false }) }

// NewNetNS makes a network namespace that has no name: it is gone once the last
// descriptor of it, and the last process and socket in it, are.
func NewNetNS() (ns *os.File, err error) {
	Thread(func() {
		if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
			if errors.Is(err, unix.EPERM) {
				err = fmt.Errorf("making a network namespace: %w: it takes root (CAP_SYS_ADMIN), or a user namespace: unshare --user --map-root-user --net", err)
			}
			return
		}
		ns, err = os.Open("/proc/thread-self/ns/net")
	})
	return ns, err
}

// NetNSOf says which network namespace path names (/proc/PID/ns/net). Who may not
// enter it learns its inode only.
func NetNSOf(path string) (n NetNS, err error) {
	ns, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return n, netnsGone(path, err)
	}
	defer unix.Close(ns)
	var st unix.Stat_t
	if err := unix.Fstat(ns, &st); err != nil {
		return n, netnsError(path, err)
	}
	n.Inode = st.Ino
	onThread(func() (reusable bool) {
		// It stays 0 if we may not enter, or the kernel is older.
		reusable, _ = enter(ns, path, func() error { n.Cookie, err = NetNSCookie(); return nil })
		return reusable
	})
	return n, err
}

// NetNSCookie is the number of the network namespace of the calling thread that is
// never given twice; 0 if the kernel does not tell it (before Linux 5.14).
func NetNSCookie() (cookie uint64, err error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if errors.Is(err, unix.ENOPROTOOPT) {
		return 0, nil
	}
	return cookie, os.NewSyscallError("asking for the number of a network namespace", err)
}

// NetNSID is the number by which the kernel knows the network namespace that
// path names (namespaces(7), the inode of /proc/PID/ns/net): of two paths at one
// moment, two with one number are one namespace. See NetNS for longer.
func NetNSID(path string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, netnsGone(path, err)
	}
	return st.Ino, nil
}

// netnsGone marks that there is no namespace any more.
func netnsGone(path string, err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) {
		err = fmt.Errorf("%w: %w", targets.ErrGone, err)
	}
	return netnsError(path, err)
}

// netnsError adds the way out to an error of open or setns.
func netnsError(path string, err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("entering the network namespace %s: %w: it takes root (CAP_SYS_ADMIN and CAP_SYS_PTRACE): run with sudo", path, err)
	}
	return fmt.Errorf("entering the network namespace %s: %w", path, err)
}

// connect takes fd over, also when it fails.
func connect(ctx context.Context, fd int, sa unix.Sockaddr, name string) (net.Conn, error) {
	// The connection is begun before the descriptor meets the poller: an idle
	// socket reports "writable, hung up" at once, which would read as connected.
	err := unix.Connect(fd, sa)
	// A non-blocking descriptor: the file is driven by the poller.
	f := os.NewFile(uintptr(fd), name)
	defer f.Close() // net.FileConn keeps a copy
	switch {
	case err == nil:
	case errors.Is(err, unix.EINPROGRESS), errors.Is(err, unix.EINTR):
		if err := connected(ctx, f); err != nil {
			return nil, err
		}
	default:
		return nil, os.NewSyscallError("connect", err)
	}
	return net.FileConn(f)
}

// connected waits until the connection that is under way stands, or failed, or
// ctx ended.
func connected(ctx context.Context, f *os.File) error {
	stop := context.AfterFunc(ctx, func() {
		// The only way to wake a waiter of the poller. An error would mean that f
		// is closed, and then nobody waits.
		_ = f.SetWriteDeadline(time.Unix(1, 0))
	})
	defer stop()
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	err = raw.Write(func(fd uintptr) (done bool) {
		done, result = connectResult(int(fd))
		return done
	})
	if err == nil {
		err = result
	}
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// connectResult asks the kernel what became of a connection under way.
func connectResult(fd int) (done bool, err error) {
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return true, os.NewSyscallError("getsockopt", err)
	}
	switch e := unix.Errno(code); e {
	case 0, unix.EISCONN:
		// The poller may wake us for nothing: only a peer proves a connection.
		_, err := unix.Getpeername(fd)
		return err == nil, nil
	case unix.EINPROGRESS, unix.EALREADY, unix.EINTR:
		return false, nil
	default:
		return true, os.NewSyscallError("connect", e)
	}
}
