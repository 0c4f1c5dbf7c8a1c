package ledger

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/targets"
)

// A manner is how a fake endpoint behaves.
type manner int

const (
	serving  manner = iota
	refusing        // connections are refused; writes on open ones are too
	hanging         // nothing is answered until the manner changes
	readonly        // connections are taken, writes are refused with 25006
	lying           // writes are acknowledged and not kept
	weak            // writes are kept and acknowledged with a warning
)

// A system is a ledger made of a map, which does what the test tells it to.
type system struct {
	latency time.Duration

	mu     sync.Mutex
	points map[string]*point // by node; "" is the client endpoint
	rows   map[int]map[uint64]int
	truth  map[probes.Write]probes.Class // what each client was told; Run and Sent are zero
	sent   []time.Time                   // when writes came in at the client endpoint
	opens  map[string]int
	inside map[string]bool
	ready  func(ctx context.Context) error
	digest func([]probes.Digest) []probes.Digest
	noHash bool
	onPut  func(probes.Write)
	// replicas are the rows of nodes that have other ones than the primary.
	replicas map[string]map[int]map[uint64]int
}

type point struct {
	manner  manner
	changed chan struct{} // closed when the manner changes or sessions are killed
	killed  int           // sessions opened before the n'th kill are dead
	open    int
}

func newSystem() *system {
	return &system{
		latency: time.Millisecond, points: map[string]*point{}, rows: map[int]map[uint64]int{},
		truth: map[probes.Write]probes.Class{}, opens: map[string]int{}, inside: map[string]bool{},
	}
}

func (s *system) point(where string) *point {
	if s.points[where] == nil {
		s.points[where] = &point{changed: make(chan struct{})}
	}
	return s.points[where]
}

// set changes the manner of endpoints; kill also breaks their sessions.
func (s *system) set(m manner, where ...string) { s.change(where, func(p *point) { p.manner = m }) }
func (s *system) kill(where ...string)          { s.change(where, func(p *point) { p.killed++ }) }

func (s *system) change(where []string, f func(*point)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range where {
		p := s.point(w)
		f(p)
		close(p.changed)
		p.changed = make(chan struct{})
	}
}

// opened is how often a connection to an endpoint was asked for, and whether
// ever from inside.
func (s *system) opened(where string) (n int, inside bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opens[where], s.inside[where]
}

func (s *system) Role(context.Context, targets.Node) probes.Claim { return probes.Claim{} }
func (s *system) NodeName(taker string) string                    { return map[string]string{"10.0.0.1": "pg1"}[taker] }
func (s *system) Close() error                                    { return nil }

func name(w probes.Where) string {
	if w.Node == nil {
		return ""
	}
	return w.Node.Name()
}

func (s *system) Open(ctx context.Context, from probes.Where) (probes.Session, *probes.Ack) {
	where := name(from)
	s.mu.Lock()
	s.opens[where]++
	s.inside[where] = s.inside[where] || from.Inside
	s.mu.Unlock()
	m, killed := s.wait(ctx, where, -1)
	switch {
	case ctx.Err() != nil:
		return nil, &probes.Ack{Class: probes.Failed, Reply: "connect: timeout"}
	case m == refusing:
		return nil, &probes.Ack{Class: probes.Failed, Reply: "connect: connection refused"}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.point(where).open++
	return &session{sys: s, where: where, born: killed}, nil
}

// wait returns how the endpoint behaves once it answers: after the latency, and
// not while it hangs. born is when the session was opened, or below 0.
func (s *system) wait(ctx context.Context, where string, born int) (m manner, killed int) {
	t := time.NewTimer(s.latency)
	defer t.Stop()
	due := t.C
	for {
		s.mu.Lock()
		p := *s.point(where)
		s.mu.Unlock()
		if born >= 0 && p.killed > born {
			return p.manner, p.killed
		}
		tick := due
		if p.manner == hanging {
			tick = nil
		}
		select {
		case <-tick:
			return p.manner, p.killed
		case <-p.changed:
			if p.manner == hanging {
				closed := make(chan time.Time)
				close(closed)
				due = closed
			}
		case <-ctx.Done():
			return p.manner, p.killed
		}
	}
}

type session struct {
	sys    *system
	where  string
	born   int
	broken bool
}

func (x *session) Broken() bool { return x.broken }
func (x *session) Close() error {
	x.sys.mu.Lock()
	defer x.sys.mu.Unlock()
	x.sys.point(x.where).open--
	return nil
}

func (x *session) Put(ctx context.Context, w probes.Write) probes.Ack {
	if x.sys.onPut != nil {
		x.sys.onPut(w)
	}
	if x.where == "" {
		x.sys.mu.Lock()
		x.sys.sent = append(x.sys.sent, time.Now())
		x.sys.mu.Unlock()
	}
	m, killed := x.sys.wait(ctx, x.where, x.born)
	ack := x.answer(m, killed, ctx.Err() != nil)
	x.sys.mu.Lock()
	defer x.sys.mu.Unlock()
	x.sys.truth[probes.Write{Client: w.Client, Seq: w.Seq}] = ack.Class
	if m == serving && ack.Class == probes.Acked || m == weak && ack.Class == probes.Degraded {
		x.sys.put(w.Client, w.Seq)
	}
	return ack
}

func (x *session) answer(m manner, killed int, late bool) probes.Ack {
	switch {
	case killed > x.born:
		x.broken = true
		return probes.Ack{Class: probes.Unknown, Reply: "connection reset"}
	case late:
		x.broken = true
		return probes.Ack{Class: probes.Unknown, Reply: "timeout"}
	case m == refusing:
		x.broken = true
		return probes.Ack{Class: probes.Failed, Reply: "57P03"}
	case m == readonly:
		return probes.Ack{Class: probes.Failed, Reply: "25006"}
	case m == weak:
		return probes.Ack{Class: probes.Degraded, Reply: "01000", Node: "10.0.0.1", Epoch: "1"}
	}
	return probes.Ack{Class: probes.Acked, Reply: "INSERT 0 1", Node: "10.0.0.1", Epoch: "1"}
}

func (s *system) put(client int, seq uint64) {
	if s.rows[client] == nil {
		s.rows[client] = map[uint64]int{}
	}
	s.rows[client][seq]++
}

func (s *system) Prepare(context.Context, string) error { return nil }
func (s *system) Clean(context.Context, string) error   { return nil }

func (s *system) Ready(ctx context.Context, w probes.Write) error {
	if s.ready != nil {
		if err := s.ready(ctx); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(w.Client, w.Seq)
	return nil
}

// at is the rows that a point has; a node without its own has the primary's.
func (s *system) at(n targets.Node) map[int]map[uint64]int {
	if n != nil && s.replicas[n.Name()] != nil {
		return s.replicas[n.Name()]
	}
	return s.rows
}

func (s *system) Digests(_ context.Context, n targets.Node, _ string) ([]probes.Digest, error) {
	out := s.digests(n)
	if s.digest != nil {
		out = s.digest(out)
	}
	return out, nil
}

func (s *system) digests(n targets.Node) []probes.Digest {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[probes.Chunk]*probes.Digest{}
	for client, rows := range s.at(n) {
		for seq, n := range rows {
			c := probes.Chunk{Client: client, No: seq >> probes.ChunkBits}
			d := all[c]
			if d == nil {
				d = &probes.Digest{Chunk: c, Min: seq, Max: seq}
				all[c] = d
			}
			d.Count += uint64(n)
			d.Min, d.Max = min(d.Min, seq), max(d.Max, seq)
			if n%2 == 1 && !s.noHash {
				d.Hash ^= probes.HashID(seq)
			}
		}
	}
	out := make([]probes.Digest, 0, len(all))
	for _, d := range all {
		out = append(out, *d)
	}
	return out
}

func (s *system) IDs(_ context.Context, n targets.Node, _ string, c probes.Chunk, see func(uint64)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	rows := s.at(n)[c.Client]
	for _, seq := range slices.Sorted(maps.Keys(rows)) {
		if seq>>probes.ChunkBits == c.No {
			for range rows[seq] {
				see(seq)
			}
		}
	}
	return nil
}

// A node is a name; an inner one can be dialled from inside.
type node string

func (n node) Name() string                                    { return string(n) }
func (n node) Exec(context.Context, ...string) ([]byte, error) { return nil, targets.ErrUnsupported }

type inner struct{ node }

func (inner) DialContext(context.Context, string, string) (net.Conn, error) {
	return nil, targets.ErrUnsupported
}

// A bench is a workload on a fake system, with its recorder.
type bench struct {
	*Workload
	t   *testing.T
	sys *system
	rec *timeline.Recorder
	ctx context.Context
}

func start(t *testing.T, sys *system, cfg Config) *bench {
	t.Helper()
	cfg.System, cfg.Run, cfg.Base = sys, "r", time.Now()
	cfg.Dir = cmp.Or(cfg.Dir, t.TempDir())
	b := &bench{New(cfg), t, sys, timeline.NewRecorder(cfg.Base, 1, 0, nil), t.Context()}
	if err := b.Start(b.ctx, b.rec.Emit); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(context.WithoutCancel(b.ctx)); err != nil {
			t.Error(err)
		}
	})
	return b
}

func (b *bench) stop() {
	b.t.Helper()
	if err := b.StopClients(b.ctx); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) audit(name string) timeline.Audited {
	b.t.Helper()
	out, err := b.Audit(b.ctx, name, nil, b.rec.Emit)
	if err != nil {
		b.t.Fatal(err)
	}
	out.TookMS = 0
	return out
}

// pass lets d go by on the bubble's clock.
func pass(d time.Duration) { <-time.After(d) }

func events(t timeline.Timeline, match func(timeline.Event) bool) (out []timeline.Event) {
	for _, e := range t {
		if match(e) {
			out = append(out, e)
		}
	}
	return out
}

func by(kind timeline.Kind, stream string) func(timeline.Event) bool {
	return func(e timeline.Event) bool { return e.Kind == kind && e.By == stream }
}

func lines(all []timeline.Event) (out []string) {
	for _, e := range all {
		out = append(out, fmt.Sprintf("%v %s %s %s %s", e.At, e.By, e.Value, e.Node, e.Evidence))
	}
	return out
}
