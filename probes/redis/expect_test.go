package redis

import (
	"testing"
	"time"

	"github.com/dapple-drills/dapple/probes"
)

func sound() model {
	return model{
		timing: timing{downLeast: 5 * time.Second, downMost: 5 * time.Second, failover: 10 * time.Second, guard: 1, maxLag: 2 * time.Second},
		how:    "refuses", connect: time.Second, statement: 2 * time.Second, replicas: 2,
	}
}

func TestTheLossOfAPrimaryIsPredictedFromTheSettings(t *testing.T) {
	m := sound()
	r, failover, ok := m.expect([]string{"primary"})
	if !ok || !failover {
		t.Fatal("a failover is not expected")
	}
	for metric, x := range r {
		if x.Min > x.Max || x.Why == "" {
			t.Errorf("%s: [%v, %v] %q", metric, x.Min, x.Max, x.Why)
		}
	}
	if d := r["detection"]; d.Min < 3*time.Second || d.Min > 4*time.Second || d.Max < 6*time.Second || d.Max > 7*time.Second {
		t.Errorf("detection [%v, %v], want down-after 5s less 1s to more 1.1s", d.Min, d.Max)
	}
	free := sound()
	free.guard = 0
	if bare, _, _ := free.expect([]string{"primary"}); bare["promotion"].Max >= r["promotion"].Max {
		t.Errorf("without min-replicas-to-write a promotion takes up to %v, with it %v", bare["promotion"].Max, r["promotion"].Max)
	}
	slow := sound()
	slow.downLeast, slow.downMost = 10*time.Minute, 10*time.Minute
	if long, _, _ := slow.expect([]string{"primary"}); long["rto"].Min < 590*time.Second {
		t.Errorf("with a down-after of 10 minutes the RTO is at least %v", long["rto"].Min)
	}
	hangs := sound()
	hangs.how = "hangs"
	if h, _, _ := hangs.expect([]string{"primary"}); h["outage"].Max <= r["outage"].Max {
		t.Error("clients of a primary that hangs are not said to wait for it")
	}
	for name, modes := range map[string][]probes.Mode{"TILT": r["detection"].Modes, "election lost": r["election"].Modes} {
		if len(modes) != 1 || modes[0].Name != name || modes[0].Max <= modes[0].Min {
			t.Errorf("%s: %+v", name, modes)
		}
	}
	if lost := r["election"].Modes[0]; lost.Min > 20*time.Second || lost.Max < 20*time.Second {
		t.Errorf("a lost election costs [%v, %v], want about 2 × failover-timeout 10s", lost.Min, lost.Max)
	}
}

func TestAServerThatIsBackInTimeIsNotReplaced(t *testing.T) {
	m := sound()
	m.held = 2 * time.Second
	r, failover, ok := m.expect([]string{"primary"})
	if !ok || failover || r["outage"].Min != m.held {
		t.Errorf("%v %v %+v", failover, ok, r["outage"])
	}
	m.held = 6 * time.Second // somebody may have been chosen by then, or not
	if _, _, ok := m.expect([]string{"primary"}); ok {
		t.Error("what cannot be told is predicted")
	}
}

func TestTheLossOfAReplicaCostsWritesOnlyIfTheGuardNeedsIt(t *testing.T) {
	m := sound()
	m.held = 10 * time.Second
	r, failover, ok := m.expect([]string{"replica"})
	if !ok || failover || r["outage"].Max > time.Second {
		t.Errorf("%v %v %+v", failover, ok, r["outage"])
	}
	m.guard = 2
	if r, _, _ = m.expect([]string{"replica"}); r["outage"].Max < m.held {
		t.Errorf("a guard that needs both replicas: %+v", r["outage"])
	}
}

func TestOnlyWhatEndsTheWholeServerIsModelled(t *testing.T) {
	for _, c := range []struct {
		cause probes.Cause
		want  string
	}{
		{probes.Cause{Injector: "kill"}, "refuses"},
		{probes.Cause{Injector: "kill", Params: map[string]string{"process": "all", "signal": "KILL"}}, "refuses"},
		{probes.Cause{Injector: "kill", Params: map[string]string{"process": "server", "signal": "STOP"}}, "hangs"},
		{probes.Cause{Injector: "pause", Params: map[string]string{"process": "server"}}, "hangs"},
		{probes.Cause{Injector: "kill", Params: map[string]string{"process": "server"}}, ""}, // something may start it again
		{probes.Cause{Injector: "kill", Params: map[string]string{"process": "manager"}}, ""},
		{probes.Cause{Injector: "partition"}, ""},
	} {
		if got := kindOf(c.cause); got != c.want {
			t.Errorf("%+v: %q, want %q", c.cause, got, c.want)
		}
	}
}
