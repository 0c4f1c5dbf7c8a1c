package patroni

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/targets"
)

// pollEvery is the period at which each member's REST API is asked. An answer
// takes Patroni some milliseconds of one core.
const pollEvery = 100 * time.Millisecond

// pollWithin bounds one answer; a member that was frozen is asked anew.
const pollWithin = time.Second

// Observe emits
//
//   - timeline.Leader, by "patroni/etcd", for each change of the leader key:
//     Node is "" when it was deleted (the lease ended, or was given up). Without
//     etcd, by "patroni/rest", for each change of the leader in GET /cluster;
//   - timeline.Detected for each member that begins to say cluster_unlocked, by
//     "patroni/NODE".
//
// The first view is emitted as neither: nothing is known to have changed. It has
// been had when the key was read and each member has answered or let its time
// pass. That etcd answers at none of its endpoints is an error; that it loses
// members, or quorum, later, is seen as wider bounds.
func (s *System) Observe(ctx context.Context, emit timeline.Emit, ready func()) error {
	if c, err := first(ctx, s, "/cluster", parseCluster); err == nil {
		s.learn(c)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var all sync.WaitGroup // what has to have its first view
	all.Add(len(s.nodes))
	o := &observer{s: s, emit: emit}
	failed := make(chan error, 1)
	var running sync.WaitGroup
	if len(s.etcd.endpoints) > 0 {
		all.Add(1)
		o.key = &key{path: s.etcd.key, nodeOf: s.nodeOf, emit: emit}
		running.Go(func() {
			var once sync.Once
			failed <- s.etcd.watchEtcd(ctx, o.key, func() { once.Do(all.Done) })
			once.Do(all.Done)
		})
	} else {
		o.views = &views{nodeOf: s.nodeOf, emit: emit, at: map[string]int{}}
	}
	for _, n := range s.nodes {
		running.Go(func() { o.poll(ctx, n, all.Done) })
	}
	viewed := make(chan struct{})
	running.Go(func() { all.Wait(); close(viewed) })
	err := o.until(ctx, viewed, failed, ready)
	cancel()
	running.Wait()
	return err
}

// An observer is one Observe.
type observer struct {
	s     *System
	emit  timeline.Emit
	key   *key   // with etcd
	views *views // without
}

// until waits for the first views, then for the end.
func (o *observer) until(ctx context.Context, viewed <-chan struct{}, failed <-chan error, ready func()) error {
	for {
		select {
		case <-viewed:
			if viewed = nil; len(failed) == 0 {
				ready()
			}
		case err := <-failed:
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("watching Patroni's leader key: %w", err)
		case <-ctx.Done():
			return nil
		}
	}
}

// poll asks a member until ctx ends.
func (o *observer) poll(ctx context.Context, n targets.Node, asked func()) {
	m := &memberView{o: o, node: n.Name()}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	defer m.once.Do(asked)
	for {
		o.ask(ctx, n, m)
		m.once.Do(asked)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// ask asks once; no answer tells nothing.
func (o *observer) ask(ctx context.Context, n targets.Node, m *memberView) {
	ctx, cancel := context.WithTimeout(ctx, pollWithin)
	defer cancel()
	lo := time.Now()
	if o.views != nil {
		body, err := o.s.get(ctx, n, "/cluster")
		if err != nil {
			return
		}
		if c, err := parseCluster(body); err == nil {
			m.cluster(lo, time.Now(), c)
		}
		return
	}
	body, err := o.s.get(ctx, n, "/patroni")
	if err != nil {
		return
	}
	if st, err := parseStatus(body); err == nil {
		m.unlocked(lo, time.Now(), st.Unlocked)
	}
}

// A memberView is what one member said last.
type memberView struct {
	o      *observer
	node   string
	once   sync.Once
	locked time.Time // the call of the last answer by which somebody held the lock; zero if it is not so
}

// unlocked notes an answer, and emits the change from locked to unlocked.
func (m *memberView) unlocked(lo, hi time.Time, is bool) {
	if !is {
		m.locked = lo
		return
	}
	if m.locked.IsZero() {
		return
	}
	from := m.locked
	m.locked = time.Time{}
	if m.o.key != nil {
		from = m.o.key.notBefore(from, hi)
	}
	m.o.emit(from, hi, timeline.Event{
		Kind: timeline.Detected, Node: m.node, By: "patroni/" + m.node,
		Value: "cluster_unlocked", Evidence: "GET /patroni of " + m.node + ": cluster_unlocked",
	})
}

// cluster notes an answer of GET /cluster.
func (m *memberView) cluster(lo, hi time.Time, c *cluster) {
	m.o.s.learn(c)
	m.o.views.see(m.node, lo, hi, c.leader())
	m.unlocked(lo, hi, c.leader() == "")
}

// views brings together what the members say of the leader. Each goes through
// the same sequence of leaders, at its own pace: whoever comes first to the next
// one tells of it.
type views struct {
	nodeOf func(string) string
	emit   timeline.Emit

	mu     sync.Mutex
	leader []string             // the sequence
	at     map[string]int       // member → how far in the sequence it is
	asked  map[string]time.Time // member → the call of its last answer
}

// see notes that a member named the leader in an answer to a call at lo.
func (v *views) see(member string, lo, hi time.Time, leader string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.asked == nil {
		v.asked = map[string]time.Time{}
	}
	before, known := v.asked[member]
	if !known && !v.join(member, leader) {
		return
	}
	v.asked[member] = lo
	at := v.at[member]
	if v.leader[at] == leader {
		return
	}
	for i := at + 1; i < len(v.leader); i++ {
		if v.leader[i] == leader {
			v.at[member] = i
			return
		}
	}
	v.leader = append(v.leader, leader)
	v.at[member] = len(v.leader) - 1
	e := timeline.Event{Kind: timeline.Leader, By: "patroni/rest", Evidence: fmt.Sprintf("GET /cluster of %s: the leader was %s and is %s", member, orNobody(v.leader[at]), orNobody(leader))}
	if leader != "" {
		e.Node = v.nodeOf(leader)
	}
	v.emit(before, hi, e)
}

// join takes in a member by its first answer: the first member begins the
// sequence; another has to name a leader of it, since from when on it may have
// another one is not known.
func (v *views) join(member, leader string) bool {
	if len(v.leader) == 0 {
		v.leader = []string{leader}
	}
	for i, l := range slices.Backward(v.leader) {
		if l == leader {
			v.at[member] = i
			return true
		}
	}
	return false
}

func orNobody(leader string) string {
	if leader == "" {
		return "nobody"
	}
	return leader
}
