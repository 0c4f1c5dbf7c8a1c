package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/targets"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEveryIntendedWriteIsCountedOnce(t *testing.T) {
	for _, m := range []manner{serving, refusing, hanging, readonly, weak} {
		synctest.Test(t, func(t *testing.T) {
			sys := newSystem()
			b := start(t, sys, Config{Rate: 200, Nodes: []targets.Node{node("pg1")}})
			pass(2 * time.Second)
			if m != serving {
				sys.set(m, "")
				sys.kill("")
			}
			pass(4 * time.Second)
			sys.set(serving, "")
			pass(4 * time.Second)
			b.stop()
			var sum timeline.Counts
			var last time.Duration = -1
			buckets := events(b.rec.Timeline(), by(timeline.Bucket, "ledger"))
			for _, e := range buckets {
				if last >= 0 && e.At.Lo != last || e.At.Width() != bucketSize {
					t.Fatalf("manner %v: bucket %v does not follow %v", m, e.At, last)
				}
				last = e.At.Hi
				var c timeline.Counts
				if err := json.Unmarshal(e.Data, &c); err != nil {
					t.Fatal(err)
				}
				if n := c.Acked + c.Degraded + c.Failed + c.Unknown; n < 62 || n > 63 { // (200 + 50) / 4
					t.Fatalf("manner %v: bucket %v holds %d writes of 62 or 63: %+v", m, e.At, n, c)
				}
				sum.Acked += c.Acked
				sum.Failed += c.Failed
				sum.Unknown += c.Unknown
				sum.Degraded += c.Degraded
			}
			if span := last - buckets[0].At.Lo; span < 9500*time.Millisecond || span > 10*time.Second {
				t.Errorf("manner %v: the buckets span %v of 10s", m, span)
			}
			if good := sum.Acked == int64(len(buckets))*250/4; good != (m == serving) {
				t.Errorf("manner %v: %+v in %d buckets", m, sum, len(buckets))
			}
		})
	}
}

func TestAStuckFreshConnectionNeverDelaysTheNextAndTheirNumberIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := newSystem()
		b := start(t, sys, Config{Rate: 1, FreshPeriod: 2 * time.Millisecond, Reconnect: Reconnect{Connect: 10 * time.Second}})
		pass(100 * time.Millisecond)
		sys.set(hanging, "")
		pass(5 * time.Second)
		sys.set(serving, "")
		pass(time.Second)
		b.stop()
		bad := events(b.rec.Timeline(), func(e timeline.Event) bool { return by(timeline.Write, "fresh")(e) && e.Value != "acked" })
		if len(bad) == 0 || bad[0].Evidence != "not sent: 500 connections in flight" {
			t.Fatalf("the bound of connections in flight did not show: %v", lines(bad))
		}
		if lo := bad[0].At.Lo; lo < 1090*time.Millisecond || lo > 1110*time.Millisecond {
			t.Errorf("500 connections, one every 2ms, were in flight at %v: the open loop was delayed", lo)
		}
	})
}

func TestAnOldSessionWaitsForEverAndIsNeverOpenedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := newSystem()
		b := start(t, sys, Config{Rate: 10, Nodes: []targets.Node{inner{"pg1"}, node("pg2")}, DirectPeriod: Off})
		for where, want := range map[string]bool{"pg1": true, "pg2": false} {
			if n, inside := sys.opened(where); n != 1 || inside != want {
				t.Fatalf("before the fault %s was connected to %d times, from inside: %v; want once, %v", where, n, inside, want)
			}
		}
		pass(time.Second)
		sys.set(hanging, "pg1")
		sys.kill("pg2")
		pass(10 * time.Minute)
		sys.set(serving, "pg1")
		pass(time.Second)
		if err := b.StopOld(b.ctx); err != nil {
			t.Fatal(err)
		}
		all := b.rec.Timeline()
		if ends := events(all, func(e timeline.Event) bool { return e.Kind == timeline.SessionEnd && strings.HasPrefix(e.By, "old/") }); len(ends) != 1 ||
			ends[0].By != "old/pg2" || ends[0].Node != "pg2" || ends[0].Evidence != "connection reset" || ends[0].At.Width() > 60*time.Millisecond {
			t.Errorf("sessions ended: %v; want old/pg2 alone", lines(ends))
		}
		for _, where := range []string{"pg1", "pg2"} {
			if n, _ := sys.opened(where); n != 1 {
				t.Errorf("%s was connected to %d times: an old session was opened again", where, n)
			}
		}
		acks := events(all, by(timeline.Write, "old/pg1"))
		if last := acks[len(acks)-1]; last.Value != "acked" || last.At.Lo < 600*time.Second {
			t.Errorf("old/pg1 was last acknowledged at %v: it did not go on after ten minutes of silence", last.At)
		}
	})
}

func TestAnOldSessionThatCannotBeHadIsToldAndIsNoError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := newSystem()
		sys.set(refusing, "pg1")
		b := start(t, sys, Config{Rate: 10, Nodes: []targets.Node{node("pg1")}})
		pass(time.Second)
		ends := events(b.rec.Timeline(), by(timeline.SessionEnd, "old/pg1"))
		if len(ends) != 1 || ends[0].Evidence != "never open: connect: connection refused" {
			t.Errorf("told: %v", lines(ends))
		}
	})
}

func TestAReplicaThatIsPromotedShowsAtItsDirectStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := newSystem()
		sys.set(readonly, "pg2")
		b := start(t, sys, Config{Rate: 10, Nodes: []targets.Node{node("pg2")}})
		pass(time.Second)
		sys.set(serving, "pg2")
		pass(980 * time.Millisecond)
		b.stop()
		got := events(b.rec.Timeline(), by(timeline.Write, "direct/pg2"))
		var values []string
		for _, e := range got {
			values = append(values, fmt.Sprint(e.Value, " ", e.Node, " ", e.At.Lo.Round(50*time.Millisecond)))
		}
		want := []string{"failed  0s", "failed  950ms", "acked pg1 1s", "acked pg1 1.95s"}
		if d := cmp.Diff(want, values); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
	})
}

func TestReconnectingBacksOffAsDeclared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := newSystem()
		b := start(t, sys, Config{Rate: 100, Apps: 1, FreshPeriod: Off})
		pass(time.Second)
		sys.set(refusing, "")
		sys.kill("")
		before, _ := sys.opened("")
		pass(10 * time.Second)
		tries, _ := sys.opened("")
		tries -= before
		// At 25 … 50 ms, doubling to 250 … 500 ms: between 20 and 40 in the
		// long run, and the first few.
		if tries < 20 || tries > 45 {
			t.Errorf("%d attempts to connect in 10s of refusals", tries)
		}
		b.stop()
	})
}

func TestAnEndpointThatTakesConnectionsAndDropsThemIsNotHammered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := newSystem()
		b := start(t, sys, Config{Rate: 0, Apps: 1, FreshPeriod: Off})
		quit, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { // a proxy without a server behind it
			defer close(done)
			for until(quit, time.Now().Add(500*time.Microsecond)) {
				sys.kill("")
			}
		}()
		pass(10 * time.Second)
		cancel()
		<-done
		if n, _ := sys.opened(""); n > 60 {
			t.Errorf("%d connections in 10s, none of which answered a write", n)
		}
		b.stop()
	})
}

func TestStopClientsWaitsForWhatWasSentAndCutsItOffOnlyWhenTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := newSystem()
		b := start(t, sys, Config{Rate: 200, Nodes: []targets.Node{node("pg1")}})
		pass(time.Second)
		sys.set(hanging, "", "pg1")
		pass(100 * time.Millisecond)
		began := time.Now()
		b.stop()
		if took := time.Since(began); took > DefaultConnect+DefaultStatement {
			t.Errorf("stopping took %v, which is longer than the longest deadline", took)
		}
		short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		began = time.Now()
		if err := b.StopOld(short); err == nil || time.Since(began) > 20*time.Millisecond {
			t.Errorf("a stop with a deadline of 10ms took %v and said %v", time.Since(began), err)
		}
		out := b.audit("A1")
		if n := out.Acked + out.Degraded + out.Unknown; out.Unknown == 0 || n != int64(len(sys.truth))+1 { // and the barrier
			t.Errorf("%d writes are booked, %d were tried; audit %+v", n, len(sys.truth), out)
		}
	})
}

func TestRecentTellsHowTheClientsFareNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := newSystem()
		b := start(t, sys, Config{Rate: 200})
		if r := b.Recent(time.Second); r != (Recent{}) {
			t.Errorf("before the first reply: %+v", r)
		}
		pass(10 * time.Second)
		if r := b.Recent(time.Second); r.Acked < 235 || r.Acked > 255 || r.Failed+r.Unknown > 0 || !r.LastBad.IsZero() {
			t.Errorf("steady at 250/s: %+v", r)
		}
		sys.set(refusing, "")
		pass(2 * time.Second)
		if r := b.Recent(time.Second); r.Acked > 0 || r.Failed < 200 || time.Since(r.LastBad) > 50*time.Millisecond || r.LastReply == "" {
			t.Errorf("down for two seconds: %+v", r)
		}
	})
}

func TestAtRiskIsTheExactNumberOfAcksInTheSecondBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := newSystem()
		b := start(t, sys, Config{Rate: 160, Nodes: []targets.Node{node("pg1")}})
		pass(3 * time.Second)
		effect := time.Now()
		sys.set(refusing, "")
		sys.kill("")
		pass(3 * time.Second)
		b.AtRisk(effect, b.rec.Emit)
		got := events(b.rec.Timeline(), by(timeline.AtRisk, "ledger"))
		if n := got[0].N; n < 208 || n > 210 { // 160 + 50 per second, one in flight each way
			t.Errorf("%d at risk of 210 per second", n)
		}
		if len(got) != 1 || got[0].At.Width() != time.Second || got[0].At.Hi != effect.Sub(b.cfg.Base) {
			t.Errorf("told: %+v", got)
		}
	})
}

func TestAClosedLoopGoesAsFastAsTheSystem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := newSystem()
		b := start(t, sys, Config{Rate: 0, Apps: 8, FreshPeriod: Off})
		pass(10 * time.Second)
		b.stop()
		out := b.audit("A1")
		if out.Acked < 79_900 || out.Lost+out.Unknown+out.Failed > 0 { // 8 clients, 1 ms each
			t.Errorf("%+v", out)
		}
	})
}

func TestTheWorkloadEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := newSystem()
		ctx, cancel := context.WithCancel(t.Context())
		rec := timeline.NewRecorder(time.Now(), 1, 0, nil)
		w := New(Config{System: sys, Run: "r", Dir: t.TempDir(), Rate: 100, Nodes: []targets.Node{node("pg1")}})
		if err := w.Start(ctx, rec.Emit); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		cancel()
		synctest.Wait()
		for where, p := range sys.points {
			if p.open != 0 {
				t.Errorf("%d sessions are open at %q after the end", p.open, where)
			}
		}
		if err := w.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestWhatCannotWorkIsSaidBeforeAnythingIsTouched(t *testing.T) {
	used := t.TempDir()
	ok := Config{System: newSystem(), Run: "r", Dir: used}
	w := New(ok)
	if err := w.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.keep.reserve(); err != nil {
		t.Fatal(err)
	}
	defer w.Close(t.Context())
	for want, c := range map[string]Config{
		"no system":                  {Run: "r", Dir: t.TempDir()},
		"cannot hold the ledger":     {System: struct{ probes.System }{newSystem()}, Run: "r", Dir: t.TempDir()},
		"no run id":                  {System: newSystem(), Dir: t.TempDir()},
		"no directory":               {System: newSystem(), Run: "r"},
		"below 0":                    {System: newSystem(), Run: "r", Dir: t.TempDir(), Rate: -1},
		"already holds the ledger":   ok,
		"make the ledger's director": {System: newSystem(), Run: "r", Dir: used + "/reserved.json/x"},
	} {
		if err := New(c).Prepare(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error with %q, got %v", want, err)
		}
	}
}
