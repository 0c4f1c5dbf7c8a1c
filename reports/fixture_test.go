package reports

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/drills/verdict"
)

// The fixtures are drills played by a script: the probes of a real run look at
// the scripted system through the real recorder and streams, so that the
// pictures are drawn from timelines as they are, torn runs and jitter included.

var fixtureBase = time.Date(2026, 11, 3, 14, 2, 11, 0, time.UTC)

// A script says what a system did in one trial.
type script struct {
	n        int
	old, new string
	nodes    []string
	fault    func(s *script) verdict.Fault
	inject, effect, detect, elect, promote, firstAck,
	revert, rejoin, redundant, end time.Duration
	oldWrites bool   // the old primary takes writes until the revert
	observer  string // By of leader events
}

type player struct {
	*script
	rec     *timeline.Recorder
	streams map[string]*timeline.Stream
	rng     *rand.Rand
	ids     map[string]int // name of an instant to its event
	counts  []timeline.Counts
}

const bucket = 500 * time.Millisecond

func (p *player) emit(at, width time.Duration, e timeline.Event) int {
	b := p.rec.Base()
	return p.rec.Emit(b.Add(at), b.Add(at+width), e)
}

func (p *player) add(at, width time.Duration, e timeline.Event) {
	s := p.streams[e.By]
	if s == nil {
		s = timeline.NewStream(p.rec.Emit)
		p.streams[e.By] = s
	}
	b := p.rec.Base()
	s.Add(b.Add(at), b.Add(at+width), e)
}

func (p *player) mark(name string, at, width time.Duration, e timeline.Event) {
	p.ids[name] = p.emit(at, width, e)
}

func (p *player) jitter(d time.Duration) time.Duration {
	return d/2 + time.Duration(p.rng.Int64N(int64(d)))
}

// instants emits what happens once at its time.
func (p *player) instants(from, to time.Duration) {
	in := func(t time.Duration) bool { return t >= from && t < to && t > 0 }
	data := json.RawMessage(`{"fault":"kill/` + p.old + `"}`)
	phase := func(t time.Duration, v string) {
		if t >= from && t < to {
			p.emit(t, 0, timeline.Event{Kind: timeline.Phase, By: "engine", Value: v})
		}
	}
	f := p.fault(p.script)
	phase(0, "observe")
	phase(p.inject/4, "steady")
	phase(p.inject-200*time.Millisecond, "aim")
	phase(p.inject-20*time.Millisecond, "inject")
	phase(p.effect+time.Millisecond, "hold")
	phase(p.revert-400*time.Millisecond, "revert")
	phase(p.revert+time.Millisecond, "settle")
	phase(p.end-3*time.Second, "audit")
	phase(p.end-300*time.Millisecond, "leftovers")
	if in(p.inject) {
		p.mark("planned", p.inject-50*time.Millisecond, 0, timeline.Event{Kind: timeline.FaultPlanned, By: f.Kind, Node: f.Node, Value: f.Does, Data: data})
		p.mark("inject", p.inject, 200*time.Microsecond, timeline.Event{Kind: timeline.FaultInjected, By: f.Kind, Node: f.Node, Data: data})
		p.mark("effect", p.effect, 300*time.Microsecond, timeline.Event{Kind: timeline.FaultEffect, By: f.Kind, Node: f.Node, Evidence: f.Proof, Data: data})
	}
	if in(p.detect) {
		p.mark("detect", p.detect-12*time.Millisecond, 12*time.Millisecond, timeline.Event{Kind: timeline.Leader, By: p.observer, Node: "", Evidence: "DELETE /service/demo/leader (lease expired)"})
	}
	if in(p.elect) {
		p.mark("elect", p.elect-8*time.Millisecond, 8*time.Millisecond, timeline.Event{Kind: timeline.Leader, By: p.observer, Node: p.new, Epoch: "2", Evidence: "PUT /service/demo/leader = " + p.new})
	}
	if in(p.revert) {
		p.mark("restart", p.revert-300*time.Millisecond, 40*time.Millisecond, timeline.Event{Kind: timeline.Restarted, By: "kill", Node: p.old, Value: "dapple"})
		p.mark("revert", p.revert-40*time.Millisecond, 40*time.Millisecond, timeline.Event{Kind: timeline.FaultReverted, By: f.Kind, Node: f.Node, Evidence: "pid 5120 (patroni) runs, started by dapple", Data: data})
	}
}

// redundancy looks at how the nodes take part.
func (p *player) redundancy(t time.Duration) {
	line := "3 members, 2 streaming, 1 synchronous"
	if t >= p.effect && t < p.redundant {
		line = "2 members, 1 streaming, 0 synchronous"
	}
	p.state("redundant", t, p.redundant, timeline.Event{Kind: timeline.Redundancy, By: "redundancy", Value: line})
	for _, n := range p.nodes {
		v := "following"
		switch {
		case n == p.old && t >= p.effect && t < p.revert && !p.oldWrites:
			v = "absent"
		case n == p.old && t >= p.effect && t < p.rejoin:
			v = "lagging"
		case p.role(n, t) == "primary":
			v = "primary"
		}
		name := "x"
		if n == p.old {
			name = "rejoin"
		}
		p.state(name, t, p.rejoin, timeline.Event{Kind: timeline.Member, By: "member/" + n, Node: n, Value: v})
	}
}

// state adds a look, and notes its event if it is the first from after on.
func (p *player) state(name string, t, after time.Duration, e timeline.Event) {
	p.add(t, p.jitter(4*time.Millisecond), e)
	if _, seen := p.ids[name]; !seen && t >= after {
		p.ids[name] = p.rec.Next() - 1
	}
}

func (p *player) up(node string, t time.Duration) bool {
	return node != p.old || p.oldWrites || t < p.effect || t >= p.revert
}

func (p *player) role(node string, t time.Duration) string {
	switch {
	case !p.up(node, t):
		return "unreachable"
	case node == p.old && (t < p.effect || p.oldWrites && t < p.revert):
		return "primary"
	case node == p.old && t < p.rejoin-time.Second:
		return "none"
	case node == p.new && t >= p.elect+(p.promote-p.elect)/2:
		return "primary"
	}
	return "replica"
}

// write is what becomes of a write sent at t to that node; "" is the endpoint.
func (p *player) write(node, class string, t time.Duration) timeline.Event {
	acked := func(n, epoch string) timeline.Event {
		return timeline.Event{Kind: timeline.Write, Value: "acked", Node: n, Epoch: epoch, Evidence: "INSERT 0 1"}
	}
	bad := func(v, why string) timeline.Event {
		return timeline.Event{Kind: timeline.Write, Value: v, Evidence: why}
	}
	if node == "" {
		switch {
		case t < p.effect || p.oldWrites && class == "app/0" && t < p.revert:
			return acked(p.old, "1")
		case t < p.effect+15*time.Millisecond:
			return bad("unknown", "EOF after send")
		case t < p.firstAck:
			return bad("failed", "dial tcp: connection refused")
		}
		return acked(p.new, "2")
	}
	switch role := p.role(node, t); {
	case role == "unreachable":
		return bad("failed", "dial tcp: connection refused")
	case role == "primary" && node == p.old:
		return acked(p.old, "1")
	case role == "primary" && t >= p.promote:
		return acked(node, "2")
	}
	return bad("failed", "25006 cannot execute INSERT in a read-only transaction")
}

func (p *player) play() timeline.Timeline {
	p.mark("leader0", 0, 5*time.Millisecond, timeline.Event{Kind: timeline.Leader, By: p.observer, Node: p.old, Epoch: "1"})
	p.counts = make([]timeline.Counts, int(p.end/bucket)+1)
	const step = 10 * time.Millisecond
	for t := time.Duration(0); t < p.end; t += step {
		p.instants(t, t+step)
		k := int(t / step)
		if k%20 == 0 {
			p.redundancy(t)
		}
		if t > p.end-3*time.Second {
			continue
		}
		for _, n := range p.nodes {
			if k%5 == 0 {
				p.add(t, p.jitter(2*time.Millisecond), timeline.Event{Kind: timeline.Role, By: "role/" + n, Node: n, Value: p.role(n, t)})
				for _, vantage := range []string{"direct/", "old/"} {
					if e := p.write(n, vantage, t); vantage == "direct/" || n != p.old || p.oldWrites || t < p.effect {
						e.By = vantage + n
						p.add(t, p.jitter(3*time.Millisecond), e)
						p.once("promote", e, t)
					}
				}
			}
		}
		for c := range 4 {
			if k%2 == c%2 {
				p.client(fmt.Sprintf("app/%d", c), t)
			}
		}
		if k%2 == 0 {
			p.client("fresh", t)
		}
		if k%int(bucket/step) == int(bucket/step)-1 {
			i := int(t / bucket)
			data, _ := json.Marshal(p.counts[i])
			p.emit(time.Duration(i)*bucket, bucket, timeline.Event{Kind: timeline.Bucket, By: "clients", Data: data})
		}
	}
	for _, by := range sortedKeys(p.streams) {
		p.streams[by].Flush()
	}
	p.emit(p.effect-time.Second, time.Second, timeline.Event{Kind: timeline.AtRisk, By: "clients", N: 198})
	return p.rec.Timeline()
}

// once notes the event that ends a metric, which was the last to be recorded.
func (p *player) once(name string, e timeline.Event, t time.Duration) {
	if _, seen := p.ids[name]; !seen && e.Value == "acked" && e.Node == p.new && t >= p.effect {
		p.ids[name] = p.rec.Next() - 1
	}
}

func (p *player) client(by string, t time.Duration) {
	e := p.write("", by, t)
	e.By = by
	c := &p.counts[int(t/bucket)]
	switch e.Value {
	case "acked":
		c.Acked++
		c.P50ms, c.P99ms = 1.9, 7.5
	case "failed":
		c.Failed++
	default:
		c.Unknown++
	}
	p.add(t, p.jitter(2*time.Millisecond), e)
	if by == "fresh" {
		p.once("first", e, t)
	}
}

func play(s *script, first int) *player {
	p := &player{script: s, streams: map[string]*timeline.Stream{}, ids: map[string]int{}, rng: rand.New(rand.NewPCG(7, uint64(s.n)))}
	p.rec = timeline.NewRecorder(fixtureBase.Add(time.Duration(s.n)*5*time.Minute), s.n, first, nil)
	p.play()
	return p
}

func ms(d time.Duration) float64 { return timeline.MS(d) }

func interval(at, width time.Duration) *[2]float64 { return &[2]float64{ms(at), ms(at + width)} }

// metric is the difference of two instants, each known within its width.
func (p *player) metric(from, to time.Duration, events ...string) *verdict.Metric {
	m := &verdict.Metric{LoMS: ms(to-from) - 6.1, HiMS: ms(to-from) + 6.1}
	for _, e := range events {
		m.Events = append(m.Events, p.ids[e])
	}
	return m
}

func (p *player) ev(names ...string) []int {
	var out []int
	for _, n := range names {
		out = append(out, p.ids[n])
	}
	return out
}

// trial is what a judge would say of the script.
func (p *player) trial() verdict.Trial {
	f := p.fault(p.script)
	f.Inject, f.Effect, f.Revert = interval(p.inject, 200*time.Microsecond), interval(p.effect, 300*time.Microsecond), interval(p.revert-40*time.Millisecond, 40*time.Millisecond)
	f.Events = p.ev("planned", "inject", "effect", "revert")
	yes := true
	t := verdict.Trial{N: p.n, Verdict: verdict.Pass, Started: p.rec.Base().Format(time.RFC3339), Phase: verdict.Phase{Asked: "random"},
		Expect: verdict.Expect{Failover: &yes, Outcome: "failover " + p.old + " → " + p.new}, Faults: []verdict.Fault{f},
		Restarts: []verdict.Restart{{Node: p.old, By: "dapple", At: [2]float64{ms(p.revert) - 300, ms(p.revert) - 260}, Events: p.ev("restart")}}}
	m := &t.Metrics
	m.Detection = p.metric(p.effect, p.detect, "effect", "detect")
	m.Election = p.metric(p.detect, p.elect, "detect", "elect")
	m.Promotion = p.metric(p.elect, p.promote, "elect", "promote")
	m.Routing = p.metric(p.promote, p.firstAck, "promote", "first")
	m.RTO = p.metric(p.effect-8*time.Millisecond, p.firstAck, "effect", "first")
	m.Outage, m.FirstAck = m.RTO, p.metric(p.effect, p.firstAck, "effect", "first")
	m.Stable = p.metric(p.effect, p.firstAck+200*time.Millisecond, "effect", "first")
	m.Reasons = map[string]string{"full": "the window ended before goodput was back for 30 s", "fence_lag": "the old primary was proven dead throughout",
		"false_green": "no health check is declared", "false_red": "no health check is declared"}
	m.Rejoin = p.metric(p.revert, p.rejoin, "revert", "rejoin")
	m.Redundancy = p.metric(p.effect, p.redundant, "effect", "redundant")
	at := [2]float64{ms(p.effect) - 8, ms(p.firstAck)}
	m.Outages = []verdict.Outage{
		{Class: "app", Client: "app/2", LoMS: m.RTO.LoMS - 240, HiMS: m.RTO.HiMS, Events: p.ev("effect", "first"), At: at},
		{Class: "fresh", Client: "fresh", LoMS: m.RTO.LoMS - 30, HiMS: m.RTO.HiMS - 8, Events: p.ev("effect", "first"), At: at}}
	m.Loss = p.loss()
	m.SplitBrain = verdict.SplitBrain{ProvenAbsent: true, Reason: "every server process of " + p.old + " was dead until it followed the new lineage", Events: p.ev("effect", "revert")}
	m.EpochChanges, m.Tool = 1, verdict.Tool{ProbeStallMS: 3.2, ClockEpsMS: 0.02}
	m.Workload = p.workload()
	m.Expectation = map[string]verdict.Expected{
		"detection": {MinMS: 20000, MaxMS: 30500, Why: "ttl 30 s less the age of the lease (0 to loop_wait 10 s)", Class: "inside"},
		"election":  {MinMS: 5, MaxMS: 2000, Why: "one loop and one compare-and-swap", Class: "inside"},
		"promotion": {MinMS: 100, MaxMS: 3000, Class: "inside"},
		"routing":   {MinMS: 0, MaxMS: 2100, Why: "inter 1 s, rise 2", Class: "inside"},
		"rto":       {MinMS: 20100, MaxMS: 37600, Class: "inside"}}
	return t
}

func (p *player) loss() *verdict.Loss {
	l := &verdict.Loss{AtRisk: 198, LostIDs: []string{}}
	for _, c := range p.counts {
		l.Acked, l.Failed, l.Unknown = l.Acked+c.Acked, l.Failed+c.Failed, l.Unknown+c.Unknown
	}
	l.Recovered, l.Absent = l.Unknown/2, l.Unknown-l.Unknown/2
	for i, a := range []string{"A1", "A2", "A3"} {
		data, _ := json.Marshal(timeline.Audited{Acked: l.Acked, Unknown: l.Unknown, Recovered: l.Recovered, Absent: l.Absent, Failed: l.Failed, Rows: l.Acked + l.Recovered, TookMS: 41})
		node := []string{"", "", "pg3"}[i]
		l.Events = append(l.Events, p.emit(p.end-2*time.Second+time.Duration(i)*300*time.Millisecond, 41*time.Millisecond,
			timeline.Event{Kind: timeline.Audit, By: "engine", Node: node, Value: a, Data: data}))
	}
	return l
}

func (p *player) workload() verdict.Workload {
	w := verdict.Workload{Baseline: 250, BucketMS: ms(bucket)}
	for _, c := range p.counts[:int((p.end-3*time.Second)/bucket)] {
		w.Acked, w.Degraded = append(w.Acked, c.Acked), append(w.Degraded, c.Degraded)
		w.Failed, w.Unknown = append(w.Failed, c.Failed), append(w.Unknown, c.Unknown)
		w.P50, w.P99 = append(w.P50, c.P50ms), append(w.P99, c.P99ms)
	}
	return w
}

func killFault(s *script) verdict.Fault {
	return verdict.Fault{Kind: "kill", Node: s.old, Does: "SIGKILL to pid 4711 (patroni), the whole container", Proof: "pid 4711 is gone (pidfd), port 5432 refuses"}
}
