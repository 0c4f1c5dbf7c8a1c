package netem

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/internal/nft"
	"github.com/dapple-drills/dapple/internal/peers"
)

// queueEngine is the engine user: a table of our own hands packets to this process
// (NFQUEUE), which sends them on when their time has come. Without the process,
// the kernel lets packets pass as if the table were not there.
type queueEngine struct{}

// Able has a packet go through a queue in a namespace of its own.
func (queueEngine) Able(context.Context, peers.Site, state) error {
	_, err := nft.TryQueue()
	return peers.Permission(err)
}

// A queued is a fault that this process holds: the table belongs to the socket
// conn. It is looked at through another one, eye: a socket that is closed soon
// after a change waits for the readers of the whole kernel.
type queued struct {
	s         state
	path      string
	conn, eye *nft.Conn
	pump      *pump

	// deadman kills this process some time after the lease: the packets that wait
	// for a process that hangs are released by its death alone, and until then the
	// connections that they belong to stand still.
	mu      sync.Mutex
	deadman *kernel.Deadman // nil once it is over
}

// grace is how much longer than its lease a fault may be held by a process that
// hangs. One that is only slow has lost its fault by then, and its trial.
const grace = 2 * time.Second

// Raise opens the queues first: what the table hands on finds them.
func (queueEngine) Raise(ctx context.Context, at peers.Site, s state, lease time.Duration) (_ hold, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	h := &queued{s: s, path: at.Path}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.close()) // nothing that is half done is left
		}
	}()
	if h.deadman, err = kernel.NewDeadman(); err != nil {
		return nil, err
	}
	if err := h.deadman.Set(lease + grace); err != nil {
		return nil, err
	}
	if h.pump, err = startPump(at, s); err != nil {
		return nil, err
	}
	if h.eye, err = nft.Dial(at.Path); err != nil {
		return nil, err
	}
	if h.conn, err = nft.Dial(at.Path); err != nil {
		return nil, err
	}
	return h, h.raise(lease)
}

// raise makes the table, at once and as a whole. Which kind of rule hands packets
// over depends on how the kernel was built.
func (h *queued) raise(lease time.Duration) (err error) {
	for _, byTarget := range []bool{false, true} {
		b := &nft.Batch{}
		writer{b, h.s, h.s.table(), byTarget}.write(lease)
		if err = h.conn.Commit(b); !errors.Is(err, unix.ENOENT) {
			break
		}
	}
	return err
}

// Renew takes the lease out and puts it in again, in one transaction: adding it
// once more would not set its time anew, and no packet passes in between.
func (h *queued) Renew(lease time.Duration) error {
	if err := h.putOff(lease); err != nil {
		return err
	}
	b := &nft.Batch{}
	b.DeleteElements(h.s.table(), leaseSet(), []nft.Element{{Key: leaseKey()}})
	b.AddElements(h.s.table(), leaseSet(), []nft.Element{{Key: leaseKey(), Timeout: lease}})
	err := h.conn.Commit(b)
	if errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("the lease had ended before it was renewed, packets passed: %w", err)
	}
	return err
}

// putOff sets the deadline of this process anew, unless all is over.
func (h *queued) putOff(lease time.Duration) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.deadman == nil {
		return nil
	}
	return h.deadman.Set(lease + grace)
}

// live ends the deadline of this process: nothing waits for it any more.
func (h *queued) live() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.deadman == nil {
		return nil
	}
	d := h.deadman
	h.deadman = nil
	return d.Close()
}

// Look reads the table and the kernel's list of queues.
func (h *queued) Look() (sight, error) { return look(h.eye, h.path, h.s) }

// Remove ends the lease, so that packets pass; sends on at once what still waits, so
// that nothing is lost by it; and only then removes the table: with a chain, the
// kernel drops what waits in queues.
func (h *queued) Remove() error {
	b := &nft.Batch{}
	b.DeleteElements(h.s.table(), leaseSet(), []nft.Element{{Key: leaseKey()}})
	err := there(h.conn.Commit(b))
	err = errors.Join(err, h.pump.stop())
	b = &nft.Batch{}
	b.DeleteTable(h.s.table())
	if removed := there(h.conn.Commit(b)); removed != nil {
		// Whatever keeps it from being removed so: with the socket it is gone.
		err = errors.Join(err, removed, h.conn.Close())
	}
	return errors.Join(err, h.live())
}

// there leaves out that what is to be removed is gone already.
func there(err error) error {
	if errors.Is(err, unix.ENOENT) || nft.Closed(err) {
		return nil
	}
	return err
}

// Close closes the sockets. Nothing depends on when: what they held is gone.
func (h *queued) Close() { go func() { _ = h.close() }() }

func (h *queued) close() (err error) {
	if h.pump != nil {
		err = h.pump.stop()
	}
	err = errors.Join(err, h.live())
	for _, c := range []*nft.Conn{h.conn, h.eye} {
		if c != nil {
			err = errors.Join(err, c.Close())
		}
	}
	return err
}

// Look reads the table through a socket of its own.
func (queueEngine) Look(_ context.Context, at peers.Site, s state) (v sight, err error) {
	conn, err := nft.Dial(at.Path)
	if err != nil {
		return v, peers.Permission(err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	return look(conn, at.Path, s)
}

// look finds nothing where the table goes while it looks.
func look(conn *nft.Conn, path string, s state) (sight, error) {
	v, err := read(conn, path, s)
	if errors.Is(err, unix.ENOENT) {
		return sight{}, nil
	}
	return v, err
}

func read(conn *nft.Conn, path string, s state) (v sight, err error) {
	list, err := conn.Tables()
	if err != nil || !slices.ContainsFunc(list, func(x nft.TableSeen) bool { return x.Table == s.table() }) {
		return v, err
	}
	v = sight{There: true, Met: map[Direction]uint64{}, Events: map[event]uint64{}}
	leases, err := conn.Elements(s.table(), leaseSet().Name)
	if err != nil {
		return v, err
	}
	for _, e := range leases {
		v.Lease = max(v.Lease, e.Expires)
	}
	rules, err := conn.Rules(s.table())
	if err != nil {
		return v, err
	}
	for _, way := range s.ways() {
		for i, e := range events {
			at := slices.IndexFunc(rules, func(r nft.RuleSeen) bool { return r.Comment == counted(way, e) })
			switch {
			case at < 0:
				v.Missing = append(v.Missing, fmt.Sprintf("the rule %q", counted(way, e)))
			case i == 0:
				v.Met[way] = rules[at].Packets
			default:
				v.Events[e] += rules[at].Packets
			}
		}
	}
	return v, v.queues(path, s)
}

// queues finds the reader of each queue in the kernel's list, and whether packets
// went past it because it was full. The kernel numbers the packets that it hands
// out; it numbers the pieces of a packet by themselves, so that there may be more
// of them, never fewer.
func (v *sight) queues(path string, s state) error {
	taken, err := readQueues(path)
	if err != nil {
		return err
	}
	for _, way := range s.ways() {
		n, has := taken[s.queue(way)]
		switch {
		case !has:
			v.Missing = append(v.Missing, fmt.Sprintf("a reader of queue %d: packets pass", s.queue(way)))
		case n < v.Met[way]:
			v.Missing = append(v.Missing, fmt.Sprintf("%d packets (%s), which found the queue full and passed: there are more than this machine can hold back", v.Met[way]-n, way))
		}
	}
	return nil
}

// readQueues is how many packets each queue of the namespace has handed out
// (net/netfilter/nfnetlink_queue.c, seq_show).
func readQueues(path string) (map[uint16]uint64, error) {
	var text []byte
	err := kernel.InNetNS(path, func() error {
		f, err := os.Open("/proc/thread-self/net/netfilter/nfnetlink_queue")
		if err != nil {
			return err
		}
		text, err = io.ReadAll(f)
		return errors.Join(err, f.Close())
	})
	if err != nil {
		return nil, fmt.Errorf("reading the kernel's list of queues: %w", err)
	}
	list := map[uint16]uint64{}
	for lines := bufio.NewScanner(strings.NewReader(string(text))); lines.Scan(); {
		var number uint16
		var owner, waiting, mode, length, dropped, undelivered, taken uint64
		if _, err := fmt.Sscan(lines.Text(), &number, &owner, &waiting, &mode, &length, &dropped, &undelivered, &taken); err != nil {
			return nil, fmt.Errorf("reading the kernel's list of queues: %q: %w", lines.Text(), err)
		}
		list[number] = taken
	}
	return list, nil
}

// Raze removes a table that nobody holds. The kernel lets nobody but the owner
// remove one.
func (queueEngine) Raze(ctx context.Context, at peers.Site, s state) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	conn, err := nft.Dial(at.Path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	list, err := conn.Tables()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(list, func(x nft.TableSeen) bool { return x.Table == s.table() })
	if i < 0 {
		return nil
	}
	b := &nft.Batch{}
	b.DeleteTable(s.table())
	err = conn.Commit(b)
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("table inet %s belongs to a living process (netlink socket %d), with which it ends: end the agent of that drill (dapple revert --all): %w", s.Name, list[i].Owner, err)
	}
	return err
}
