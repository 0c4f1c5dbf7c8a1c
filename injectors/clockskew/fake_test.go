package clockskew

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/dapple-drills/dapple/internal/vdso"
	"github.com/dapple-drills/dapple/targets"
)

// A fakeGround keeps the clock of each process as a file of a fake node.
type fakeGround struct {
	waits   map[string]int
	tracer  int
	foreign bool // every process was changed by somebody else
	bad     bool // the code that is there does not work
}

func (fakeGround) Able(context.Context, targets.Node) error { return nil }

func (g fakeGround) Open(_ context.Context, n targets.Node, id targets.ProcID) (clock, error) {
	return fakeClock{g, n, fmt.Sprintf("clock of pid %d", id.PID)}, nil
}

func (g fakeGround) Witness(_ context.Context, ask func(run runner) error) error {
	return ask(func(s vdso.Sight, earlier time.Duration) ([]vdso.Reading, error) {
		now, _, err := g.Now()
		s.Skew.T0 -= int64(earlier)
		d := s.Skew.At(now)
		if g.bad || !s.Lease.Live(now) {
			d = 0
		}
		exact := vdso.Reading{Lo: d - 10*time.Microsecond, Hi: d + 10*time.Microsecond}
		list := []vdso.Reading{exact, exact, exact}
		for i, f := range []string{"clock_gettime", "gettimeofday", "time"} {
			list[i].Function = f
		}
		return list, err
	})
}

func (g fakeGround) Waits(targets.Proc) (map[string]int, int, error) { return g.waits, g.tracer, nil }

func (fakeGround) Execs(context.Context, func(), func(int)) error { return targets.ErrUnsupported }

func (fakeGround) Near(int, map[int]bool) bool { return true }

func (fakeGround) Now() (int64, time.Duration, error) {
	return time.Now().UnixNano(), 37 * time.Second, nil
}

type fakeClock struct {
	g    fakeGround
	n    targets.Node
	file string
}

// written is what is in the file.
type written struct {
	Skew  vdso.Skew
	Lease vdso.Lease
}

func (c fakeClock) read(ctx context.Context) (w written, there bool, err error) {
	text, err := c.n.Exec(ctx, "read", c.file)
	if err != nil {
		if err.Error() == "read "+c.file+": no such file" {
			err = nil
		}
		return w, false, err
	}
	return w, true, json.Unmarshal(text, &w)
}

func (c fakeClock) write(ctx context.Context, w written) error {
	text, err := json.Marshal(w)
	if err != nil {
		return err
	}
	_, err = c.n.Exec(ctx, "write", c.file, string(text))
	return err
}

func (c fakeClock) Look(ctx context.Context) (vdso.Sight, error) {
	w, there, err := c.read(ctx)
	s := vdso.Sight{State: vdso.Untouched, Skew: w.Skew, Lease: w.Lease}
	if there {
		s.State = vdso.Armed
	}
	if c.g.foreign {
		s.State = vdso.Foreign
	}
	return s, err
}

func (c fakeClock) Jumps(ctx context.Context) (bool, error) {
	_, there, err := c.read(ctx)
	return there, err
}

func (c fakeClock) Arm(ctx context.Context, s vdso.Skew) error {
	return c.write(ctx, written{Skew: s})
}

func (c fakeClock) Begin(ctx context.Context, t0 int64, l vdso.Lease) error {
	w, _, err := c.read(ctx)
	if err != nil {
		return err
	}
	w.Skew.T0, w.Lease = t0, l
	return c.write(ctx, w)
}

func (c fakeClock) Renew(ctx context.Context, l vdso.Lease) error {
	w, _, err := c.read(ctx)
	if err != nil {
		return err
	}
	w.Lease = l
	return c.write(ctx, w)
}

func (c fakeClock) Disarm(ctx context.Context) error {
	_, err := c.n.Exec(ctx, "remove", c.file)
	return err
}

func (fakeClock) Close() error { return nil }
