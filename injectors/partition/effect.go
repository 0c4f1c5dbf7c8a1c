package partition

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/internal/peers"
	"github.com/dapple-drills/dapple/targets"
)

// A shot is a packet of ours that the wall is to stop.
type shot struct {
	from  string // the network namespace that it is sent from; "" for the node's own
	ns    kernel.NetNS
	to    netip.AddrPort
	proto Proto
	peer  string    // the node that it is sent as; "" if it is none
	way   direction // else
	// leaves says that it is to be stopped as it leaves the node.
	leaves bool

	sent     bool  // it left
	err      error // why not
	answered bool  // by the node: it was not stopped
}

const (
	// discard is where a packet of ours goes if any port is meant (RFC 863): next
	// to nobody listens there.
	discard = 9
	// nobody is an address that no machine has (RFC 5737, RFC 3849).
	nobody4 = "192.0.2.1"
	nobody6 = "2001:db8::1"
	// From up to mostPeers peers packets are sent at every look; of more, from
	// sample of them, always the same: two machines that talk keep each other's
	// addresses, and the kernel has room for a thousand (neigh gc_thresh3). Of the
	// others it is seen that their addresses are in the same set of the kernel.
	mostPeers = 4
	sample    = 2
	// arrival is how long a look waits for the packets that it had sent. They are
	// stopped in microseconds on one machine; the next look sees later ones.
	arrival = 4 * time.Millisecond
)

// Effect looks what stands in the node's namespace, has packets sent against it,
// and looks again whether they were dropped there.
func (c *cutter) Effect(ctx context.Context, n targets.Node, s state) (held bool, proof string, err error) {
	at, err := c.stand(ctx, n, s)
	if errors.Is(err, peers.ErrMoved) {
		return false, err.Error(), nil
	}
	if err != nil {
		return false, "", err
	}
	before, err := c.look(ctx, at, s)
	if err != nil {
		return false, "", err
	}
	if why := before.lacks(s); why != "" {
		return false, why, nil
	}
	shots := s.shots(at)
	if err := c.ground.Fire(ctx, at, s, shots); err != nil {
		return false, "", err
	}
	for begin := time.Now(); ; {
		after, err := c.look(ctx, at, s)
		if err != nil {
			return false, "", err
		}
		if why := after.lacks(s); why != "" {
			return false, why, nil
		}
		open, seen := s.judge(shots, before, after)
		if len(open) == 0 {
			return true, fmt.Sprintf("table %s: %s", s.Table, strings.Join(seen, ", ")), nil
		}
		if time.Since(begin) > arrival {
			return false, strings.Join(open, "; "), nil
		}
		if err := wait(ctx, 100*time.Microsecond); err != nil {
			return false, "", err
		}
	}
}

// lacks says what is not there that should be, or "".
func (v sight) lacks(s state) string {
	switch {
	case !v.There:
		return fmt.Sprintf("there is no table %s", s.Table)
	case v.Lease <= 0:
		return fmt.Sprintf("table %s is there, but its lease is over: it stops nothing", s.Table)
	case len(v.Missing) > 0:
		return fmt.Sprintf("table %s lacks %s", s.Table, strings.Join(v.Missing, ", "))
	}
	return ""
}

// shots are the packets by which the wall is tried.
func (s state) shots(at peers.Site) (list []shot) {
	port := uint16(discard)
	if len(s.Ports) > 0 {
		port, _, _ = s.Ports[0].Bounds() // was read before
	}
	proto := s.Proto
	if proto == anyProto {
		proto = udp
		if s.What == onlyNew {
			proto = tcp
		}
	}
	add := func(x shot, to netip.Addr) {
		x.to, x.proto = netip.AddrPortFrom(to, port), proto
		list = append(list, x)
	}
	asked := len(s.From)
	if asked > mostPeers {
		asked = sample
	}
	for i := range asked {
		p := s.From[(int(s.NS.Inode%uint64(len(s.From)))+i)%len(s.From)]
		if p.Path != "" {
			for _, to := range peers.Meeting(s.Mine, p.Addrs) {
				add(shot{from: p.Path, ns: p.NS, peer: p.Name}, to)
			}
		}
	}
	for _, net := range s.ToNets {
		add(shot{way: toNet(net), leaves: true}, inside(net))
	}
	for _, net := range s.FromNets {
		if !slices.Contains(s.ToNets, net) {
			// Its answer is what must not arrive.
			add(shot{way: fromNet(net)}, inside(net))
		}
	}
	if s.ToClients {
		for _, to := range []string{nobody4, nobody6} {
			add(shot{way: toClients, leaves: true}, netip.MustParseAddr(to))
		}
	}
	if s.FromClients {
		for _, to := range peers.Meeting(s.Mine, s.Mine) {
			add(shot{from: ownNamespace, way: fromClients}, to)
		}
	}
	if s.DNS {
		list = append(list, shot{way: toDNS, to: netip.MustParseAddrPort("127.0.0.11:53"), proto: udp})
	}
	return list
}

// inside is an address of the network.
func inside(p netip.Prefix) netip.Addr {
	if p.IsSingleIP() {
		return p.Addr()
	}
	return p.Addr().Next() // the first is the network's own name in IPv4
}

// judge says of what it is still open that it is cut, and what was seen to be.
func (s state) judge(shots []shot, before, after sight) (open, seen []string) {
	j := verdictOf{s: s, shots: shots, before: before, after: after}
	for _, p := range s.From {
		j.fromPeer(p)
	}
	for _, net := range s.ToNets {
		j.byRule(toNet(net), "")
	}
	for _, net := range s.FromNets {
		instead := direction("")
		if slices.Contains(s.ToNets, net) {
			instead = toNet(net) // nothing leaves that it could answer
		}
		j.byRule(fromNet(net), instead)
	}
	if s.ToClients {
		j.byRule(toClients, "")
	}
	if s.FromClients {
		instead := direction("")
		if s.ToClients {
			instead = toClients
		}
		j.byRule(fromClients, instead)
	}
	if s.DNS {
		j.byRule(toDNS, "")
	}
	return j.open, j.seen
}

// verdictOf gathers what one look proves.
type verdictOf struct {
	s             state
	shots         []shot
	before, after sight
	open, seen    []string
}

// fromPeer wants a packet of ours from the peer to have been dropped since the
// look before. If none could be sent (the peer is down, or on another machine),
// its own dropped packets count.
func (j *verdictOf) fromPeer(p peer) {
	total, news := j.packets(p)
	fired, answered, why := false, false, "it is not on this machine"
	asked := false
	for _, x := range j.shots {
		if x.peer == p.Name {
			asked, fired, answered = true, fired || x.sent, answered || x.answered
			if x.err != nil {
				why = x.err.Error()
			}
		}
	}
	switch {
	case answered && j.s.Action != reject:
		j.open = append(j.open, fmt.Sprintf("a packet of ours from %s was answered: it is not cut", p.Name))
	case fired && news > 0, !fired && total > 0:
		j.seen = append(j.seen, fmt.Sprintf("%d packets from %s (%s) dropped", total, p.Name, peers.Join(p.Addrs)))
	case !asked && p.Path != "":
		j.seen = append(j.seen, fmt.Sprintf("%s (%s) in the same set", p.Name, peers.Join(p.Addrs)))
	case fired:
		j.open = append(j.open, fmt.Sprintf("a packet of ours from %s was sent and not seen to be dropped", p.Name))
	default:
		j.open = append(j.open, fmt.Sprintf("no packet from %s was dropped so far, and none of ours can be sent from there: %s", p.Name, why))
	}
}

// packets are those of the peer that were dropped, all and since the look before.
func (j *verdictOf) packets(p peer) (total, news uint64) {
	for _, a := range p.Addrs {
		total += j.after.Packets[a]
		news += j.after.Packets[a] - j.before.Packets[a]
	}
	return total, news
}

// byRule wants a rule to have dropped a packet. Where none can be provoked, the
// proof of the other direction stands for it.
func (j *verdictOf) byRule(d, instead direction) {
	total := j.after.Nets[d]
	news := total - j.before.Nets[d]
	fired, why := false, "nobody here can be one"
	for _, x := range j.shots {
		if x.way == d {
			fired = fired || x.sent
			if x.err != nil {
				why = x.err.Error()
			}
		}
	}
	switch {
	case news > 0, total > 0 && !fired, total > 0 && j.s.hearsay(d):
		j.seen = append(j.seen, fmt.Sprintf("%d packets %s dropped", total, d))
	case instead != "" && j.after.Nets[instead] > 0:
		j.seen = append(j.seen, fmt.Sprintf("none %s so far", d))
	case fired:
		j.open = append(j.open, fmt.Sprintf("a packet of ours %s was sent and none seen to be dropped", d))
	default:
		j.open = append(j.open, fmt.Sprintf("no packet %s was dropped so far, and none of ours can be sent: %s", d, why))
	}
}

// hearsay says that the proof of the direction rests on a stranger's answer, who
// may be slow or silent: one that was seen is enough.
func (s state) hearsay(d direction) bool {
	return slices.ContainsFunc(s.FromNets, func(p netip.Prefix) bool { return fromNet(p) == d })
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ownNamespace stands for the network namespace of this process: whatever is
// sent from there is no node's.
const ownNamespace = "own"
