package selftest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/injectors/agent"
	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/targets"
)

// A tamper breaks the pipeline on purpose.
type tamper struct {
	// event changes what clients and probes emit; keep says whether they do.
	event  func(lo, hi time.Time, e timeline.Event) (l, h time.Time, keep bool)
	ledger func(*system) probes.Ledger // what the audits read
	holder func(drills.Holder) drills.Holder
}

// A control is a broken pipeline, a case that shows it, and the metric which must
// be found wrong.
type control struct {
	name   string
	seed   uint64
	metric string
	by     time.Duration // the metric is wrong by so much; 0: it is a count
	tamper tamper
}

// shows says whether a reading was fine enough to be found wrong by as much as the
// control is.
func (c control) shows(r Reading) bool {
	return r.width()+r.Truth[1]-r.Truth[0] <= timeline.MS(c.by)
}

func controlOf(name string) (control, error) {
	all := controls()
	i := slices.IndexFunc(all, func(c control) bool { return c.name == name })
	if i < 0 {
		return control{}, fmt.Errorf("there is no control %q", name)
	}
	return all[i], nil
}

// controls are the broken pipelines.
func controls() []control {
	return []control{
		{"direct writes are told early", 0, "promotion", 200 * time.Millisecond, tamper{event: shifted("direct/", -200*time.Millisecond)}},
		{"recovery is told early", 2, "outage", 120 * time.Millisecond, tamper{event: earlyRecovery(120 * time.Millisecond)}},
		{"old sessions are not watched", 51, "split_brain", 0, tamper{event: without("old/")}},
		{"the health check is told early", 7, "false_green", 600 * time.Millisecond, tamper{event: shifted("health/", -600*time.Millisecond)}},
		{"the effect is dated late", 0, "effect", 30 * time.Millisecond, tamper{holder: func(h drills.Holder) drills.Holder { return lateHolder{h} }}},
		{"an audit skips what it misses", 4, "lost", 0, tamper{ledger: func(s *system) probes.Ledger { return blind{s} }}},
		{"an audit misses what is there", 14, "lost", 0, tamper{ledger: func(s *system) probes.Ledger { return forgetful{s} }}},
		{"an audit sees each id once", 11, "duplicate", 0, tamper{ledger: func(s *system) probes.Ledger { return single{s} }}},
	}
}

type eventTamper = func(lo, hi time.Time, e timeline.Event) (time.Time, time.Time, bool)

// shifted moves the events of some streams.
func shifted(prefix string, d time.Duration) eventTamper {
	return func(lo, hi time.Time, e timeline.Event) (time.Time, time.Time, bool) {
		if strings.HasPrefix(e.By, prefix) {
			return lo.Add(d), hi.Add(d), true
		}
		return lo, hi, true
	}
}

// earlyRecovery tells what the new primary acknowledged too early.
func earlyRecovery(d time.Duration) eventTamper {
	return func(lo, hi time.Time, e timeline.Event) (time.Time, time.Time, bool) {
		if e.Kind == timeline.Write && e.Node == nodeB {
			return lo.Add(-d), hi.Add(-d), true
		}
		return lo, hi, true
	}
}

// without leaves the events of some streams out.
func without(prefix string) eventTamper {
	return func(lo, hi time.Time, e timeline.Event) (time.Time, time.Time, bool) {
		return lo, hi, !strings.HasPrefix(e.By, prefix)
	}
}

// emit is emit with what was tampered with.
func (t tamper) emit(emit timeline.Emit) timeline.Emit {
	if t.event == nil {
		return emit
	}
	return func(lo, hi time.Time, e timeline.Event) int {
		lo, hi, keep := t.event(lo, hi, e)
		if !keep {
			return -1
		}
		return emit(lo, hi, e)
	}
}

// A tamperedWorkload emits something else than it should.
type tamperedWorkload struct {
	drills.Workload
	t tamper
}

func (w tamperedWorkload) Start(ctx context.Context, emit timeline.Emit) error {
	return w.Workload.Start(ctx, w.t.emit(emit))
}

// A tamperedProbe does as well.
type tamperedProbe struct {
	probes.Probe
	t tamper
}

func (p tamperedProbe) Watch(ctx context.Context, emit timeline.Emit) error {
	return p.Probe.Watch(ctx, p.t.emit(emit))
}

// A lateHolder dates the effect of a fault 30 ms late.
type lateHolder struct{ drills.Holder }

func (h lateHolder) Inject(ctx context.Context, key string, n targets.Spec, f injectors.Fault) (agent.Held, error) {
	held, err := h.Holder.Inject(ctx, key, n, f)
	held.Effect.Lo, held.Effect.Hi = held.Effect.Lo.Add(30*time.Millisecond), held.Effect.Hi.Add(30*time.Millisecond)
	return held, err
}

// blind audits take for there what was acknowledged.
type blind struct{ *system }

func (b blind) IDs(ctx context.Context, n targets.Node, run string, c probes.Chunk, see func(uint64)) error {
	seen := map[uint64]bool{}
	err := b.system.IDs(ctx, n, run, c, func(seq uint64) { seen[seq] = true; see(seq) })
	for _, i := range b.acked() {
		if i.client == c.Client && i.seq>>probes.ChunkBits == c.No && !seen[i.seq] {
			see(i.seq)
		}
	}
	return err
}

// forgetful audits overlook one id.
type forgetful struct{ *system }

func (f forgetful) Digests(context.Context, targets.Node, string) ([]probes.Digest, error) {
	return nil, nil // every chunk is looked at
}

func (f forgetful) IDs(ctx context.Context, n targets.Node, run string, c probes.Chunk, see func(uint64)) error {
	return f.system.IDs(ctx, n, run, c, func(seq uint64) {
		if c.Client != 0 || seq != 7 {
			see(seq)
		}
	})
}

// single audits see an id that is there twice once.
type single struct{ *system }

func (s single) IDs(ctx context.Context, n targets.Node, run string, c probes.Chunk, see func(uint64)) error {
	seen := map[uint64]bool{}
	return s.system.IDs(ctx, n, run, c, func(seq uint64) {
		if !seen[seq] {
			seen[seq] = true
			see(seq)
		}
	})
}
