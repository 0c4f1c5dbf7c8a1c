package netem

import (
	"math"
	"testing"
	"time"
)

// fall decides on n packets of 1000 bytes that come every pause.
func fall(t *testing.T, with string, n int, pause time.Duration) []lot {
	t.Helper()
	p, err := made(t, with)
	if err != nil {
		t.Fatal(err)
	}
	f := newFate(p.impairment())
	lots := make([]lot, n)
	for i := range lots {
		lots[i] = f.next(int64(i)*int64(pause), 1000-header, 0)
	}
	return lots
}

// within six deviations of a binomial distribution: one test in 500 million fails by
// chance.
func within(t *testing.T, what string, got, n int, chance float64) {
	t.Helper()
	want, wide := float64(n)*chance, 6*math.Sqrt(float64(n)*chance*(1-chance))
	if math.Abs(float64(got)-want) > wide {
		t.Errorf("%s: %d of %d, want %.0f ± %.0f", what, got, n, want, wide)
	}
}

func count(lots []lot, is func(lot) bool) (n int) {
	for _, l := range lots {
		if is(l) {
			n++
		}
	}
	return n
}

func TestChancesAreWhatTheySay(t *testing.T) {
	const n = 100_000
	lots := fall(t, `{"delay": "10ms", "loss": "10%", "duplicate": "5%", "corrupt": "2%", "reorder": "25%"}`, n, time.Millisecond)
	within(t, "lost", count(lots, func(l lot) bool { return l.lost }), n, 0.1)
	within(t, "twice", count(lots, func(l lot) bool { return l.twice }), n, 0.9*0.05)
	within(t, "corrupt", count(lots, func(l lot) bool { return l.corrupt }), n, 0.9*0.02)
	within(t, "overtook", count(lots, func(l lot) bool { return l.overtook }), n, 0.9*0.25)
}

func TestBurstsAreAsLongAsTheySayAndSingleLossesAreNot(t *testing.T) {
	const n = 200_000
	bursts := func(with string) (lost int, length float64) {
		lots, runs := fall(t, with, n, 0), 0
		for i, l := range lots {
			if l.lost {
				lost++
				if i == 0 || !lots[i-1].lost {
					runs++
				}
			}
		}
		return lost, float64(lost) / float64(runs)
	}
	lost, length := bursts(`{"bursts": {"begin": "2%", "end": "20%"}}`)
	if share := float64(lost) / n; math.Abs(share-2.0/22) > 0.01 || math.Abs(length-5) > 0.4 {
		t.Errorf("in bursts: %.3f lost, %.2f at a time, want %.3f and 5", share, length, 2.0/22)
	}
	if _, length := bursts(`{"loss": "9%"}`); math.Abs(length-1/0.91) > 0.03 {
		t.Errorf("one by one: %.2f at a time, want %.2f", length, 1/0.91)
	}
	lost, _ = bursts(`{"bursts": {"begin": "2%", "end": "20%", "loss": "50%", "between": "1%"}}`)
	if share, want := float64(lost)/n, 0.5*2/22+0.01*20/22; math.Abs(share-want) > 0.007 {
		t.Errorf("half of a burst, some between: %.4f lost, want %.4f", share, want)
	}
}

func TestDelaysAreSpreadAsTheySay(t *testing.T) {
	for _, c := range []struct {
		with              string
		mean, sd, lo, hi  float64 // in ms
		dependsOnTheOther bool
	}{
		{`{"delay": "100ms"}`, 100, 0, 100, 100, false},
		{`{"delay": "100ms", "jitter": "10ms"}`, 100, 10 / math.Sqrt(3), 90, 110, false},
		{`{"delay": "100ms", "jitter": "10ms", "distribution": "normal"}`, 100, 10, 60, 140, false},
		// iproute2 cuts its table at four, and brings it to a variance of 4/3: by
		// integration, -0.033 and 0.821 are left of 0 and 1.155.
		{`{"delay": "100ms", "jitter": "10ms", "distribution": "pareto"}`, 99.67, 8.21, 93.3, 140, false},
		{`{"delay": "100ms", "jitter": "10ms", "correlation": "75%"}`, 100, 10 / math.Sqrt(3) * math.Sqrt(0.25/1.75), 90, 110, true},
	} {
		const n = 50_000
		var sum, squares, products, before float64
		lo, hi := math.Inf(1), math.Inf(-1)
		for i, l := range fall(t, c.with, n, time.Second) { // so far apart that none waits for another
			ms := float64(l.at-int64(i)*int64(time.Second)) / 1e6
			sum, squares = sum+ms, squares+ms*ms
			lo, hi = min(lo, ms), max(hi, ms)
			products += (ms - c.mean) * before
			before = ms - c.mean
		}
		mean := sum / n
		sd := math.Sqrt(max(0, squares/n-mean*mean))
		if math.Abs(mean-c.mean) > 0.4 || math.Abs(sd-c.sd) > 0.05*c.sd+0.001 {
			t.Errorf("%s: %.2f ± %.2f ms, want %.2f ± %.2f", c.with, mean, sd, c.mean, c.sd)
		}
		if lo < c.lo-0.1 || hi > c.hi+0.1 {
			t.Errorf("%s: from %.2f to %.2f ms, want within %.1f to %.1f", c.with, lo, hi, c.lo, c.hi)
		}
		p, err := made(t, c.with)
		if err != nil {
			t.Fatal(err)
		}
		if least := p.impairment().least().Seconds() * 1000; lo < least-1e-6 {
			t.Errorf("%s: %.3f ms, less than the least, %.3f", c.with, lo, least)
		}
		if c.sd > 0 {
			if r := products / n / (sd * sd); (r > 0.5) != c.dependsOnTheOther {
				t.Errorf("%s: the correlation of one with the next is %.2f", c.with, r)
			}
		}
	}
}

func TestAJitterAndARateKeepTheOrder(t *testing.T) {
	for _, with := range []string{`{"delay": "50ms", "jitter": "50ms"}`, `{"delay": "50ms", "jitter": "20ms", "distribution": "pareto", "rate": "10mbit"}`} {
		last := int64(0)
		for i, l := range fall(t, with, 10_000, 100*time.Microsecond) {
			if l.at < last {
				t.Fatalf("%s: packet %d leaves before the one before it", with, i)
			}
			last = l.at
		}
	}
}

func TestALinkIsAsFastAsItsRate(t *testing.T) {
	// 8000 bits at 1 Mbit/s take 8 ms each; they come all at once.
	lots := fall(t, `{"rate": "1mbit", "delay": "100ms"}`, 100, 0)
	for i, l := range lots {
		if want := 100*time.Millisecond + time.Duration(i+1)*8*time.Millisecond; time.Duration(l.at) != want {
			t.Fatalf("packet %d leaves after %v, want %v", i, time.Duration(l.at), want)
		}
	}
	// After a pause it does not send faster for what it has not sent.
	lots = fall(t, `{"rate": "1mbit"}`, 3, time.Second)
	for i, l := range lots {
		if want := time.Duration(i)*time.Second + 8*time.Millisecond; time.Duration(l.at) != want {
			t.Errorf("packet %d leaves after %v, want %v", i, time.Duration(l.at), want)
		}
	}
}

func TestNoMoreWaitThanTheLimit(t *testing.T) {
	p, err := made(t, `{"delay": "100ms", "limit": 3}`)
	if err != nil {
		t.Fatal(err)
	}
	f := newFate(p.impairment())
	for waiting := range 6 {
		if l := f.next(0, 100, waiting); l.full != (waiting >= 3) {
			t.Errorf("with %d waiting: %+v", waiting, l)
		}
	}
}
