package netem

import (
	"errors"
	"fmt"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/internal/nft"
	"github.com/dapple-drills/dapple/internal/peers"
)

// A pump takes packets out of the queues, keeps them until their time has come,
// and sends them on. It is one goroutine on a thread of its own.
//
// What leaves the node is taken out of the kernel as a whole and sent by a socket
// of ours when it is due: a packet that waits within the kernel still counts as not
// sent, and TCP sends no more than a few of these at a time (tcp_small_queue_check),
// so that a long delay would make a slow link. What arrives belongs to no sender any
// more and waits in the kernel.
type pump struct {
	s     state
	q     *nft.Queue
	out   *sender
	lanes map[uint16]*lane // by queue
	wake  int              // an eventfd: it is to end

	ended chan struct{}
	err   error // why it ended by itself; to be read once it has
	once  sync.Once
}

// A lane is one direction.
type lane struct {
	way  Direction
	fate *fate
	wait []waiting // in the order in which they leave
	head int       // the first that still waits
}

// A waiting is a packet whose time has not come.
type waiting struct {
	at      int64
	id      uint32
	event   event
	twice   bool
	data    []byte // what is sent instead of the packet of that id
	stolen  bool   // there is no packet of that id any more
	through int    // the device
}

// startPump opens the queues.
func startPump(at peers.Site, s state) (*pump, error) {
	p := &pump{s: s, lanes: map[uint16]*lane{}, wake: -1, ended: make(chan struct{})}
	var configs []nft.QueueConfig
	for _, way := range s.ways() {
		p.lanes[s.queue(way)] = &lane{way: way, fate: newFate(s.Harm)}
		configs = append(configs, s.Harm.config(s.queue(way), way))
	}
	var err error
	if p.out, err = newSender(at, s); err != nil {
		return nil, err
	}
	if p.q, err = nft.OpenQueue(at.Path, configs...); err != nil {
		return nil, errors.Join(err, p.out.close())
	}
	if p.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, errors.Join(fmt.Errorf("making an eventfd: %w", err), p.out.close(), p.q.Close())
	}
	go p.run()
	return p, nil
}

// config asks for as much of each packet as is needed.
func (m impairment) config(number uint16, way Direction) nft.QueueConfig {
	c := nft.QueueConfig{Number: number, Length: uint32(m.Limit) + 2*fewest, Copy: 64}
	if m.Duplicate > 0 || m.Corrupt > 0 || way == egress {
		c.Copy = 0xffff
	}
	// A packet that is cut up later is one for a delay, and many for all else.
	c.Whole = way == ingress && m.loses() == 0 && m.Duplicate+m.Corrupt+m.Reorder == 0 && m.Rate == 0
	return c
}

// stop has what waits sent on at once, and waits for that. It is harmless to call
// twice.
func (p *pump) stop() error {
	p.once.Do(func() {
		one := [8]byte{1}
		_, _ = unix.Write(p.wake, one[:]) // it is full at worst, and then wakes as well
	})
	<-p.ended
	return p.err
}

// burst is how many packets are taken before those that are due are sent on.
const burst = 64

func (p *pump) run() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.ended)
	precise()
	for {
		stop, err := p.turn()
		if stop || err != nil {
			p.err = errors.Join(err, p.end())
			return
		}
	}
}

// precise has the kernel wake this thread when it asks to be, not up to 50 µs later.
// Without it, delays are that much longer.
func precise() { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) }

// turn waits for packets, or for the time of one, and does what there is to do.
func (p *pump) turn() (stop bool, err error) {
	fds := []unix.PollFd{{Fd: int32(p.q.FD()), Events: unix.POLLIN}, {Fd: int32(p.wake), Events: unix.POLLIN}}
	var timeout *unix.Timespec
	if due, some := p.due(); some {
		t := unix.NsecToTimespec(max(0, due-monotonic()))
		timeout = &t
	}
	if _, err := unix.Ppoll(fds, timeout, nil); err != nil && !errors.Is(err, unix.EINTR) {
		return false, fmt.Errorf("waiting for packets: %w", err)
	}
	if fds[1].Revents != 0 {
		return true, nil
	}
	if fds[0].Revents != 0 {
		if err := p.q.Take(burst, p.take); err != nil {
			return false, err
		}
	}
	return false, p.send(monotonic())
}

// due is when the next packet leaves.
func (p *pump) due() (at int64, some bool) {
	for _, l := range p.lanes {
		if l.head < len(l.wait) && (!some || l.wait[l.head].at < at) {
			at, some = l.wait[l.head].at, true
		}
	}
	return at, some
}

func monotonic() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // it cannot fail
	return ts.Nano()
}

// take decides on one packet.
func (p *pump) take(k nft.Packet) {
	l := p.lanes[k.Queue]
	if l == nil {
		return
	}
	now := monotonic()
	lot := l.fate.next(now, k.Size, len(l.wait)-l.head)
	w := waiting{at: lot.at, id: k.ID, twice: lot.twice, through: k.Out}
	switch {
	case lot.lost:
		p.q.Again(k.Queue, k.ID, p.s.tag(l.way, lost), nil)
		return
	case lot.full:
		p.q.Again(k.Queue, k.ID, p.s.tag(l.way, overrun), nil)
		return
	case lot.overtook:
		w.event = reordered
	}
	if lot.corrupt && len(k.Data) == k.Size {
		w.event, w.data = corrupted, damaged(k.Data, l.fate)
	}
	if len(k.Data) == k.Size && (w.twice || l.way == egress && w.at > now) && p.out.can(k) {
		if w.data == nil {
			w.data = append([]byte(nil), k.Data...)
		}
		w.stolen = l.way == egress
	} else {
		w.twice = false
	}
	if w.stolen {
		p.q.Drop(k.Queue, k.ID)
	}
	if w.at <= now {
		p.emit(k.Queue, l, w)
		return
	}
	l.wait = append(l.wait, w)
}

// damaged is the packet with one bit turned behind its IP header: the receiver
// notices by the checksum, unless there is none.
func damaged(packet []byte, f *fate) []byte {
	d := append([]byte(nil), packet...)
	from := 40
	if d[0]>>4 == 4 {
		from = int(d[0]&0xf) * 4
	}
	if from < len(d) {
		d[from+f.rnd.IntN(len(d)-from)] ^= 1 << f.rnd.IntN(8)
	}
	return d
}

// send sends on what is due.
func (p *pump) send(now int64) error {
	for number, l := range p.lanes {
		for l.head < len(l.wait) && l.wait[l.head].at <= now {
			p.emit(number, l, l.wait[l.head])
			l.wait[l.head] = waiting{}
			l.head++
		}
		if l.head > 1024 && l.head*2 > len(l.wait) || l.head == len(l.wait) {
			l.wait = append(l.wait[:0], l.wait[l.head:]...)
			l.head = 0
		}
	}
	return p.q.Flush()
}

// emit sends one packet on.
func (p *pump) emit(number uint16, l *lane, w waiting) {
	switch {
	case w.stolen:
		p.out.send(w.data, p.s.tag(l.way, w.event), w.through)
	case w.event == corrupted:
		p.q.Again(number, w.id, p.s.tag(l.way, corrupted), w.data)
	case w.event != "":
		p.q.Again(number, w.id, p.s.tag(l.way, w.event), nil)
	default:
		p.q.Pass(number, w.id)
	}
	if w.twice {
		p.out.send(w.data, p.s.tag(l.way, duplicated), w.through)
	}
	if p.q.Due() {
		if err := p.q.Flush(); err != nil && p.err == nil {
			p.err = err
		}
	}
}

// end sends on at once what still waits, and closes everything.
func (p *pump) end() error {
	const everything = int64(1) << 62
	err := p.q.Take(1<<20, p.take) // what was handed to us before the table was removed
	err = errors.Join(err, p.send(everything))
	return errors.Join(err, p.q.Close(), p.out.close(), unix.Close(p.wake))
}
