package clockskew

import (
	"context"
	"testing"
	"time"
)

func TestARealProgramAndItsChildrenSeeTheWrongTimeAndThenTheRightOne(t *testing.T) {
	victim := built(t)
	for with, want := range map[string]time.Duration{`{"offset": "+60s"}`: time.Minute, `{"offset": "-60s"}`: -time.Minute} {
		t.Run(with, func(t *testing.T) {
			n := newChild(t, victim, "4")
			if line := n.line(); line != "ready\n" {
				t.Fatal(line)
			}
			h := skewed(t, n, with, 5*time.Second)
			n.ask("read").sees(t, want)
			n.ask("fork").sees(t, want)
			h.reverted()
			n.ask("read").sees(t, 0)
			n.ask("fork").sees(t, 0)
		})
	}
}

// A program that is executed while the fault is held: it may see the true time for a
// moment, and then no more.
func TestAProgramThatIsExecutedLaterIsSkewedToo(t *testing.T) {
	victim := built(t)
	n := newChild(t, "sh", "-c", "read go; "+victim+" 2")
	h := skewed(t, n, `{"offset": "+1h"}`, 5*time.Second)
	begin := time.Now()
	if _, err := n.in.Write([]byte("go\n")); err != nil {
		t.Fatal(err)
	}
	if line := n.line(); line != "ready\n" {
		t.Fatal(line)
	}
	until(t, "it is skewed", func() (bool, error) { return n.ask("read").Realtime[0] > int64(time.Minute), nil })
	t.Logf("skewed %v after it was asked for", time.Since(begin).Round(10*time.Microsecond))
	if ok, proof, err := h.inj.Effect(t.Context(), n, h.f); !ok || err != nil {
		t.Error(proof, err)
	}
	n.ask("read").sees(t, time.Hour)
	h.reverted()
	n.ask("read").sees(t, 0)
}

// Nobody renews, and nobody takes it back.
func TestWithoutItsHolderTheTrueTimeComesBackWithTheLease(t *testing.T) {
	n := newChild(t, built(t), "2")
	n.line()
	const lease = time.Second
	p := minute(t)
	x := newSkewer(p, kernelGround{})
	step, err := planned(t, x, n)
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Renew(t.Context(), n, step.State, lease); err != nil {
		t.Fatal(err)
	}
	if err := x.Inject(t.Context(), n, step.State); err != nil {
		t.Fatal(err)
	}
	n.ask("read").sees(t, time.Minute)
	until(t, "it sees the true time", func() (bool, error) { return n.ask("read").Realtime[1] < int64(time.Second), nil })
	held, proof, err := newSkewer(Params{}, kernelGround{}).Effect(t.Context(), n, step.State)
	if held || err != nil {
		t.Error(held, proof, err)
	}
	t.Log(proof)
	// dapple revert has nothing but the processes themselves.
	if err := newSkewer(Params{}, kernelGround{}).Revert(context.WithoutCancel(t.Context()), n, state{}); err != nil {
		t.Fatal(err)
	}
	if ok, proof, err := x.Reverted(t.Context(), n, step.State); !ok || err != nil {
		t.Error(proof, err)
	}
}

func TestDriftAndStrobeAreProvenAtOnce(t *testing.T) {
	victim := built(t)
	for _, with := range []string{`{"drift": "1ppm"}`, `{"drift": "-5%"}`, `{"offset": "-5m", "strobe": "24h"}`, `{"offset": "+5m", "strobe": "100ms"}`, `{"offset": "+5ms"}`} {
		t.Run(with, func(t *testing.T) {
			n := newChild(t, victim, "1")
			n.line()
			h := skewed(t, n, with, 5*time.Second)
			for range 5 { // in whichever half of a strobe
				if ok, proof, err := h.inj.Effect(t.Context(), n, h.f); !ok || err != nil {
					t.Error(proof, err)
				}
			}
			h.reverted()
			n.ask("read").sees(t, 0)
		})
	}
}
