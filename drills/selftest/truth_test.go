package selftest

import (
	"testing"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/probes"
)

// The truth is what the script says, to the instant, unless the servers demonstrably
// had no time to do it: then it is known to lie before their first answer.
func TestTheTruthIsTheScriptsUnlessTheServersWereLate(t *testing.T) {
	effect := time.Now()
	ms := func(n int) time.Time { return effect.Add(time.Duration(n) * time.Millisecond) }
	const acked, failed, unknown = probes.Acked, probes.Failed, probes.Unknown
	for _, x := range []struct {
		name  string
		asked []request
		hi    int // ms
	}{
		{"nobody asked", nil, 200},
		{"nobody asked until later, and was answered at once", []request{{front, 0, ms(240), ms(241), acked}}, 200},
		{"what was sent before was answered as soon as it served", []request{{front, 0, ms(150), ms(201), acked}}, 200},
		{"what was sent before waited on", []request{{front, 0, ms(150), ms(230), acked}}, 230},
		{"what was sent afterwards waited", []request{{front, 0, ms(203), ms(230), acked}}, 230},
		{"what was sent afterwards was not answered", []request{{front, 0, ms(205), ms(600), unknown}, {front, 0, ms(240), ms(241), acked}}, 241},
		{"what was sent before was never answered", []request{{front, 0, ms(150), ms(600), unknown}, {front, 0, ms(240), ms(241), acked}}, 200},
		{"it was refused at once", []request{{front, 0, ms(201), ms(202), failed}, {front, 0, ms(240), ms(241), acked}}, 200},
		{"another gate was late", []request{{nodeB, 0, ms(203), ms(230), acked}}, 200},
	} {
		w := newWorld(Case{})
		w.effect, w.asked = effect, x.asked
		want := timeline.Interval{Lo: 200 * time.Millisecond, Hi: time.Duration(x.hi) * time.Millisecond}
		if got := w.really(front, anybody, exact(200*time.Millisecond)); got != want {
			t.Errorf("%s: it served from %v, want %v", x.name, got, want)
		}
	}
}

// One stream may have been served while another one's answer was held up: the truth
// about each is its own.
func TestTheTruthAboutAStreamIsItsOwn(t *testing.T) {
	effect := time.Now()
	ms := func(n int) time.Time { return effect.Add(time.Duration(n) * time.Millisecond) }
	w := newWorld(Case{})
	w.effect = effect
	w.asked = []request{
		{front, 0, ms(201), ms(202), probes.Acked},
		{front, freshClient, ms(205), ms(240), probes.Acked},
		{front, 1, ms(215), ms(260), probes.Acked},
	}
	for _, x := range []struct {
		name string
		who  clients
		hi   int
	}{{"fresh", only(freshClient), 240}, {"app/1", only(1), 260}, {"any", anybody, 202}, {"app/0", only(0), 200}} {
		got := w.really(front, x.who, exact(200*time.Millisecond))
		if hi := time.Duration(x.hi) * time.Millisecond; got.Hi > hi+2*time.Millisecond || got.Hi < hi-2*time.Millisecond {
			t.Errorf("%s: it served from %v, want until %v", x.name, got, hi)
		}
	}
}
