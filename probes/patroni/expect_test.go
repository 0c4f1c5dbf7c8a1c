package patroni

import (
	"testing"
	"time"

	"github.com/dapple-drills/dapple/probes"
)

func defaults() *model {
	return &model{
		timeouts: timeouts{ttl: 30 * time.Second, loopWait: 10 * time.Second, retry: 10 * time.Second, start: 300 * time.Second},
		sync:     true, connect: time.Second,
		proxy: &proxy{inter: time.Second, fast: time.Second, rise: 2, fall: 2, text: "inter 1s fall 2 rise 2"},
	}
}

func cause(kv ...string) probes.Cause {
	c := probes.Cause{Injector: "kill", Params: map[string]string{}, Roles: []string{"primary"}, For: time.Minute}
	for i := 0; i < len(kv); i += 2 {
		c.Params[kv[i]] = kv[i+1]
	}
	return c
}

// holds checks that a range holds what was measured, and is no wider than of use.
func holds(t *testing.T, m map[string]probes.Range, metric string, measured ...time.Duration) {
	t.Helper()
	r, ok := m[metric]
	if !ok || r.Why == "" {
		t.Fatalf("no %s in %v", metric, m)
	}
	for _, d := range measured {
		if d < r.Min || d > r.Max {
			t.Errorf("%s %v is outside of [%v, %v]", metric, d, r.Min, r.Max)
		}
	}
}

// The measured figures are those of test-environment: outage 21 s without a
// proxy, 29 s (random phase) to 36 s (worst) through HAProxy at ttl 30.
func TestTheExpectationOfALostNodeHoldsWhatWasMeasured(t *testing.T) {
	m := defaults()
	m.held = time.Minute
	got, failover, ok := m.expect(cause())
	if !failover || !ok {
		t.Fatalf("failover %v, ok %v", failover, ok)
	}
	holds(t, got, "detection", 20*time.Second, 30*time.Second)
	holds(t, got, "outage", 29*time.Second, 36*time.Second)
	holds(t, got, "rto", 36*time.Second)
	if r := got["rto"]; r.Max > time.Minute {
		t.Errorf("rto up to %v says too little", r.Max)
	}
	m.proxy = nil
	got, _, _ = m.expect(cause())
	holds(t, got, "outage", 21*time.Second)
}

func TestThePhasesOfALostNodeAddUpToItsOutage(t *testing.T) {
	m := defaults()
	got, _, _ := m.expect(cause())
	var least, most time.Duration
	for _, p := range []string{"detection", "election", "promotion", "routing"} {
		least, most = least+got[p].Min, most+got[p].Max
	}
	if r := got["outage"]; r.Min != least || r.Max != most {
		t.Errorf("outage [%v, %v], phases [%v, %v]", r.Min, r.Max, least, most)
	}
}

func TestAPostmasterThatPatroniRestartsIsNoFailover(t *testing.T) {
	m := defaults()
	got, failover, ok := m.expect(cause("process", "server"))
	if failover || !ok {
		t.Fatalf("failover %v, ok %v", failover, ok)
	}
	holds(t, got, "outage", 5*time.Second)
	m.start = 0
	got, failover, ok = m.expect(cause("process", "server"))
	if !failover || !ok {
		t.Fatalf("with primary_start_timeout 0: failover %v, ok %v", failover, ok)
	}
	holds(t, got, "detection", 0, 10*time.Second)
}

func TestAFrozenAgentLosesItsLeaseAndClientsMayNotNotice(t *testing.T) {
	m := defaults()
	m.held = time.Minute
	got, failover, ok := m.expect(cause("process", "manager", "signal", "STOP"))
	if !failover || !ok {
		t.Fatalf("failover %v, ok %v", failover, ok)
	}
	holds(t, got, "detection", 25*time.Second)
	m.proxy = nil
	got, _, _ = m.expect(cause("process", "manager", "signal", "STOP"))
	holds(t, got, "outage", 0)
}

func TestWhetherTheLeaseEndsDecidesWhatIsExpected(t *testing.T) {
	m := defaults()
	for held, want := range map[time.Duration][2]bool{ // failover, modelled
		5 * time.Second:  {false, true},
		25 * time.Second: {false, false},
		40 * time.Second: {true, true},
		0:                {true, true},
	} {
		m.held = held
		got, failover, ok := m.expect(cause())
		if [2]bool{failover, ok} != want {
			t.Errorf("held for %v: failover %v, modelled %v, want %v", held, failover, ok, want)
		}
		if ok && !failover {
			holds(t, got, "outage", held)
		}
	}
}

func TestAKilledReplicaIsNoFailover(t *testing.T) {
	m := defaults()
	c := cause()
	c.Roles = []string{"replica"}
	got, failover, ok := m.expect(c)
	if failover || !ok {
		t.Fatalf("failover %v, ok %v", failover, ok)
	}
	holds(t, got, "outage", 0, 10*time.Second) // commits wait for the synchronous standby
	m.sync = false
	got, _, _ = m.expect(c)
	holds(t, got, "outage", 0)
	if got["outage"].Max != 0 {
		t.Errorf("asynchronous: outage up to %v", got["outage"].Max)
	}
}

func TestWhatHasNoModelIsNotGuessed(t *testing.T) {
	m := defaults()
	both := cause()
	both.Roles = []string{"primary", "replica"}
	other := cause()
	other.Injector = "partition"
	nobody := cause()
	nobody.Roles = nil
	for name, c := range map[string]probes.Cause{
		"two nodes": both, "another injector": other, "no role": nobody,
		"graceful end": cause("signal", "TERM"), "frozen main process": cause("signal", "STOP"),
		"frozen server": cause("process", "server", "signal", "STOP"), "another process": cause("process", "cron"),
	} {
		if got, failover, ok := m.expect(c); ok || failover || got != nil {
			t.Errorf("%s: %v, %v, %v", name, got, failover, ok)
		}
	}
}
