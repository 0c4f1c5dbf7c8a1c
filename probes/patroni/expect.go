package patroni

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/dapple-drills/dapple/probes"
)

// What the model takes for the parts that no setting decides.
const (
	// cycle is how long one round of Patroni's loop takes on a busy machine
	// (queries, etcd, fsync). Measured: 20 ms to 0.3 s on two cores.
	cycle = 500 * time.Millisecond
	// expiry is the period at which etcd looks for leases that ended
	// (etcd, server/lease/lessor.go, leaseRevokeRate and its 500 ms loop).
	expiry = 500 * time.Millisecond
	// election is etcd's default election timeout (etcd, embed/config.go): raft
	// waits for one to two of it, and once more after a split vote. A new leader
	// gives every lease its whole ttl again, and one election timeout more
	// (server/lease/lessor.go, Promote).
	election = time.Second
	// raceWithin is how long a member waits for the others' GET /patroni in the
	// leader race (patroni/ha.py, fetch_node_status): all of it if packets to the
	// dead node vanish, nothing if they are refused.
	raceWithin = 2 * time.Second
	// promoteLeast and promoteMost bound pg_promote until the first write:
	// measured 0.05 s to 1.5 s on two cores with little WAL to replay. A standby
	// that lags takes longer.
	promoteLeast, promoteMost = 50 * time.Millisecond, 3 * time.Second
	// retryWithin is the longest that an application of ours waits between two
	// attempts to connect (clients.backoff, its default).
	retryWithin = 500 * time.Millisecond
	// startMost bounds the start of a server after a crash, where little WAL is
	// to be replayed: measured 0.3 s to 2 s.
	startMost = 5 * time.Second
)

// Expect predicts from the effective settings what a kill does. It has a model
// for: a node that is lost (all of it killed), PostgreSQL killed under a Patroni
// that lives, Patroni killed or frozen over a PostgreSQL that lives, and a
// replica killed. Where the fault's end falls into the time in which the lease
// may or may not expire, there is no model.
func (s *System) Expect(ctx context.Context, c probes.Cause) (map[string]probes.Range, bool, bool, error) {
	conf, err := s.config(ctx)
	if err != nil {
		return nil, false, false, err
	}
	t, _ := conf.clamp()
	m := &model{timeouts: t, sync: conf.sync(), proxy: s.proxy, connect: s.connect, held: c.For}
	ranges, failover, ok := m.expect(c)
	return ranges, failover, ok, nil
}

// A model is what an expectation rests on.
type model struct {
	timeouts
	sync    bool
	proxy   *proxy
	connect time.Duration
	held    time.Duration // how long the fault is held; 0 for ever
}

func (m *model) expect(c probes.Cause) (ranges map[string]probes.Range, failover, ok bool) {
	if c.Injector != "kill" || len(c.Roles) == 0 {
		return nil, false, false
	}
	signal, process := orElse(c.Params["signal"], "KILL"), orElse(c.Params["process"], "main")
	if !slices.Contains(c.Roles, "primary") {
		if signal != "KILL" || process != "main" && process != "all" {
			return nil, false, false
		}
		return m.replica(), false, true
	}
	if len(c.Roles) > 1 {
		return nil, false, false
	}
	switch {
	case signal == "KILL" && (process == "main" || process == "all"), signal == "STOP" && process == "all":
		return m.lost(m.node)
	case process == "manager" && (signal == "KILL" || signal == "STOP"):
		return m.lost(m.agent)
	case process == "server" && signal == "KILL":
		return m.server()
	}
	return nil, false, false
}

func orElse(v, absent string) string {
	if v == "" {
		return absent
	}
	return v
}

// lost decides whether the lease expires while the fault is held.
func (m *model) lost(ranges func() map[string]probes.Range) (map[string]probes.Range, bool, bool) {
	d := m.detection()
	switch {
	case m.held == 0 || m.held > d.Max:
		return ranges(), true, true
	case m.held < d.Min:
		return m.back(), false, true
	}
	return nil, false, false
}

// detection is the end of the lease, which the primary renews every loop_wait.
func (m *model) detection() probes.Range {
	return probes.Range{
		Min: m.ttl - m.loopWait - cycle, Max: m.ttl + expiry + cycle,
		Modes: []probes.Mode{{
			Name: "lease refreshed", Min: m.ttl + 2*election - cycle, Max: m.ttl + 5*election + expiry + cycle,
			Why: fmt.Sprintf("etcd's leader died with the node: a new one is elected within %v to %v and gives the lease its whole ttl %v and %v more (lessor.Promote)", election, 4*election, m.ttl, election),
		}},
		Why: fmt.Sprintf("the lease (ttl %v) was renewed at most loop_wait %v and a cycle of %v before; etcd ends it within %v and the news takes a cycle: [%v - %v - %v, %v + %v + %v]",
			m.ttl, m.loopWait, cycle, expiry, m.ttl, m.loopWait, cycle, m.ttl, expiry, cycle),
	}
}

// election: the watch wakes all replicas at once; each asks the others, and the
// dead one lets it wait.
func (m *model) election() probes.Range {
	return probes.Range{Min: 0, Max: raceWithin + 2*cycle, Why: fmt.Sprintf("replicas are woken by etcd's watch and ask each other within %v (patroni/ha.py), then take the lock: a cycle of %v each", raceWithin, cycle)}
}

func (m *model) promotion() probes.Range {
	return probes.Range{Min: promoteLeast, Max: promoteMost, Why: fmt.Sprintf("pg_promote with little to replay, as measured: [%v, %v]", promoteLeast, promoteMost)}
}

// routing can be 0 behind a proxy too: Patroni says that it is primary as soon
// as it has the lock, so checks succeed while the server is being promoted.
func (m *model) routing() probes.Range {
	if m.proxy == nil {
		most := 2*m.connect + retryWithin
		return probes.Range{Min: 0, Max: max(most, time.Second), Why: fmt.Sprintf("clients find the new primary by trying hosts: connect %v for each dead one, at most %v between tries", m.connect, retryWithin)}
	}
	least, most := m.proxy.up()
	return probes.Range{
		Min: max(0, least-promoteMost), Max: most + m.connect + retryWithin,
		Why: fmt.Sprintf("HAProxy (%s): %d good checks, the first within inter %v; they begin to succeed up to a promotion (%v) before writes do; clients try again within connect %v + %v", m.proxy, m.proxy.rise, m.proxy.inter, promoteMost, m.connect, retryWithin),
	}
}

// node is the loss of the primary's node.
func (m *model) node() map[string]probes.Range {
	r := m.phases()
	total := r["detection"]
	for _, phase := range []string{"election", "promotion", "routing"} {
		total.Min += r[phase].Min
		total.Max += r[phase].Max
	}
	total.Why = "detection + election + promotion + routing"
	r["outage"], r["rto"] = total, total
	return r
}

func (m *model) phases() map[string]probes.Range {
	return map[string]probes.Range{"detection": m.detection(), "election": m.election(), "promotion": m.promotion(), "routing": m.routing()}
}

// agent is a Patroni that renews the lease no more over a server that lives.
// Clients stay with the old primary for as long as they are led to it: a proxy
// notices that nobody answers its checks, a list of hosts does not. With
// synchronous replication the old primary acknowledges until its standby is
// promoted.
func (m *model) agent() map[string]probes.Range {
	r := m.phases()
	total := m.node()["outage"]
	if m.proxy == nil {
		total.Min = 0
		total.Why = "clients may stay with the old primary, which takes writes until it is stopped; at most as if its node were lost"
	} else {
		_, most := m.proxy.down()
		total.Min = max(0, total.Min-most)
		total.Why = fmt.Sprintf("detection + election + promotion + routing, less the at most %v until HAProxy (%s) gives up the node whose Patroni does not answer", most, m.proxy)
	}
	r["outage"], r["rto"] = total, total
	return r
}

// server is PostgreSQL killed: Patroni starts it again, without failover unless
// primary_start_timeout is 0.
func (m *model) server() (map[string]probes.Range, bool, bool) {
	if m.start == 0 {
		r := m.phases()
		r["detection"] = probes.Range{Min: 0, Max: m.loopWait + cycle, Why: fmt.Sprintf("Patroni looks every loop_wait %v, and gives up the lock at once since primary_start_timeout is 0", m.loopWait)}
		total := probes.Range{Why: "detection + election + promotion + routing"}
		for _, phase := range []string{"detection", "election", "promotion", "routing"} {
			total.Min += r[phase].Min
			total.Max += r[phase].Max
		}
		r["outage"], r["rto"] = total, total
		return r, true, true
	}
	out := probes.Range{
		Min: promoteLeast, Max: m.loopWait + cycle + startMost + m.reconnect(),
		Why: fmt.Sprintf("Patroni looks every loop_wait %v and starts the server again (up to %v with little to replay; it gives up after primary_start_timeout %v); then clients come back within %v", m.loopWait, startMost, m.start, m.reconnect()),
	}
	seen := probes.Range{Min: 0, Max: m.loopWait + cycle + startMost, Why: fmt.Sprintf("Patroni looks every loop_wait %v and starts the server again", m.loopWait)}
	return map[string]probes.Range{"detection": seen, "outage": out, "rto": out}, false, true
}

// back is a node that comes back before its lease ends: the same primary. Nobody
// serves while it is away.
func (m *model) back() map[string]probes.Range {
	out := probes.Range{
		Min: m.held, Max: m.held + m.loopWait + cycle + startMost + m.reconnect(),
		Why: fmt.Sprintf("the node is back after %v, before its lease (ttl %v) can end; Patroni starts within a loop_wait %v, PostgreSQL within %v, clients within %v", m.held, m.ttl, m.loopWait, startMost, m.reconnect()),
	}
	return map[string]probes.Range{"outage": out, "rto": out}
}

// replica is the loss of a standby.
func (m *model) replica() map[string]probes.Range {
	out := probes.Range{Why: "no write goes through an asynchronous replica"}
	if m.sync {
		out = probes.Range{
			Max: m.loopWait + 2*cycle + m.reconnect(),
			Why: fmt.Sprintf("if it was the synchronous one, commits wait until Patroni chooses another, within loop_wait %v and two cycles of %v", m.loopWait, cycle),
		}
	}
	return map[string]probes.Range{"outage": out, "rto": out}
}

// reconnect bounds how long clients take to be back once the server is.
func (m *model) reconnect() time.Duration {
	most := m.connect + retryWithin
	if m.proxy != nil {
		_, up := m.proxy.up()
		most += up
	}
	return most
}
