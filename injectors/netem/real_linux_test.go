package netem

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// total is what several volleys of one kind together saw.
type total struct {
	sent, arrived, twice, altered, overtook int
	took                                    []time.Duration
}

// volleys measures in both directions and with both versions of IP, n hundred
// packets in all.
func volleys(t testing.TB, measure func(way Direction, version, count int) *trip, ways []Direction, n int) (sum total) {
	t.Helper()
	for i := range n {
		v := measure(ways[i%len(ways)], []int{4, 6}[i/len(ways)%2], 100)
		seen, highest := map[int]int{}, -1
		for _, k := range v.order {
			seen[k]++
			if seen[k] == 2 {
				sum.twice++
			}
			if k < highest {
				sum.overtook++
			}
			highest = max(highest, k)
		}
		sum.sent, sum.arrived, sum.altered = sum.sent+v.sent, sum.arrived+len(seen), sum.altered+v.altered
		sum.took = append(sum.took, v.took...)
	}
	slices.Sort(sum.took)
	return sum
}

func TestEachAttributeIsWhatIsMeasured(t *testing.T) {
	l := newLab(t, "a", "b")
	const n = 8 // hundreds of packets
	for _, c := range []struct {
		with string
		wait time.Duration
		is   func(t *testing.T, m total)
	}{
		{`"delay": "50ms"`, 2 * time.Second, func(t *testing.T, m total) {
			if m.arrived != m.sent || m.took[0] < 50*time.Millisecond || m.took[len(m.took)/2] > 150*time.Millisecond || m.overtook > 0 {
				t.Errorf("%d of %d arrived after %v (median %v), %d overtook", m.arrived, m.sent, m.took[0], m.took[len(m.took)/2], m.overtook)
			}
		}},
		{`"delay": "50ms", "jitter": "20ms"`, 2 * time.Second, func(t *testing.T, m total) {
			if m.arrived != m.sent || m.took[0] < 30*time.Millisecond || m.took[len(m.took)/2] > 170*time.Millisecond || m.overtook > 0 {
				t.Errorf("%d of %d arrived after %v (median %v), %d overtook", m.arrived, m.sent, m.took[0], m.took[len(m.took)/2], m.overtook)
			}
		}},
		{`"loss": "20%"`, 300 * time.Millisecond, func(t *testing.T, m total) {
			within(t, "lost", m.sent-m.arrived, m.sent, 0.2)
		}},
		{`"loss": "100%"`, 300 * time.Millisecond, func(t *testing.T, m total) {
			if m.arrived > 0 {
				t.Errorf("%d of %d arrived", m.arrived, m.sent)
			}
		}},
		{`"bursts": {"begin": "5%", "end": "25%"}`, 300 * time.Millisecond, func(t *testing.T, m total) {
			if lost := float64(m.sent-m.arrived) / float64(m.sent); lost < 0.04 || lost > 0.36 { // a sixth, in few bursts
				t.Errorf("%.2f lost", lost)
			}
		}},
		{`"duplicate": "20%"`, 300 * time.Millisecond, func(t *testing.T, m total) {
			within(t, "twice", m.twice, m.sent, 0.2)
			if m.arrived != m.sent {
				t.Errorf("%d of %d arrived", m.arrived, m.sent)
			}
		}},
		{`"corrupt": "20%"`, 300 * time.Millisecond, func(t *testing.T, m total) {
			within(t, "dropped by their checksum", m.sent-m.arrived, m.sent, 0.2)
			if m.altered > 0 {
				t.Errorf("%d arrived with another content: the checksum was made anew", m.altered)
			}
		}},
		{`"delay": "300ms", "reorder": "20%"`, 2 * time.Second, func(t *testing.T, m total) {
			// Those that were not delayed arrived first: none of the others can.
			early := 0
			for _, d := range m.took {
				if d < 300*time.Millisecond {
					early++
				}
			}
			within(t, "overtook", early, m.sent, 0.2)
			if m.arrived != m.sent || m.overtook == 0 {
				t.Errorf("%d of %d arrived, %d after a later one", m.arrived, m.sent, m.overtook)
			}
		}},
	} {
		t.Run(c.with, func(t *testing.T) {
			h := inject(t, l.Nodes(), fmt.Sprintf(`{%s, "direction": "both"}`, c.with))
			defer h.revert(t)
			m := volleys(t, func(way Direction, version, count int) *trip {
				return volley(t, l, h, way, version, count, c.wait)
			}, []Direction{egress, ingress}, n)
			c.is(t, m)
			t.Log(h.proof(t))
		})
	}
}

func TestALinkIsAsSlowAsItsRate(t *testing.T) {
	l := newLab(t, "a", "b")
	for _, engine := range []EngineName{bucketEngine, userEngine} {
		t.Run(string(engine), func(t *testing.T) {
			h := inject(t, l.Nodes(), `{"rate": "1mbit", "direction": "both", "engine": "`+string(engine)+`"}`)
			defer h.revert(t)
			t.Log(h.proof(t))
			for _, way := range []Direction{egress, ingress} {
				const count = 300
				v := volley(t, l, h, way, 4, count, 5*time.Second)
				// A datagram of 37 bytes is one of 79 on the wire.
				least := time.Duration(count * (len(payload) + 4 + overhead) * 8 * 1000)
				if engine == bucketEngine { // but for the packet, of the size of the MTU, that a bucket holds
					least -= 1522 * 8 * time.Microsecond
				}
				if last := v.since[len(v.since)-1]; len(v.took) != count || last < least || last > 3*least {
					t.Errorf("%s: %d packets arrived within %v, want %v", way, len(v.took), last, least)
				}
			}
		})
	}
}

// What a token bucket holds outlives its holder, as all of the kernel's does, and another
// process takes it back.
func TestABucketIsTakenBackByAnotherProcess(t *testing.T) {
	l := newLab(t, "a", "b")
	h := impair(t, l.Nodes(), `{"rate": "1mbit", "engine": "tbf"}`)
	other := newImpairer(defaults(), kernelGround{}, engines())
	if err := other.Revert(t.Context(), h.node, h.state); err != nil {
		t.Fatal(err)
	}
	if ok, proof, err := other.Reverted(t.Context(), h.node, h.state); !ok || err != nil {
		t.Errorf("reverted: %v, %q, %v", ok, proof, err)
	}
	if held, proof, err := h.imp.Effect(t.Context(), h.node, h.state); held || err != nil {
		t.Errorf("its hole is not seen: %q, %v", proof, err)
	}
}

func TestWhatIsBeyondTheLimitIsLost(t *testing.T) {
	l := newLab(t, "a", "b")
	h := inject(t, l.Nodes(), `{"delay": "500ms", "limit": 30, "direction": "both"}`)
	for _, way := range []Direction{egress, ingress} {
		if v := volley(t, l, h, way, 4, 100, 3*time.Second); len(v.took) < 30 || len(v.took) > 60 {
			t.Errorf("%s: %d of 100 arrived, want 30", way, len(v.took)) // more if the volley itself took long
		}
	}
	seen, err := h.imp.holds[h.state.Name].Look()
	if err != nil || seen.Events[overrun] < 80 {
		t.Errorf("the kernel counted %v (%v)", seen.Events, err)
	}
}

func TestOnlyWhatIsMeantIsDelayed(t *testing.T) {
	l := newLab(t, "a", "b", "c")
	const delay = 400 * time.Millisecond
	for _, c := range []struct{ with, slow string }{
		{`{"delay": "400ms", "peers": ["b"]}`, "a>b"},
		{`{"delay": "400ms", "peers": ["b"], "direction": "ingress"}`, "b>a"},
		{`{"delay": "400ms", "peers": ["b"], "direction": "both"}`, "a>b b>a"},
		{`{"delay": "400ms", "interface": "eth0"}`, "a>b a>c"},
		{`{"delay": "400ms", "peers": ["c"], "ports": [5000, "6000-7000"]}`, "a>c:6500"},
		{`{"delay": "400ms", "ports": [22]}`, "a>b:22 a>c:22"},
		{`{"delay": "400ms", "peers": ["clients", "192.0.2.0/24"], "direction": "both"}`, ""},
	} {
		t.Run(c.with, func(t *testing.T) {
			h := inject(t, l.Nodes(), c.with)
			defer h.revert(t)
			var slow []string
			for _, pair := range []string{"a>b", "b>a", "a>c", "c>a", "b>c", "a>a", "a>c:6500", "a>b:22", "a>c:22"} {
				from, to, port := l.Node(pair[:1]), l.Node(pair[2:3]), "5999"
				if len(pair) > 3 {
					port = pair[4:]
				}
				took := fastest(t, from, to, port, delay)
				if took >= delay {
					slow = append(slow, pair)
				}
			}
			for _, want := range strings.Fields(c.slow) {
				if !slices.Contains(slow, want) {
					t.Errorf("%s is not slow", want)
				}
			}
			for _, pair := range slow {
				if !slices.ContainsFunc(strings.Fields(c.slow), func(w string) bool { return pair == w || len(w) == 3 && pair[:3] == w }) {
					t.Errorf("%s is slow", pair)
				}
			}
		})
	}
}
