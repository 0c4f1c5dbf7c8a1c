package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/internal/kernel"
)

// The headers of a message: struct nlmsghdr and struct nfgenmsg.
const (
	headSize  = unix.SizeofNlMsghdr
	nfgenSize = 4
)

// Own is the path of the network namespace of the calling thread.
const Own = "/proc/thread-self/ns/net"

// A Conn is a netlink socket inside one network namespace. The tables that are
// made through it with Owned set belong to it: the kernel removes them when the
// last descriptor of the socket closes. Its methods may be called from many
// goroutines.
type Conn struct {
	mu   sync.Mutex
	fd   int
	port uint32
	seq  uint32
}

// Dial makes a socket inside the network namespace that path names. It takes
// CAP_NET_ADMIN in the user namespace which owns that namespace, and what
// setns(2) asks for.
func Dial(path string) (*Conn, error) {
	c := &Conn{fd: -1}
	err := kernel.InNetNS(path, func() error {
		var err error
		c.fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("making an nf_tables socket: %w", err)
	}
	if err := c.bind(); err != nil {
		return nil, errors.Join(fmt.Errorf("making an nf_tables socket: %w", err), c.Close())
	}
	return c, nil
}

// buffer is how much the socket holds for us: the answers to one transaction.
const buffer = 4 << 20

func (c *Conn) bind() error {
	if err := unix.Bind(c.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	for force, plain := range map[int]int{unix.SO_SNDBUFFORCE: unix.SO_SNDBUF, unix.SO_RCVBUFFORCE: unix.SO_RCVBUF} {
		// Beyond net.core.[rw]mem_max takes a capability in the first user
		// namespace; without it the usual size has to do.
		if unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, force, buffer) == nil {
			continue
		}
		if err := unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, plain, buffer); err != nil {
			return err
		}
	}
	sa, err := unix.Getsockname(c.fd)
	if err != nil {
		return err
	}
	nl, ok := sa.(*unix.SockaddrNetlink)
	if !ok {
		return fmt.Errorf("the socket has an address of type %T", sa)
	}
	c.port = nl.Pid
	return nil
}

// Port is by what the kernel knows the socket in its namespace: the owner of a
// table (Table.Owner in a look).
func (c *Conn) Port() uint32 { return c.port }

// Close removes the tables that the socket owns. It is harmless to call twice.
// The packets pass at once; the call itself waits for the kernel's readers, some
// 10 ms, if there was a table left.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return nil
	}
	fd := c.fd
	c.fd = -1
	return unix.Close(fd)
}

// A message is one request without its sequence number.
type message struct {
	what  string // for errors
	bytes []byte
}

func encode(what string, kind, flags uint16, family byte, attrs ...attr) message {
	b := make([]byte, headSize+nfgenSize)
	for _, a := range attrs {
		b = append(b, a...)
	}
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], kind)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST|flags)
	b[headSize] = family
	return message{what, b}
}

func tableKind(kind uint16) uint16 { return unix.NFNL_SUBSYS_NFTABLES<<8 | kind }

// bracket begins or ends a transaction (struct nfgenmsg, res_id).
func bracket(kind uint16) message {
	m := encode("transaction", kind, 0, unix.AF_UNSPEC)
	binary.BigEndian.PutUint16(m.bytes[headSize+2:], unix.NFNL_SUBSYS_NFTABLES)
	return m
}

var errClosed = errors.New("the nf_tables socket is closed")

// send numbers the messages one by one and gives all to the kernel in one call.
// It returns the number of the first.
func (c *Conn) send(messages []message) (first uint32, err error) {
	if c.fd < 0 {
		return 0, errClosed
	}
	first = c.seq + 1
	var all []byte
	for _, m := range messages {
		c.seq++
		binary.NativeEndian.PutUint32(m.bytes[8:], c.seq)
		binary.NativeEndian.PutUint32(m.bytes[12:], c.port)
		all = append(all, m.bytes...)
	}
	return first, unix.Sendto(c.fd, all, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
}

// Commit makes all changes of the batch, or none. The kernel works it off within
// the call.
func (c *Conn) Commit(b *Batch) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if b.err != nil {
		return b.err
	}
	all := append([]message{bracket(unix.NFNL_MSG_BATCH_BEGIN)}, b.messages...)
	first, err := c.send(append(all, bracket(unix.NFNL_MSG_BATCH_END)))
	if err != nil {
		return fmt.Errorf("nf_tables transaction: %w", err)
	}
	var failed error
	for answered := 0; answered < len(b.messages); {
		err := c.receive(func(kind uint16, seq uint32, body []byte) error {
			if kind != unix.NLMSG_ERROR || len(body) < 4 || seq-first > uint32(len(all)) {
				return nil
			}
			answered++
			errno := unix.Errno(-int32(binary.NativeEndian.Uint32(body)))
			if errno != 0 && failed == nil {
				failed = fmt.Errorf("nf_tables transaction: %s: %w", all[seq-first].what, errno)
			}
			if seq == first {
				answered = len(b.messages) // refused as a whole: nothing else is answered
			}
			return nil
		})
		if err != nil {
			return errors.Join(failed, fmt.Errorf("nf_tables transaction: %w", err))
		}
	}
	return failed
}

// receive reads one datagram and visits its messages. The kernel answers before
// the request returns, so there is nothing to wait for.
func (c *Conn) receive(visit func(kind uint16, seq uint32, body []byte) error) error {
	buf := answers.Get().(*[answer]byte)
	defer answers.Put(buf)
	n, _, err := unix.Recvfrom(c.fd, buf[:], unix.MSG_DONTWAIT)
	if err != nil {
		return fmt.Errorf("reading the kernel's answer: %w", err)
	}
	return eachMessage(buf[:n], visit)
}

// answer is room for one: the kernel's dumps come in pieces of at most 32 KiB.
const answer = 64 << 10

// answers are shared by all sockets: an agent that holds a hundred faults has two
// hundred of those, and reads from few at once.
var answers = sync.Pool{New: func() any { return new([answer]byte) }}

func eachMessage(data []byte, visit func(kind uint16, seq uint32, body []byte) error) error {
	for len(data) >= headSize {
		n := int(binary.NativeEndian.Uint32(data))
		if n < headSize || n > len(data) {
			return fmt.Errorf("a netlink message says that it has %d bytes, there are %d", n, len(data))
		}
		err := visit(binary.NativeEndian.Uint16(data[4:]), binary.NativeEndian.Uint32(data[8:]), data[headSize:n])
		if err != nil {
			return err
		}
		data = data[min(pad(n), len(data)):]
	}
	return nil
}

// dump asks for a list and visits the attributes of each entry.
func (c *Conn) dump(m message, visit func(family byte, attrs []byte) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	seq, err := c.send([]message{m})
	if err != nil {
		return fmt.Errorf("listing %s: %w", m.what, err)
	}
	for done := false; !done; {
		err := c.receive(func(kind uint16, n uint32, body []byte) error {
			switch {
			case n != seq:
				return nil
			case kind == unix.NLMSG_DONE:
				done = true
				return nil
			case kind == unix.NLMSG_ERROR && len(body) >= 4:
				done = true
				if errno := unix.Errno(-int32(binary.NativeEndian.Uint32(body))); errno != 0 {
					return errno
				}
				return nil
			case len(body) < nfgenSize:
				return errShort
			}
			return visit(body[0], body[nfgenSize:])
		})
		if err != nil {
			return fmt.Errorf("listing %s: %w", m.what, err)
		}
	}
	return nil
}

// Closed says that the error is of a socket that was closed before, by us.
func Closed(err error) bool { return errors.Is(err, errClosed) }
