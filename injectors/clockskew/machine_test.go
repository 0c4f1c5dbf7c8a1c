package clockskew

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/injectors/injectortest"
	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/faketarget"
)

// A fakeMachine keeps the clock of a machine, and the service that keeps it right, as
// files of a fake node.
type fakeMachine struct {
	elsewhere map[string]bool // nodes of other machines
}

const (
	clockFile = "clock"
	unitFile  = "chrony.service"
	runs      = "runs"
	base      = 1000 * time.Hour
)

func (m fakeMachine) Able(_ context.Context, n targets.Node) error {
	if _, ok := n.(targets.Processes); !ok || m.elsewhere[n.Name()] {
		return targets.ErrUnsupported
	}
	return nil
}

func (fakeMachine) Offset(ctx context.Context, n targets.Node) (offset, slack time.Duration, err error) {
	text, err := n.Exec(ctx, "read", clockFile)
	if err != nil {
		return 0, 0, err
	}
	ns, err := strconv.ParseInt(string(text), 10, 64)
	return time.Duration(ns), time.Microsecond, err
}

func (m fakeMachine) Step(ctx context.Context, n targets.Node, by time.Duration) error {
	now, _, err := m.Offset(ctx, n)
	if err != nil {
		return err
	}
	return write(ctx, n, clockFile, strconv.FormatInt(int64(now+by), 10))
}

func (fakeMachine) Keeping(ctx context.Context, n targets.Node) ([]string, error) {
	text, err := n.Exec(ctx, "read", unitFile)
	if err != nil || string(text) != runs {
		return nil, err
	}
	return []string{unitFile}, nil
}

func (fakeMachine) Stop(ctx context.Context, n targets.Node, unit string) error {
	return write(ctx, n, unit, "stopped")
}

func (fakeMachine) Start(ctx context.Context, n targets.Node, unit string) error {
	return write(ctx, n, unit, runs)
}

func write(ctx context.Context, n targets.Node, file, text string) error {
	_, err := n.Exec(ctx, "write", file, text)
	return err
}

// kept is a node on a machine whose clock is kept by a service.
func kept(name string) *faketarget.Node {
	n := faketarget.Patroni(name)
	for file, text := range map[string]string{clockFile: strconv.FormatInt(int64(base), 10), unitFile: runs} {
		if err := write(context.Background(), n, file, text); err != nil {
			panic(err) // it is in memory
		}
	}
	return n
}

func ofMachine(p Params, m fakeMachine) either {
	return either{onFake(p, fakeGround{}), &setter{m, m}}
}

func hour(t *testing.T) Params {
	t.Helper()
	p, err := made(`{"offset": "-1h", "of": "host"}`)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestTheClockOfAMachineKeepsTheLaws(t *testing.T) {
	p := hour(t)
	injectortest.Case{
		New:    func() injectors.Injector { return injectors.Of(kind, ofMachine(p, fakeMachine{})) },
		Reopen: func() injectors.Injector { return injectors.Of(kind, ofMachine(Params{}, fakeMachine{})) },
		Node:   func() *faketarget.Node { return kept("pg1") },
	}.Run(t)
}

func TestTheClockOfAMachineIsRefusedWhereItWouldHitOthersOrNobodyAllowedIt(t *testing.T) {
	x := ofMachine(hour(t), fakeMachine{elsewhere: map[string]bool{"far": true}})
	near, far := targets.Node(kept("near")), targets.Node(kept("far"))
	for name, c := range map[string]struct {
		aim  injectors.Aim
		says string
		hint string
	}{
		"nobody allowed it": {injectors.Aim{On: []targets.Node{near}}, "whole machine", "--allow-host-clock"},
		"two nodes":         {injectors.Aim{On: []targets.Node{near, far}, HostClock: true}, "one clock", ""},
		"another machine":   {injectors.Aim{On: []targets.Node{far}, HostClock: true}, "node far", ""},
		"a neighbour":       {injectors.Aim{On: []targets.Node{near}, Peers: []targets.Node{kept("other")}, HostClock: true}, "on the same machine as node near", "of: processes"},
	} {
		_, err := x.Plan(t.Context(), c.aim)
		if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(strings.Join(diag.Hints(err), " "), c.hint) {
			t.Errorf("%s: %v, hints %v", name, err, diag.Hints(err))
		}
	}
	if steps, err := x.Plan(t.Context(), injectors.Aim{On: []targets.Node{near}, Peers: []targets.Node{far}, HostClock: true}); err != nil || len(steps) != 1 {
		t.Errorf("beside a node of another machine: %v, %v", steps, err)
	}
	for with, says := range map[string]string{
		`{"offset": "+1h", "drift": "5ppm", "of": "host"}`: "an offset alone",
		`{"offset": "+1h", "strobe": "1s", "of": "host"}`:  "an offset alone",
		`{"offset": "+1ms", "of": "host"}`:                 "least offset is 1s",
	} {
		if _, err := made(with); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", with, err, says)
		}
	}
}

// wrong is a machine whose clock was set wrong by the fault, as a later process has
// it from the record.
func wrong(t *testing.T) (*faketarget.Node, injectors.Fault) {
	t.Helper()
	n := kept("pg1")
	faults, err := injectors.Of(kind, ofMachine(hour(t), fakeMachine{})).Plan(t.Context(), injectors.Aim{On: []targets.Node{n}, HostClock: true})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(faults[0].Does, "meanwhile stopped") || !strings.Contains(faults[0].Undo, "systemctl start "+unitFile) {
		t.Errorf("it says %q and %q", faults[0].Does, faults[0].Undo)
	}
	if err := injectors.Of(kind, ofMachine(Params{}, fakeMachine{})).Inject(t.Context(), n, faults[0]); err != nil {
		t.Fatal(err)
	}
	return n, faults[0]
}

func TestAClockThatSomebodySetMeanwhileIsNoEffectAndIsSetRight(t *testing.T) {
	for what, meddle := range map[string]func(n *faketarget.Node) error{
		"it was set right": func(n *faketarget.Node) error { return fakeMachine{}.Step(t.Context(), n, time.Hour) },
		"it was set":       func(n *faketarget.Node) error { return fakeMachine{}.Step(t.Context(), n, 7*time.Second) },
		"it is kept again": func(n *faketarget.Node) error { return fakeMachine{}.Start(t.Context(), n, unitFile) },
	} {
		n, f := wrong(t)
		inj := injectors.Of(kind, ofMachine(Params{}, fakeMachine{}))
		if held, proof, err := inj.Effect(t.Context(), n, f); !held || err != nil || !strings.Contains(proof, "-3600.000s") {
			t.Errorf("before %s: %v, %q, %v", what, held, proof, err)
		}
		if err := meddle(n); err != nil {
			t.Fatal(err)
		}
		if held, proof, err := inj.Effect(t.Context(), n, f); held || err != nil {
			t.Errorf("%s: it holds by %q, %v", what, proof, err)
		}
		if err := inj.Revert(t.Context(), n, f); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if got := n.Snapshot().Files; got[clockFile] != strconv.FormatInt(int64(base), 10) || got[unitFile] != runs {
			t.Errorf("%s: after it, %v", what, got)
		}
	}
}

// A stubborn machine does not let its clock be set.
type stubborn struct{ fakeMachine }

func (stubborn) Step(context.Context, targets.Node, time.Duration) error {
	return errors.New("no such luck")
}

func TestWhoKeepsTheClockIsStartedAlsoIfItCannotBeSetRight(t *testing.T) {
	n, f := wrong(t)
	var s state
	if err := json.Unmarshal(f.State, &s); err != nil {
		t.Fatal(err)
	}
	x := &setter{stubborn{}, fakeMachine{}}
	if err := x.revert(t.Context(), n, s); err == nil || !strings.Contains(err.Error(), "no such luck") {
		t.Errorf("it reverted with %v", err)
	}
	if got := n.Snapshot().Files[unitFile]; got != runs {
		t.Errorf("the service is %s", got)
	}
	if ok, proof, err := x.reverted(t.Context(), n, s); ok || err != nil {
		t.Errorf("it is said to be reverted: %q, %v", proof, err)
	}
}
