package nft

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/internal/kernel"
)

// A Queue takes packets that a rule hands to it out of the kernel, until a verdict
// on each is given. When its socket closes, however its process ends, rules with
// Hand let packets pass as if they were not there; what waits in it then is
// dropped. Its methods are for one goroutine.
type Queue struct {
	fd  int
	buf []byte
	out []byte // verdicts that were not sent so far
}

// QueueConfig says how packets are taken.
type QueueConfig struct {
	Number uint16
	Length uint32 // how many packets may wait for their verdict; those beyond pass
	Copy   uint32 // how much of each packet is handed out, from its IP header on
	// Whole leaves packets that are to be cut up later (GSO, up to 64 KiB) as they
	// are; else each piece is handed out by itself, with its checksums.
	Whole bool
}

// The messages, attributes and flags of linux/netfilter/nfnetlink_queue.h, by the
// kernel's names: NFQNL_MSG_…, NFQA_…, NFQA_CFG_….
const (
	msgPacket, msgVerdict, msgConfig = 0, 1, 2

	qaHeader, qaVerdict, qaOut, qaPayload, qaLength, qaPriority = 1, 2, 6, 10, 13, 21

	cfgCommand, cfgParams, cfgLength, cfgMask, cfgFlags = 1, 2, 3, 4, 5

	commandBind, copyPacket = 1, 2
	failOpen, wholeGSO      = 1, 4
)

// OpenQueue makes a queue inside the network namespace that path names.
func OpenQueue(path string, configs ...QueueConfig) (*Queue, error) {
	q := &Queue{fd: -1, buf: make([]byte, 128<<10)}
	err := kernel.InNetNS(path, func() (err error) {
		q.fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
		return err
	})
	if err == nil {
		err = unix.Bind(q.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	}
	if err == nil {
		err = q.widen()
	}
	for _, c := range configs {
		if err == nil {
			err = q.configure(c)
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("making a packet queue: %w", err), q.Close())
	}
	return q, nil
}

// backlog is how many bytes of packets the socket holds for us while we are not
// scheduled: some 20,000 small packets, with what the kernel keeps beside each.
const backlog = 48 << 20

func (q *Queue) widen() error {
	// Beyond net.core.rmem_max takes a capability in the first user namespace;
	// without it the usual size has to do.
	if unix.SetsockoptInt(q.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, backlog) == nil {
		return nil
	}
	return unix.SetsockoptInt(q.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, backlog)
}

// configure takes the number, which fails with EBUSY if another socket has it.
func (q *Queue) configure(c QueueConfig) error {
	flags := uint32(failOpen)
	if c.Whole {
		flags |= wholeGSO
	}
	steps := [][]attr{
		{raw(cfgCommand, []byte{commandBind, 0, 0, 0})},
		{raw(cfgParams, append(binary.BigEndian.AppendUint32(nil, c.Copy), copyPacket)), num32(cfgLength, c.Length)},
		{num32(cfgMask, failOpen|wholeGSO), num32(cfgFlags, flags)},
	}
	for _, attrs := range steps {
		m := queueMessage(msgConfig, unix.NLM_F_ACK, c.Number, attrs...)
		if err := unix.Sendto(q.fd, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return fmt.Errorf("queue %d: %w", c.Number, err)
		}
		if err := q.acknowledged(); err != nil {
			return fmt.Errorf("queue %d: %w", c.Number, err)
		}
	}
	return nil
}

// acknowledged reads the answer, which is there once the request returns. No rule
// hands packets to the queue yet.
func (q *Queue) acknowledged() error {
	n, _, err := unix.Recvfrom(q.fd, q.buf, unix.MSG_DONTWAIT)
	if err != nil {
		return err
	}
	return eachMessage(q.buf[:n], func(kind uint16, _ uint32, body []byte) error {
		if kind != unix.NLMSG_ERROR || len(body) < 4 {
			return nil
		}
		if errno := unix.Errno(-int32(binary.NativeEndian.Uint32(body))); errno != 0 {
			return errno
		}
		return nil
	})
}

func queueMessage(kind, flags, number uint16, attrs ...attr) []byte {
	b := encode("", unix.NFNL_SUBSYS_QUEUE<<8|kind, flags, unix.AF_UNSPEC, attrs...).bytes
	binary.BigEndian.PutUint16(b[headSize+2:], number) // struct nfgenmsg, res_id
	return b
}

// FD is readable while packets are there.
func (q *Queue) FD() int { return q.fd }

// Close lets go of the queue.
func (q *Queue) Close() error {
	if q.fd < 0 {
		return nil
	}
	fd := q.fd
	q.fd = -1
	return unix.Close(fd)
}

// A Packet is one that was taken.
type Packet struct {
	Queue uint16
	ID    uint32
	Data  []byte // from the IP header on; overwritten by the next Take
	Size  int    // of the whole packet
	Out   int    // the index of the device by which it is to leave, if it is known
}

// Take visits the packets that are there, some at most. It does not wait.
func (q *Queue) Take(most int, visit func(Packet)) error {
	for range most {
		n, _, err := unix.Recvfrom(q.fd, q.buf, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ENOBUFS):
			continue // ENOBUFS: packets found the socket full, and passed
		case err != nil:
			return fmt.Errorf("taking packets: %w", err)
		}
		err = eachMessage(q.buf[:n], func(kind uint16, _ uint32, body []byte) error {
			if kind != unix.NFNL_SUBSYS_QUEUE<<8|msgPacket || len(body) < nfgenSize {
				return nil // the answer to a verdict on a packet that is gone
			}
			p, err := parsePacket(body)
			if err == nil {
				visit(p)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func parsePacket(body []byte) (Packet, error) {
	p := Packet{Queue: binary.BigEndian.Uint16(body[2:])}
	err := eachAttr(body[nfgenSize:], func(kind uint16, v []byte) error {
		switch kind {
		case qaHeader:
			if len(v) < 4 {
				return errShort
			}
			p.ID = binary.BigEndian.Uint32(v)
		case qaPayload:
			p.Data = v
		case qaLength:
			p.Size = int(value(v))
		case qaOut:
			p.Out = int(value(v))
		}
		return nil
	})
	p.Size = max(p.Size, len(p.Data))
	return p, err
}

// Pass lets the packet go on its way.
func (q *Queue) Pass(number uint16, id uint32) { q.verdict(number, id, uint32(accept)) }

// Drop takes the packet away; whoever sent it is not told.
func (q *Queue) Drop(number uint16, id uint32) { q.verdict(number, id, uint32(drop)) }

// Again has the packet meet the chain once more from its beginning, with that
// priority (Linux 5.18), by which a rule may know it: see Tagged. data, if there
// is any, replaces it.
func (q *Queue) Again(number uint16, id, priority uint32, data []byte) {
	const repeat = 4 // NF_REPEAT, linux/netfilter.h
	attrs := []attr{num32(qaPriority, priority)}
	if data != nil {
		attrs = append(attrs, raw(qaPayload, data))
	}
	q.verdict(number, id, repeat, attrs...)
}

func (q *Queue) verdict(number uint16, id, what uint32, more ...attr) {
	head := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, what), id)
	q.out = append(q.out, queueMessage(msgVerdict, 0, number, append([]attr{raw(qaVerdict, head)}, more...)...)...)
}

// Flush tells the kernel the verdicts.
func (q *Queue) Flush() error {
	if len(q.out) == 0 {
		return nil
	}
	err := unix.Sendto(q.fd, q.out, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	q.out = q.out[:0]
	if err != nil {
		return fmt.Errorf("giving verdicts on packets: %w", err)
	}
	return nil
}

// Due says that many verdicts wait for Flush: a datagram has its bounds.
func (q *Queue) Due() bool { return len(q.out) > 64<<10 }
