package tc

import (
	"testing"
	"time"
)

// between says whether a share is near what was asked for: six standard deviations
// of what chance makes of it, and what a busy machine loses.
func between(t *testing.T, what string, got, lo, hi float64) {
	t.Helper()
	if got < lo || got > hi {
		t.Errorf("%s: got %v, want %v to %v", what, got, lo, hi)
	}
}

// A harm is something that is done to packets, and what is to be seen of it.
type harm struct {
	name string
	i    Impairment
	v    volley
	want func(t *testing.T, f figures)
}

func harms(before figures) []harm {
	ms := time.Millisecond
	return []harm{
		{"delay", Impairment{Delay: 40 * ms}, volley{count: 200, every: ms}, func(t *testing.T, f figures) {
			if f.min < 40*ms || f.median < before.median+40*ms || f.lost > 0 || f.overtaken > 0 {
				t.Error(f)
			}
		}},
		{"jitter, uniform, in order", Impairment{Delay: 50 * ms, Jitter: 20 * ms, KeepOrder: true}, volley{count: 150, every: 10 * ms}, func(t *testing.T, f figures) {
			if f.min < 30*ms || f.min > f.median-2*ms || f.lost > 0 || f.overtaken > 0 {
				t.Error(f)
			}
		}},
		{"jitter, normal, overtaking", Impairment{Delay: 50 * ms, Jitter: 10 * ms, Distribution: "normal"}, volley{count: 500, every: ms}, func(t *testing.T, f figures) {
			if f.overtaken < 0.2 || f.min < 10*ms || f.min > 48*ms || f.sd < 5*ms {
				t.Error(f)
			}
		}},
		{"jitter, pareto", Impairment{Delay: 50 * ms, Jitter: 10 * ms, Distribution: "pareto"}, volley{count: 500, every: ms}, func(t *testing.T, f figures) {
			// Never earlier than 0.58 deviations, and at times much later.
			if f.min < 44*ms || f.max < 65*ms {
				t.Error(f)
			}
		}},
		{"jitter, correlated", Impairment{Delay: 50 * ms, Jitter: 10 * ms, DelayCorrelation: 90}, volley{count: 300, every: ms}, func(t *testing.T, f figures) {
			if f.min < 40*ms || f.lost > 0 {
				t.Error(f)
			}
		}},
		{"loss", Impairment{Loss: 20}, volley{count: 2000, every: ms / 2}, func(t *testing.T, f figures) {
			between(t, "lost", f.lost, 0.146, 0.26)
			between(t, "in a row", f.bursts, 1, 1.6)
		}},
		{"loss in bursts", Impairment{Burst: &GilbertElliott{ToBad: 4, ToGood: 16, InBad: 100}}, volley{count: 4000, every: ms / 2}, func(t *testing.T, f figures) {
			between(t, "lost", f.lost, 0.1, 0.32) // 4/(4+16)
			between(t, "in a row", f.bursts, 3.5, 10)
		}},
		{"duplicate", Impairment{Duplicate: 20}, volley{count: 1000, every: ms}, func(t *testing.T, f figures) {
			between(t, "twice", f.twice, 0.12, 0.28)
		}},
		{"corrupt: the checksum drops them", Impairment{Corrupt: 30}, volley{count: 1000, every: ms, size: 1000}, func(t *testing.T, f figures) {
			between(t, "lost", f.lost, 0.2, 0.4)
		}},
		{"reorder", Impairment{Delay: 30 * ms, Reorder: 25}, volley{count: 800, every: ms}, func(t *testing.T, f figures) {
			if f.min > 25*ms || f.median < 30*ms || f.overtaken < 0.3 || f.lost > 0 {
				t.Error(f)
			}
		}},
		{"rate", Impairment{Rate: 1_000_000}, volley{count: 60, size: 1000}, func(t *testing.T, f figures) {
			// 60 of 1000 bytes and the headers' 42 take 8.3 ms each.
			if f.max < 450*ms || f.lost > 0 || f.overtaken > 0 {
				t.Error(f)
			}
		}},
		{"limit", Impairment{Delay: 300 * ms, Limit: 10}, volley{count: 60}, func(t *testing.T, f figures) {
			between(t, "lost", f.lost, 0.5, 50.0/60)
		}},
	}
}

func TestNetemDoesToPacketsWhatItSays(t *testing.T) {
	nodes := lab(t, 2)
	a, b := nodes[0], nodes[1]
	ms := time.Millisecond
	before := figuresOf(volley{count: 200, every: ms}.send(t, a, a.v4, b, b.v4), 200)
	t.Log("before:", before)
	if before.lost > 0 || before.twice > 0 || before.overtaken > 0 {
		t.Fatalf("without anything: %v", before)
	}
	for _, c := range harms(before) {
		t.Run(c.name, func(t *testing.T) {
			s := to(c.i, b.v4)
			raised(t, a, s)
			f := figuresOf(c.v.send(t, a, a.v4, b, b.v4), c.v.count)
			t.Log(f)
			c.want(t, f)
			seen, err := Look(a.path, s)
			if err != nil || len(seen.Missing) > 0 || !seen.There || seen.Lease < time.Minute {
				t.Fatalf("%+v, %v", seen, err)
			}
			// A packet that netem makes twice was chosen once.
			if met := seen.MetOut; met < uint64(c.v.count) || seen.MetIn > 0 || seen.Passed+seen.Dropped+seen.Waiting < uint64(c.v.count) {
				t.Errorf("%d sent: %+v", c.v.count, seen)
			}
		})
	}
}

func TestNetemTouchesOnlyWhatIsMeant(t *testing.T) {
	nodes := lab(t, 3)
	a, b, c := nodes[0], nodes[1], nodes[2]
	late := Impairment{Delay: 300 * time.Millisecond}
	some := volley{count: 5, every: time.Millisecond}
	is := func(t *testing.T, what string, want bool, got []arrival) {
		t.Helper()
		f := figuresOf(got, some.count)
		if len(got) != some.count || (f.min >= late.Delay) != want {
			t.Errorf("%s: %v, want late: %v", what, f, want)
		}
	}
	port := func(p uint16) volley { v := some; v.port = p; return v }
	t.Run("out, both families", func(t *testing.T) {
		raised(t, a, to(late, b.v4, b.v6))
		is(t, "to b", true, some.send(t, a, a.v4, b, b.v4))
		is(t, "to b, IPv6", true, some.send(t, a, a.v6, b, b.v6))
		is(t, "to c", false, some.send(t, a, a.v4, c, c.v4))
		is(t, "to c, IPv6", false, some.send(t, a, a.v6, c, c.v6))
		is(t, "from b", false, some.send(t, b, b.v4, a, a.v4))
	})
	t.Run("in", func(t *testing.T) {
		s := to(late, b.v4, b.v6)
		s.Out, s.In = false, true
		raised(t, a, s)
		is(t, "from b", true, some.send(t, b, b.v4, a, a.v4))
		is(t, "from b, IPv6", true, some.send(t, b, b.v6, a, a.v6))
		is(t, "from c", false, some.send(t, c, c.v4, a, a.v4))
		is(t, "to b", false, some.send(t, a, a.v4, b, b.v4))
	})
	t.Run("ports", func(t *testing.T) {
		s := to(late, b.v4, b.v6)
		s.Ports = []Range{{Lo: 7000, Hi: 7001}, {Lo: 9000, Hi: 9000}}
		raised(t, a, s)
		for p, want := range map[uint16]bool{6999: false, 7000: true, 7001: true, 7002: false, 9000: true, 8500: false} {
			is(t, "a port", want, port(p).send(t, a, a.v4, b, b.v4))
		}
		is(t, "IPv6", true, port(7001).send(t, a, a.v6, b, b.v6))
	})
	t.Run("clients, and a network", func(t *testing.T) {
		s := to(late)
		s.Clients, s.Nodes = true, nil
		s.Nodes = append(s.Nodes, b.v4, b.v6)
		raised(t, a, s)
		is(t, "to a node", false, some.send(t, a, a.v4, b, b.v4))
		is(t, "to a node, IPv6", false, some.send(t, a, a.v6, b, b.v6))
		is(t, "to a client", true, some.send(t, a, a.v4, c, c.v4))
		is(t, "to a client, IPv6", true, some.send(t, a, a.v6, c, c.v6))
	})
}
