package clockskew

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/internal/procs"
	"github.com/dapple-drills/dapple/internal/vdso"
	"github.com/dapple-drills/dapple/targets"
)

// Effect looks into every process of the node, and has a witness run the code that
// answers them. A process that is not skewed yet gets a moment to be: it may have
// executed its program just now.
func (x *skewer) Effect(ctx context.Context, n targets.Node, s state) (held bool, proof string, err error) {
	ps, err := procs.Of(n)
	if err != nil {
		return false, "", err
	}
	for begin := time.Now(); ; {
		seen, open, err := x.look(ctx, n, ps, s)
		switch {
		case err != nil:
			return false, "", err
		case open == "" && len(seen) == 0:
			return false, "the node has no process", nil
		case open == "":
			return x.testify(ctx, s, seen)
		case !x.hold(n).isLive() || time.Since(begin) > x.patience:
			return false, open, nil
		}
		if err := wait(ctx, x.patience/40); err != nil {
			return false, "", err
		}
	}
}

// A subject is a process of which the code was read.
type subject struct {
	targets.Proc
	vdso.Sight
}

// look reads the code of every process; open says what is not as it should be.
func (x *skewer) look(ctx context.Context, n targets.Node, ps targets.Processes, s state) (seen []subject, open string, err error) {
	all, err := ps.Processes(ctx)
	if err != nil {
		return nil, "", err
	}
	for _, p := range all {
		sight, err := x.lookAt(ctx, n, p.ProcID)
		switch {
		case errors.Is(err, targets.ErrGone):
			continue
		case errors.Is(err, vdso.ErrNone):
			open = err.Error()
		case err != nil:
			return nil, "", fmt.Errorf("%v (%s): %w", p.ProcID, p.Name, err)
		case sight.State != vdso.Armed:
			open = fmt.Sprintf("its vDSO is %s", sight.State)
		case !s.same(sight.Skew):
			open = fmt.Sprintf("it has another skew: %+v", sight.Skew)
		}
		if open != "" {
			return nil, fmt.Sprintf("%v (%s) sees the true time: %s", p.ProcID, p.Name, open), nil
		}
		seen = append(seen, subject{p, sight})
	}
	return seen, "", nil
}

func (x *skewer) lookAt(ctx context.Context, n targets.Node, id targets.ProcID) (vdso.Sight, error) {
	c, err := x.ground.Open(ctx, n, id)
	if err != nil {
		return vdso.Sight{}, err
	}
	s, err := c.Look(ctx)
	return s, errors.Join(err, c.Close())
}

// testify has the code of every process run. Processes with the same code, byte by
// byte, are answered the same.
func (x *skewer) testify(ctx context.Context, s state, seen []subject) (held bool, proof string, err error) {
	answers := map[string][]vdso.Reading{} // by the code
	var wrong string
	var life span
	err = x.ground.Witness(ctx, func(run runner) error {
		for _, p := range seen {
			code := string(p.Image)
			if answers[code] == nil {
				got, why, err := x.tryOut(p.Sight, s, run)
				if err != nil {
					return err
				}
				if why != "" {
					wrong = fmt.Sprintf("%v (%s): %s", p.ProcID, p.Name, why)
					return nil
				}
				answers[code] = got
			}
			now, _, err := x.ground.Now()
			if err != nil {
				return err
			}
			life.add(time.Duration(p.Lease.Deadline - now))
		}
		return nil
	})
	if err != nil || wrong != "" {
		return false, wrong, err
	}
	return true, words(seen, answers, life), nil
}

// tryOut runs the code as it is, and, where that cannot tell the skew from the truth
// (in the right half of a strobe, at the beginning of a drift), as it will be later.
func (x *skewer) tryOut(p vdso.Sight, s state, run runner) (got []vdso.Reading, why string, err error) {
	for try := range 8 {
		var earlier time.Duration
		if try > 0 {
			now, _, err := x.ground.Now()
			if err != nil {
				return nil, "", err
			}
			earlier = s.later(p.Skew, now)
		}
		if got, why, err = x.compare(p, earlier, run); err != nil || why != "" || told(got) {
			return got, why, err
		}
	}
	return nil, "", fmt.Errorf("what it answers cannot be told from the truth: %v to %v from it, on a machine that is so busy", got[0].Lo, got[0].Hi)
}

// told says whether the answers that are exact to a microsecond are not the truth.
func told(got []vdso.Reading) bool {
	for _, r := range got[:2] {
		if r.Includes(0) {
			return false
		}
	}
	return true
}

// clearly is a drift that can be told from the truth however busy the machine is.
const clearly = 100 * time.Millisecond

// later is how much earlier a skew must have begun to be seen now.
func (s state) later(is vdso.Skew, now int64) (d time.Duration) {
	if s.PPM != 0 {
		d = time.Duration(float64(clearly) / s.size() * 1e6)
	}
	if s.Period > 0 {
		d = d.Truncate(2 * s.Period)
		if (now-is.T0)/int64(s.Period)&1 != 0 {
			d += s.Period
		}
	}
	return d
}

// A runner runs the code of a process, as if its skew had begun that much earlier.
type runner = func(p vdso.Sight, earlier time.Duration) ([]vdso.Reading, error)

// size is how fast it drifts, in parts per million.
func (s state) size() float64 { return max(s.PPM, -s.PPM) }

// compare runs the code, and compares the answers with what is to be expected.
func (x *skewer) compare(p vdso.Sight, earlier time.Duration, run runner) (got []vdso.Reading, why string, err error) {
	skew := p.Skew
	skew.T0 -= int64(earlier)
	before, _, err := x.ground.Now()
	if err != nil {
		return nil, "", err
	}
	if got, err = run(p, earlier); err != nil {
		return nil, "", err
	}
	after, _, err := x.ground.Now()
	if err != nil {
		return nil, "", err
	}
	if !p.Lease.Live(after) {
		return got, "its lease is over: it sees the true time", nil
	}
	for _, r := range got {
		from := before
		if r.Function == "time" {
			from -= int64(tick)
		}
		least, most := skew.Between(from, after)
		if r.Hi < least-tolerance || r.Lo > most+tolerance {
			return got, fmt.Sprintf("%s answers %v to %v from the true time, and should %v", r.Function, r.Lo, r.Hi, most), nil
		}
	}
	return got, "", nil
}

// tick is how far time(2) may be behind: it answers what the kernel's last tick noted
// (time(7): at most 10 ms; more where the tick of a virtual machine is held up), so that
// it is in the half of a strobe that was then.
const tick = 50 * time.Millisecond

// tolerance is for the last bit of divisions, and a clock that is adjusted meanwhile.
const tolerance = 2 * time.Microsecond

// A span is the least and the most of what was added.
type span struct {
	lo, hi time.Duration
	any    bool
}

func (s *span) add(d time.Duration) {
	if !s.any {
		s.lo, s.hi, s.any = d, d, true
	}
	s.lo, s.hi = min(s.lo, d), max(s.hi, d)
}

// words are the proof.
func words(seen []subject, answers map[string][]vdso.Reading, life span) string {
	list := make([]targets.Proc, len(seen))
	for i, p := range seen {
		list[i] = p.Proc
	}
	byFunction := map[string]*span{}
	var order []string
	for _, readings := range answers {
		for _, r := range readings {
			if byFunction[r.Function] == nil {
				byFunction[r.Function] = &span{}
				order = append(order, r.Function)
			}
			byFunction[r.Function].add(r.Lo)
			byFunction[r.Function].add(r.Hi)
		}
	}
	var parts []string
	for _, f := range order {
		parts = append(parts, fmt.Sprintf("%s %+.6fs to %+.6fs", f, byFunction[f].lo.Seconds(), byFunction[f].hi.Seconds()))
	}
	count := "1 process is skewed"
	if len(seen) > 1 {
		count = fmt.Sprintf("%d processes are skewed", len(seen))
	}
	return fmt.Sprintf("%s, read back by a witness that runs the code of each, against the kernel's clock: %s; the lease ends in %.1fs to %.1fs: %s",
		count, strings.Join(parts, ", "), life.lo.Seconds(), life.hi.Seconds(), procs.List(list))
}
