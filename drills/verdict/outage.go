package verdict

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
)

// together is how close outages are to be one for the RTO (measurement rules,
// "Metrics").
const together = 30 * time.Second

// leastHang is the shortest time without any answer that counts as an outage if
// every request was answered in the end. Below it a slow answer is not told from
// the hiccups of a healthy system.
const leastHang = 50 * time.Millisecond

// An op is one write of a client stream as the outage sees it.
type op struct {
	inv, ret time.Duration // of a success inv is at most the usual time before ret
	sent     time.Duration // the earliest at which a success may have been served
	away     time.Duration // of a failure: when it was really sent
	served   bool
	waited   bool // it stands for a request that was answered, but only after waiting
	e        timeline.Event
	row      int           // which run of the stream it is of
	gap      time.Duration // the longest between two of that run
}

// A cover is a time in which successes came so densely that service was away
// for at most gap at once.
type cover struct{ lo, hi, gap time.Duration }

// A clientView is what one client stream saw.
type clientView struct {
	by, class string
	outages   []outage
	densest   time.Duration // the longest gap within a row of successes
	gapEvents []int
	hiccups   []outage // too short to be outages
}

// An outage is one time without service for one stream.
type outage struct {
	took     timeline.Interval // how long
	span     timeline.Interval // from the last success before to the first after
	sure     timeline.Interval // in the midst of it: for took.Lo
	events   []int
	censored bool
	why      string        // it was censored
	after    *op           // the first success after, if there is one
	failed   time.Duration // the last request that was surely not served was sent then
}

// view reads the outages of one client stream.
func (j *judge) view(by string) clientView {
	v := clientView{by: by, class: clientClass(by)}
	served, failed, covers := j.ops(by, &v)
	for _, group := range groups(failed, served, covers) {
		o := j.outageOf(group, served, covers)
		onlyWaited := !slices.ContainsFunc(group.ops, func(x op) bool { return !x.waited })
		switch {
		case o.span.Hi < j.from.at.Lo:
		case onlyWaited && o.took.Lo < leastHang:
			v.hiccups = append(v.hiccups, o)
		default:
			v.outages = append(v.outages, o)
		}
	}
	j.isolated(&v, failed, covers)
	j.silence(&v, served, failed)
	slices.SortFunc(v.outages, func(a, b outage) int { return cmp.Compare(a.span.Lo, b.span.Lo) })
	return v
}

// ops are the writes of a stream, by the time at which they were sent. A success
// that waited far longer than usual is two: a request that was not served when
// it was sent and not until answers began to come, and a success at its answer.
func (j *judge) ops(by string, v *clientView) (served, failed []op, covers []cover) {
	usual := j.usualLatency(by)
	for i, r := range j.writes(by) {
		ok := success(r.value())
		for _, e := range r.events() {
			x := op{inv: e.At.Lo, ret: e.At.Hi, sent: e.At.Lo, served: ok, e: e, row: i, gap: r.gap}
			if !ok {
				x.away = e.At.Lo + late(e)
				failed = append(failed, x)
				continue
			}
			x.inv = max(x.inv, x.ret-usual.most)
			if j.waited(e, usual) {
				x.sent = x.inv
				still := max(e.At.Lo, r.first.At.Hi-usual.most) // nothing of the run had come back then
				failed = append(failed, op{inv: e.At.Lo, ret: still, away: min(e.At.Lo+late(e), still), waited: true, e: e},
					op{inv: still, ret: still, away: still, waited: true, e: e})
			}
			served = append(served, x)
		}
		if ok && r.n > 1 {
			covers = append(covers, cover{max(r.first.At.Lo, r.first.At.Hi-usual.most), r.latest.At.Lo, r.gap})
			if r.latest.At.Lo >= j.from.at.Lo && r.gap > v.densest {
				v.densest, v.gapEvents = r.gap, of(r.first, r.latest)
			}
		}
	}
	byInv := func(a, b op) int {
		return cmp.Or(cmp.Compare(a.inv, b.inv), cmp.Compare(a.ret, b.ret), cmp.Compare(a.e.I, b.e.I))
	}
	if gap, events := between(j.writes(by), j.from.at.Lo); gap > v.densest {
		v.densest, v.gapEvents = gap, events
	}
	slices.SortFunc(served, byInv)
	slices.SortFunc(failed, byInv)
	return served, failed, covers
}

// waited says whether a success took so much longer than usual that it waited for
// the system. What the runner itself was late by, or held up meanwhile, is not the
// system's, nor is what it took to work off afterwards what had come due: up to as
// long as it had been held up.
func (j *judge) waited(e timeline.Event, usual latencies) bool {
	at := timeline.Interval{Lo: e.At.Lo + late(e), Hi: e.At.Hi}
	took := at.Width()
	if took <= usual.limit {
		return false
	}
	return took-j.excused(at) > usual.limit
}

// latencies are what successes of a stream usually take: hardly any more than
// most; beyond limit they waited for something.
type latencies struct{ most, limit time.Duration }

// usualLatency is taken from before the fault: from the counts where there are
// any, else from what the timeline holds of the stream's successes.
func (j *judge) usualLatency(by string) latencies {
	if p50, p99, ok := j.usualCounts(); ok {
		return latencies{p99, max(4*p50, p99+timeline.Pause)}
	}
	var before, all []time.Duration
	for _, r := range j.writes(by) {
		if !success(r.value()) {
			continue
		}
		for _, e := range r.events() {
			all = append(all, e.At.Width())
			if e.At.Hi <= j.from.at.Lo {
				before = append(before, e.At.Width())
			}
		}
	}
	if len(before) == 0 {
		before = all
	}
	if len(before) == 0 {
		return latencies{}
	}
	slices.Sort(before)
	median := before[len(before)/2]
	l := latencies{limit: max(4*median, median+timeline.Pause)}
	for _, d := range before {
		if d <= l.limit {
			l.most = d
		}
	}
	return l
}

// A group is failures between which no success was: one outage.
type group struct {
	ops   []op
	steps []step
}

// A step is from one failure to the next with certainly no success in between.
type step struct{ from, to time.Duration }

// groups splits the failures of a stream into outages. A success separates two
// failures if it was sent after the first of the group and had returned when the
// other was sent: then a request was served in between. Failures within a time
// of dense success are no group: see isolated.
func groups(failed, served []op, covers []cover) []group {
	var out []group
	var amid op // the last failure that was covered
	for _, f := range failed {
		if covered(f.inv, covers) != nil {
			amid = f
			continue
		}
		n := len(out)
		if n == 0 || separated(out[n-1].ops[0].inv, f.inv, served) {
			out = append(out, begin(amid, f, served))
			continue
		}
		out[n-1].add(f, served, covers)
	}
	return out
}

// begin makes a group of f. Where an earlier failure of its run was amid successes
// (at the beginning of an outage some requests overtake others), the group begins
// with the next one after these, which came within the gap of the run.
func begin(amid, f op, served []op) group {
	if amid.e.Kind != "" && amid.row == f.row && !f.waited {
		if from := lastServed(amid.inv, f.inv, served) + f.gap; from < f.inv {
			first := f
			first.inv, first.ret, first.away = from, from, from
			return group{ops: []op{first, f}, steps: []step{{from, f.inv}}}
		}
	}
	return group{ops: []op{f}}
}

// add adds a failure, and the step to it from the one before. A row of steps begins
// when its first request was really sent. Where requests that were served were sent in
// between, it begins after them, as in begin.
func (g *group) add(f op, served []op, covers []cover) {
	last := g.ops[len(g.ops)-1]
	from := last.inv
	if n := len(g.steps); n == 0 || g.steps[n-1].to != last.inv {
		from = last.away
	}
	if maybeServed(last.inv, f.inv, served, covers) {
		from = f.inv
		if f.row == last.row && f.gap > 0 && !f.waited && !last.waited {
			from = lastServed(last.inv, f.inv, served) + f.gap
		}
	}
	if from < f.inv {
		g.steps = append(g.steps, step{from, f.inv})
	}
	g.ops = append(g.ops, f)
}

// lastServed is when the last of the successes that were sent between two failures
// came back.
func lastServed(a, b time.Duration, served []op) time.Duration {
	last := a
	for _, s := range served {
		if s.inv > a && s.inv < b {
			last = max(last, s.ret)
		}
	}
	return last
}

func covered(t time.Duration, covers []cover) *cover {
	for i := range covers {
		if c := &covers[i]; c.lo < t && t < c.hi {
			return c
		}
	}
	return nil
}

func separated(a, b time.Duration, served []op) bool {
	from, _ := slices.BinarySearchFunc(served, a, func(x op, t time.Duration) int { return cmp.Compare(x.inv, t+1) })
	for _, s := range served[from:] {
		if s.inv >= b {
			return false
		}
		if s.ret <= b {
			return true
		}
	}
	return false
}

// maybeServed says whether a success may have been sent between two failures.
func maybeServed(a, b time.Duration, served []op, covers []cover) bool {
	from, _ := slices.BinarySearchFunc(served, a, func(x op, t time.Duration) int { return cmp.Compare(x.inv, t+1) })
	if from < len(served) && served[from].inv < b {
		return true
	}
	return slices.ContainsFunc(covers, func(c cover) bool { return c.lo < b && c.hi > a })
}

// outageOf bounds one outage by the rules of "Metrics": at most from the sending
// of the last success before to the return of the first after; at least from the
// first request that was not served to the last.
func (j *judge) outageOf(g group, served []op, covers []cover) outage {
	first, last := g.ops[0], g.ops[len(g.ops)-1]
	o := outage{events: of(first.e, last.e), failed: last.inv}
	o.span = timeline.Interval{Lo: min(0, first.inv), Hi: max(j.end, last.inv)}
	after, _ := slices.BinarySearchFunc(served, first.inv, func(x op, t time.Duration) int { return cmp.Compare(x.inv, t) })
	if after > 0 {
		before := served[after-1]
		o.span.Lo = min(before.sent, first.inv)
		o.events = append(o.events, before.e.I)
	}
	for _, c := range covers { // of a row of successes only the ends are known, and how dense it was
		if c.lo < first.inv {
			o.span.Lo = min(first.inv, max(o.span.Lo, min(c.hi, first.inv)-c.gap))
		}
	}
	for i := range served[after:] {
		s := &served[after+i]
		if o.after == nil || s.ret < o.after.ret {
			o.after = s
		}
	}
	until := time.Duration(math.MaxInt64)
	switch {
	case o.after == nil:
		o.censored, o.why = true, "it was still open at the end of the window"
	default:
		o.span.Hi = o.after.ret
		o.events = append(o.events, o.after.e.I)
		if r, ok := j.restoredBy(o, first.inv); ok {
			o.censored, o.why = true, "service came back after our own "+said(r)
			o.events = append(o.events, r.I)
			until = r.At.Lo
		}
	}
	o.took = timeline.Interval{Lo: min(proven(g.steps, until), o.span.Width()), Hi: o.span.Width()}
	j.widen(&o, first.away, last.inv)
	slack := (last.inv - first.away - o.took.Lo) / 2
	o.sure = timeline.Interval{Lo: first.away + slack, Hi: last.inv - slack}
	return o
}

// proven is the sum of the steps before t.
func proven(steps []step, t time.Duration) time.Duration {
	var sum time.Duration
	for _, s := range steps {
		sum += max(0, min(s.to, t)-s.from)
	}
	return sum
}

// isolated adds failures in the midst of dense successes, each run of them as an
// outage of at most the longest gap between those. One beside another outage is
// of that: it lies within its uncertainty.
func (j *judge) isolated(v *clientView, failed []op, covers []cover) {
	var last *outage
	for _, f := range failed {
		c := covered(f.inv, covers)
		if c == nil || f.waited || f.ret < j.from.at.Lo {
			continue
		}
		at := timeline.Interval{Lo: f.inv - c.gap, Hi: f.inv + c.gap}
		beside := func(o outage) bool { return at.Lo <= o.span.Hi && at.Hi >= o.span.Lo }
		if last != nil && beside(*last) || slices.ContainsFunc(v.outages, beside) {
			continue
		}
		v.outages = append(v.outages, outage{took: timeline.Interval{Hi: c.gap}, span: at, events: of(f.e), after: &op{inv: f.inv, ret: at.Hi, served: true}})
		last = &v.outages[len(v.outages)-1]
	}
}

// silence adds what lies between the last sign of a stream and the end of the
// window, if the stream fell silent: nobody knows how it fared.
func (j *judge) silence(v *clientView, served, failed []op) {
	var last op
	for _, list := range [][]op{served, failed} {
		if n := len(list); n > 0 && list[n-1].e.At.Hi > last.e.At.Hi {
			last = list[n-1]
		}
	}
	quiet := j.sent - last.e.At.Hi
	if last.e.Kind == "" || !last.served || quiet <= max(time.Second, 4*v.densest) {
		return
	}
	span := timeline.Interval{Lo: last.sent, Hi: max(j.end, j.sent)}
	v.outages = append(v.outages, outage{
		took: timeline.Interval{Hi: span.Width()}, span: span, events: of(last.e), censored: true,
		why: "the stream fell silent: nobody knows how it fared",
	})
}
