package netem

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/internal/peers"
	"github.com/dapple-drills/dapple/targets"
)

const (
	// Trips are made to and from mostPeers peers at most, always the same: what is
	// measured is a load too.
	mostPeers = 2
	// few packets tell a delay. To see something that becomes of one packet in a
	// hundred takes many, and of rarer ones several looks.
	few, many = 5, 100
	// Longer than longest no look waits for a packet: that it is not there yet
	// says enough.
	longest = time.Second
	// slack is what a packet may need besides.
	slack = 250 * time.Millisecond
)

// Effect looks what stands in the node's namespace, has packets travel between the
// node and its peers, and looks again.
func (i *impairer) Effect(ctx context.Context, n targets.Node, s state) (held bool, proof string, err error) {
	at, err := i.stand(ctx, n, s)
	if errors.Is(err, peers.ErrMoved) {
		return false, err.Error(), nil
	}
	if err != nil {
		return false, "", err
	}
	before, err := i.look(ctx, at, s)
	if err != nil {
		return false, "", err
	}
	if why := before.lacks(s); why != "" {
		return false, why, nil
	}
	trips := s.trips(before.Burst)
	if err := i.ground.Travel(ctx, at, s, trips); err != nil {
		return false, "", err
	}
	after, err := i.look(ctx, at, s)
	if err != nil {
		return false, "", err
	}
	if why := after.lacks(s); why != "" {
		return false, why, nil
	}
	open, seen := s.judge(trips, before, after)
	if len(open) > 0 {
		return false, strings.Join(open, "; "), nil
	}
	return true, fmt.Sprintf("engine %s, %s: %s", s.Engine, s.Name, strings.Join(seen, ", ")), nil
}

// lacks says what is not there that should be, or "".
func (v sight) lacks(s state) string {
	switch {
	case !v.There:
		return fmt.Sprintf("there is no %s", s.Name)
	case v.Lease <= 0:
		return fmt.Sprintf("%s is there, but its lease is over: it meets no packet", s.Name)
	case len(v.Missing) > 0:
		return fmt.Sprintf("%s lacks %s", s.Name, strings.Join(v.Missing, ", "))
	}
	return ""
}

// trips are the packets by which it is measured, where so many bytes pass at once.
func (s state) trips(burst int) (list []*trip) {
	measure := s.Harm.volley(burst)
	seen := 0
	for _, p := range s.Peers {
		if p.Path == "" || seen == mostPeers {
			continue
		}
		seen++
		for _, way := range []Direction{egress, ingress} {
			from, to := s.Mine, p.Addrs
			if way == ingress {
				from, to = to, from
			}
			if way == egress && !s.leaves() || way == ingress && !s.arrives() {
				continue
			}
			for _, addr := range peers.Meeting(to, from) {
				t := measure
				t.peer, t.path, t.ns, t.way, t.to = p.Name, p.Path, p.NS, way, addr
				list = append(list, &t)
			}
		}
	}
	return list
}

// volley is how many packets are sent and how big they are: few, many where
// something becomes of some of them only, and as many as the link takes long for
// where its rate is to be seen, besides those that pass at once.
func (m impairment) volley(burst int) trip {
	t := trip{count: few, wait: min(m.Delay+4*m.Jitter+slack, longest)}
	if m.chancy() {
		t.count = many
	}
	if m.Rate > 0 {
		const seen = 20 * time.Millisecond
		t.size = min(max(int(float64(m.Rate)*seen.Seconds()/8/few)-overhead, 0), 1400)
		if burst > 0 { // few large ones see the end of it soonest
			t.size = 1400
		}
		t.count = min(max(t.count, (burst+int(float64(m.Rate)*seen.Seconds()/8))/(t.size+overhead)), 2*many)
		t.wait = longest
	}
	return t
}

// overhead is what a datagram has besides what is in it, on an Ethernet with IPv4.
const overhead = 14 + 20 + 8

// chancy says that something becomes of some packets only.
func (m impairment) chancy() bool {
	for _, e := range []event{lost, duplicated, corrupted, reordered} {
		if c := m.chance(e); c > 0 && c < 1 {
			return true
		}
	}
	return false
}

// chance is that of the event.
func (m impairment) chance(e event) float64 {
	switch e {
	case lost:
		return m.loses()
	case duplicated:
		return float64(m.Duplicate)
	case corrupted:
		return float64(m.Corrupt)
	}
	return float64(m.Reorder)
}

// Patience gives rare events the time to be seen.
func (i *impairer) Patience(s state) time.Duration {
	d := 2 * (s.Harm.Delay + 4*s.Harm.Jitter + slack)
	for _, e := range []event{lost, duplicated, corrupted, reordered} {
		if c := s.Harm.chance(e); c > 0 && c < 0.02 {
			// A look meets a hundred packets or more, and takes its wait.
			looks := time.Duration(8 / c / many)
			d = max(d, min(looks*min(s.Harm.Delay+4*s.Harm.Jitter+slack, longest), time.Minute))
		}
	}
	return d
}

// A judgement gathers what one look proves.
type judgement struct {
	s             state
	trips         []*trip
	before, after sight
	open, seen    []string
}

// judge says of what it is still open that it happens, and what was seen to.
func (s state) judge(trips []*trip, before, after sight) (open, seen []string) {
	j := judgement{s: s, trips: trips, before: before, after: after}
	for _, way := range []Direction{egress, ingress} {
		if way == egress && s.leaves() || way == ingress && s.arrives() {
			j.met(way)
		}
	}
	for _, t := range trips {
		j.trip(t)
	}
	for _, e := range []event{lost, duplicated, corrupted, reordered} {
		if s.Harm.chance(e) > 0 {
			j.event(e)
		}
	}
	return j.open, j.seen
}

// met wants packets of this direction to have been handed to the engine: ours
// since the look before, or else anybody's.
func (j *judgement) met(way Direction) {
	sent, why := 0, "no peer is on this machine"
	for _, t := range j.trips {
		if t.way == way {
			sent += t.sent
			if t.err != nil {
				why = t.err.Error()
			}
		}
	}
	total := j.after.Met[way]
	news := total - j.before.Met[way]
	switch {
	case sent > 0 && news >= uint64(sent), sent == 0 && total > 0:
		j.seen = append(j.seen, fmt.Sprintf("%d packets met (%s)", total, way))
	case sent > 0:
		j.open = append(j.open, fmt.Sprintf("%d packets of ours were sent (%s), and %d met", sent, way, news))
	default:
		j.open = append(j.open, fmt.Sprintf("no packet was met so far (%s), and none of ours can be sent: %s", way, why))
	}
}

// trip compares what was measured with what should be. A busy machine makes
// packets later than they should be, never earlier.
func (j *judgement) trip(t *trip) {
	if t.sent == 0 {
		return // met has said so
	}
	m, name := j.s.Harm, fmt.Sprintf("%s of %s (%v)", t.way, t.peer, t.to)
	if len(t.took) == 0 {
		switch {
		case m.loses() > 0, m.Corrupt > 0, m.least() >= t.wait, m.Rate > 0:
			j.seen = append(j.seen, fmt.Sprintf("%s: none of %d arrived within %v", name, t.sent, t.wait))
		default:
			j.open = append(j.open, fmt.Sprintf("%s: none of %d packets arrived within %v, with a delay of %v: more is broken than was asked for", name, t.sent, t.wait, m.Delay))
		}
		return
	}
	if m.loses() == 1 {
		j.open = append(j.open, fmt.Sprintf("%s: %d of %d packets arrived, all should be lost", name, len(t.took), t.sent))
		return
	}
	took := slices.Sorted(slices.Values(t.took))
	median := took[len(took)/2]
	if early := j.early(took); early > 0 {
		j.open = append(j.open, fmt.Sprintf("%s: %d of %d packets took less than %v (median %v)", name, early, t.sent, m.least(), median))
		return
	}
	if why := j.fast(t); why != "" {
		j.open = append(j.open, name+": "+why)
		return
	}
	j.seen = append(j.seen, fmt.Sprintf("%s: %d of %d arrived after %v (median; %v to %v)", name, len(took), t.sent,
		median.Round(10*time.Microsecond), took[0].Round(10*time.Microsecond), took[len(took)-1].Round(10*time.Microsecond)))
}

// early is how many were faster than they can be. Those that overtake are.
func (j *judgement) early(took []time.Duration) (n int) {
	if j.s.Harm.Reorder > 0 {
		return 0
	}
	for _, d := range took {
		if d < j.s.Harm.least() {
			n++
		}
	}
	return n
}

// fast says that packets came faster than the rate lets them, or "".
func (j *judgement) fast(t *trip) string {
	m := j.s.Harm
	if m.Rate == 0 || m.Reorder > 0 || m.Duplicate > 0 || len(t.since) == 0 {
		return ""
	}
	bits := float64((max(t.size, few)+overhead)*len(t.since)-j.after.Burst) * 8
	least := m.least() + time.Duration(bits/float64(m.Rate)*float64(time.Second))
	if last := t.since[len(t.since)-1]; last < least {
		return fmt.Sprintf("%d packets of %d bytes took %v, at %v they take %v", len(t.since), t.size, last, m.Rate, least)
	}
	return ""
}

// event wants what becomes of some packets to have been counted by the kernel, or
// to be seen in our trips.
func (j *judgement) event(e event) {
	n, counted := j.after.Events[e]
	if !counted {
		n = j.observed(e)
	}
	if n > 0 {
		j.seen = append(j.seen, fmt.Sprintf("%d %s", n, e))
		return
	}
	j.open = append(j.open, fmt.Sprintf("no packet was seen to be %s so far", e))
}

// observed is how often our trips saw it.
func (j *judgement) observed(e event) (n uint64) {
	for _, t := range j.trips {
		seen, highest := map[int]int{}, -1
		for _, k := range t.order {
			seen[k]++
			if e == duplicated && seen[k] == 2 || e == reordered && k < highest {
				n++
			}
			highest = max(highest, k)
		}
		switch e {
		case lost:
			n += uint64(max(0, t.sent-len(seen)-t.altered))
		case corrupted: // what is damaged is dropped by its checksum, or arrives so
			n += uint64(max(t.altered, t.sent-len(seen)))
		}
	}
	return n
}
