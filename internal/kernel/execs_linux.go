package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/targets"
)

// Numbers of the kernel's process events (linux/connector.h, linux/cn_proc.h).
const (
	cnIdxProc, cnValProc = 1, 1

	procListen, procIgnore = 1, 2
	procEventNone          = 0 // answers a request; its error is behind the header
	procEventExec          = 2

	nlHeader   = 16 // struct nlmsghdr
	cnHeader   = 20 // struct cn_msg
	procHeader = 16 // of struct proc_event: what, cpu, timestamp
)

// Execs calls see with the pid of every process of this machine that executes a
// program, some microseconds after it did, until ctx ends; with 0 where some were
// missed. first is called once it listens.
//
// The error wraps targets.ErrUnsupported where the kernel tells nobody, or not us: it
// takes CAP_NET_ADMIN, and the machine's own namespaces.
func Execs(ctx context.Context, first func(), see func(pid int)) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_CONNECTOR)
	if err != nil {
		return deaf(err)
	}
	sock := os.NewFile(uintptr(fd), "process events")
	defer sock.Close()
	// A burst of processes must fit. Without the right to it, what is lost is told.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: cnIdxProc}); err != nil {
		return deaf(err)
	}
	if err := procRequest(fd, procListen); err != nil {
		return deaf(err)
	}
	// The kernel counts who listens, and older ones do not notice that we end.
	defer func() { _ = procRequest(fd, procIgnore) }()
	stop := context.AfterFunc(ctx, func() { _ = sock.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	return (&execs{sock: sock, first: first, see: see}).read(ctx)
}

func deaf(err error) error {
	return fmt.Errorf("listening to the kernel's process events: it takes CAP_NET_ADMIN in the machine's own namespaces: %w: %w", targets.ErrUnsupported, err)
}

func procRequest(fd int, what uint32) error {
	le := binary.LittleEndian
	msg := make([]byte, nlHeader+cnHeader+4)
	le.PutUint32(msg, uint32(len(msg)))
	le.PutUint16(msg[4:], unix.NLMSG_DONE)
	le.PutUint32(msg[nlHeader:], cnIdxProc)
	le.PutUint32(msg[nlHeader+4:], cnValProc)
	le.PutUint16(msg[nlHeader+16:], 4)
	le.PutUint32(msg[nlHeader+cnHeader:], what)
	return unix.Sendto(fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
}

// An execs reads events.
type execs struct {
	sock  *os.File
	first func()
	see   func(pid int)
	heard bool
}

func (e *execs) read(ctx context.Context) error {
	// If the kernel does not even answer, it tells us nothing.
	if err := e.sock.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	buf := make([]byte, 8<<10)
	for {
		n, err := e.sock.Read(buf)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, unix.ENOBUFS):
			e.see(0)
			continue
		case errors.Is(err, os.ErrDeadlineExceeded):
			return deaf(errors.New("the kernel does not answer"))
		case err != nil:
			return fmt.Errorf("listening to the kernel's process events: %w", err)
		}
		if err := e.event(ctx, buf[:n]); err != nil {
			return err
		}
	}
}

func (e *execs) event(ctx context.Context, b []byte) error {
	le := binary.LittleEndian
	if len(b) < nlHeader+cnHeader+procHeader+8 {
		return nil
	}
	b = b[nlHeader+cnHeader:]
	switch what := le.Uint32(b); {
	case what == procEventNone && !e.heard:
		if errno := unix.Errno(le.Uint32(b[procHeader:])); errno != 0 {
			return deaf(errno)
		}
		e.heard = true
		if err := e.sock.SetReadDeadline(time.Time{}); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err() // the deadline that its end set was just taken away
		}
		e.first()
	case what == procEventExec && e.heard:
		e.see(int(le.Uint32(b[procHeader+4:]))) // process_tgid
	}
	return nil
}
