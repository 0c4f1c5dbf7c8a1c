package clockskew

import (
	"encoding"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/injectors/injectortest"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/faketarget"
)

// made makes the parameters as a scenario does: each value from its text.
func made(with string) (p Params, err error) {
	var raw map[string]string
	if err := json.Unmarshal([]byte(with), &raw); err != nil {
		return p, err
	}
	into := map[string]encoding.TextUnmarshaler{"offset": &p.Offset, "drift": &p.Drift, "strobe": &p.Strobe, "of": &p.Of}
	for key, text := range raw {
		if err := into[key].UnmarshalText([]byte(text)); err != nil {
			return p, err
		}
	}
	return p, p.check()
}

func onFake(p Params, g fakeGround) *skewer {
	x := newSkewer(p, g)
	x.patience = 20 * time.Millisecond
	return x
}

func TestClockskewKeepsTheLawsInEveryVariant(t *testing.T) {
	for _, with := range []string{
		`{"offset": "+60s"}`,
		`{"offset": "-60s"}`,
		`{"drift": "200ppm"}`,
		`{"offset": "+1h", "drift": "-5%"}`,
		`{"offset": "+2s", "strobe": "10s"}`,
		`{"offset": "+2s", "strobe": "1h", "drift": "1ppm"}`,
	} {
		t.Run(with, func(t *testing.T) {
			t.Parallel()
			p, err := made(with)
			if err != nil {
				t.Fatal(err)
			}
			injectortest.Case{
				New:    func() injectors.Injector { return injectors.Of(kind, onFake(p, fakeGround{})) },
				Reopen: func() injectors.Injector { return injectors.Of(kind, onFake(Params{}, fakeGround{})) },
				Node:   func() *faketarget.Node { return faketarget.Patroni("pg1") },
			}.Run(t)
		})
	}
}

func TestWhatCannotBeIsRefusedBeforeAnythingIsTouched(t *testing.T) {
	for with, says := range map[string]string{
		`{}`:                                    "neither offset",
		`{"offset": "60"}`:                      "write 60s",
		`{"offset": "soon"}`:                    "+60s",
		`{"offset": "0s"}`:                      "the least",
		`{"offset": "600000h"}`:                 "50 years",
		`{"drift": "200"}`:                      "200ppm",
		`{"drift": "NaNppm"}`:                   "no drift",
		`{"drift": "-100%"}`:                    "90%",
		`{"drift": "0.1ppm"}`:                   "1 ppm",
		`{"strobe": "2s", "drift": "5ppm"}`:     "needs an offset",
		`{"strobe": "-2s", "offset": "+1s"}`:    "100ms",
		`{"strobe": "1ms", "offset": "+1s"}`:    "100ms",
		`{"offset": "+1s", "of": "everything"}`: "processes",
	} {
		if _, err := made(with); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", with, err, says)
		}
	}
}

func planned(t *testing.T, x *skewer, n targets.Node) (injectors.Step[state], error) {
	t.Helper()
	steps, err := x.Plan(t.Context(), injectors.Aim{On: []targets.Node{n}})
	if err != nil {
		return injectors.Step[state]{}, err
	}
	return steps[0], nil
}

func minute(t *testing.T) Params {
	t.Helper()
	p, err := made(`{"offset": "+60s"}`)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestWhatCannotOrMustNotBeSkewedIsRefusedWithTheReason(t *testing.T) {
	down := faketarget.Patroni("pg1")
	if err := down.Fence(t.Context()); err != nil {
		t.Fatal(err)
	}
	skewed := faketarget.Patroni("pg1")
	other := onFake(minute(t), fakeGround{})
	step, err := planned(t, other, skewed)
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Inject(t.Context(), skewed, step.State); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		node  targets.Node
		g     ground
		says  string
		lacks bool
	}{
		"down":      {down, fakeGround{}, "does not run", false},
		"skewed":    {skewed, fakeGround{}, "skewed already", false},
		"traced":    {faketarget.Patroni("pg1"), fakeGround{tracer: 4711}, "pid 4711", true},
		"foreign":   {faketarget.Patroni("pg1"), fakeGround{foreign: true}, "somebody else", true},
		"elsewhere": {faketarget.Patroni("pg1"), kernelGround{}, "", true},
	} {
		x := newSkewer(minute(t), c.g)
		_, err := planned(t, x, c.node)
		if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "node pg1") || errors.Is(err, targets.ErrUnsupported) != c.lacks {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := newSkewer(minute(t), fakeGround{}).Plan(t.Context(), injectors.Aim{}); err == nil {
		t.Error("planned for no node")
	}
}

func TestThePlanTellsOfWaitsThatTheKernelJudges(t *testing.T) {
	for with, says := range map[string]string{`{"offset": "+60s"}`: "end late", `{"offset": "-60s"}`: "end at once"} {
		p, err := made(with)
		if err != nil {
			t.Fatal(err)
		}
		step, err := planned(t, onFake(p, fakeGround{waits: map[string]int{"futex": 2}}), faketarget.Patroni("pg1"))
		if err != nil || !strings.Contains(step.Does, says) || !strings.Contains(step.Does, "12 by futex") {
			t.Errorf("%s, %v", step.Does, err)
		}
	}
}

func TestCodeThatIsThereAndDoesNotWorkIsNoEffect(t *testing.T) {
	n := faketarget.Patroni("pg1")
	x := onFake(minute(t), fakeGround{bad: true})
	step, err := planned(t, x, n)
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Inject(t.Context(), n, step.State); err != nil {
		t.Fatal(err)
	}
	held, proof, err := x.Effect(t.Context(), n, step.State)
	if held || err != nil || !strings.Contains(proof, "and should") {
		t.Error(held, proof, err)
	}
}

func TestALeaseThatRanOutIsAHole(t *testing.T) {
	n := faketarget.Patroni("pg1")
	x := onFake(minute(t), fakeGround{})
	step, err := planned(t, x, n)
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Renew(t.Context(), n, step.State, time.Nanosecond); err != nil { // before Inject
		t.Fatal(err)
	}
	if err := x.Inject(t.Context(), n, step.State); err != nil {
		t.Fatal(err)
	}
	if held, proof, err := x.Effect(t.Context(), n, step.State); held || err != nil || !strings.Contains(proof, "lease is over") {
		t.Error(held, proof, err)
	}
	if err := x.Renew(t.Context(), n, step.State, time.Minute); err == nil || !strings.Contains(err.Error(), "ran out") {
		t.Errorf("renewed too late: %v", err)
	}
	if err := x.Renew(t.Context(), n, step.State, time.Minute); err != nil {
		t.Error(err)
	}
}
