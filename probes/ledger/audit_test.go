package ledger

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/targets"
)

// A script is a seeded history of writes with the truth about each, on a
// workload whose streams do not run.
type script struct {
	*bench
	rand  *rand.Rand
	told  map[probes.Write]class // settled writes
	back  map[probes.Write]time.Duration
	given map[probes.Write]bool // unknown or not, absent at an earlier audit
	known map[string]bool       // odd writes that an audit has told
	clock time.Duration
}

func newScript(t *testing.T, seed uint64) *script {
	r := rand.New(rand.NewPCG(seed, 0))
	sys := newSystem()
	sys.noHash = seed%2 == 0
	cfg := Config{System: sys, Run: "r", Base: time.Now().Add(-time.Hour), Dir: t.TempDir(), Apps: 1 + r.IntN(3), FreshPeriod: Off}
	s := &script{
		bench: &bench{New(cfg), t, sys, timeline.NewRecorder(cfg.Base, 1, 0, nil), t.Context()},
		rand:  r, told: map[probes.Write]class{}, back: map[probes.Write]time.Duration{}, given: map[probes.Write]bool{}, known: map[string]bool{},
	}
	if err := s.Prepare(s.ctx); err != nil {
		t.Fatal(err)
	}
	for i, st := range s.streams {
		s.keep.marks[i] = 1 << 40 // as if reserved: the disk is not what is tested
		st.books.grow(1 << 40)
	}
	return s
}

// write makes n writes of random fate; flaw is how many per thousand come to
// harm.
func (s *script) write(n, flaw int) {
	for range n {
		client := s.rand.IntN(len(s.streams) - 1)
		st := s.streams[client]
		seq, err := st.books.issue(s.ctx)
		if err != nil {
			s.t.Fatal(err)
		}
		c, rows := s.fate(flaw)
		for range rows {
			s.sys.put(client, seq)
		}
		if c == classes {
			continue // not answered yet
		}
		s.clock += time.Duration(s.rand.IntN(3000)) * time.Microsecond
		sent, w := s.clock, probes.Write{Client: client, Seq: seq}
		s.told[w], s.back[w] = c, sent+time.Duration(s.rand.IntN(5000))*time.Microsecond
		ack := probes.Ack{Class: classNames[c], Reply: c.String(), Node: "10.0.0.1", Epoch: "1"}
		st.book(seq, s.cfg.Base.Add(sent), s.cfg.Base.Add(s.back[w]), &ack)
	}
}

// fate is what a client is told, and how many rows there are.
func (s *script) fate(flaw int) (c class, rows int) {
	if s.rand.IntN(1000) >= flaw {
		return acked, 1
	}
	c = class(s.rand.IntN(int(classes) + 1))
	rows = s.rand.IntN(2)
	if !s.sys.noHash && s.rand.IntN(5) == 0 {
		rows = 2 + s.rand.IntN(2)
	}
	return c, rows
}

// ghosts makes rows that no one tried.
func (s *script) ghosts() {
	for range s.rand.IntN(3) {
		client := s.rand.IntN(len(s.streams) + 2)
		s.sys.put(client, 1<<20+uint64(s.rand.IntN(1<<18)))
	}
}

// shift changes rows after the fact: some are erased, some come late or back.
func (s *script) shift() {
	for w := range s.told {
		if s.rand.IntN(50) == 0 {
			if s.sys.rows[w.Client][w.Seq] > 0 {
				delete(s.sys.rows[w.Client], w.Seq)
			} else {
				s.sys.put(w.Client, w.Seq)
			}
		}
	}
}

// truth is what an audit must find, by looking at everything. The names are by
// kind of event.
func (s *script) truth() (timeline.Audited, map[timeline.Kind][]string) {
	var out timeline.Audited
	ids := map[timeline.Kind][]string{}
	say := func(k timeline.Kind, w probes.Write) {
		if key := string(k) + id(w.Client, w.Seq); k == timeline.Lost || !s.known[key] {
			s.known[key] = true
			ids[k] = append(ids[k], id(w.Client, w.Seq))
		}
	}
	var earliest time.Duration = -1
	for client, st := range s.streams {
		for seq := range st.books.issued() {
			w := probes.Write{Client: client, Seq: seq}
			c, settled := s.told[w]
			if client == len(s.streams)-1 { // barriers
				c, settled = acked, true
			}
			n := s.sys.rows[client][seq]
			switch {
			case settled && (c == acked || c == degraded):
				out.Acked += int64(1 - c)
				out.Degraded += int64(c)
				if n == 0 {
					out.Lost++
					out.LostDegr += int64(c)
					say(timeline.Lost, w)
					if earliest < 0 || s.back[w] < earliest {
						earliest = s.back[w]
					}
				}
			case settled && c == failed:
				out.Failed++
				if n > 0 {
					out.Phantom++
					say(timeline.Phantom, w)
				}
			case n > 0:
				out.Unknown++
				out.Recovered++
				if s.given[w] {
					out.Late++
					say(timeline.Late, w)
				}
			default:
				out.Unknown++
				out.Absent++
				s.given[w] = s.given[w] || settled
			}
		}
	}
	for client, rows := range s.sys.rows {
		for seq, n := range rows {
			out.Rows += int64(n)
			w := probes.Write{Client: client, Seq: seq}
			for range n - 1 {
				out.Duplicate++
				say(timeline.Duplicate, w)
			}
			if client >= len(s.streams) || seq >= s.streams[client].books.issued() {
				out.Phantom++
				say(timeline.Phantom, w)
			}
		}
	}
	out.SurvivorMS = s.survivor(earliest)
	for _, list := range ids {
		slices.Sort(list)
	}
	return out, ids
}

func (s *script) survivor(before time.Duration) []float64 {
	var best time.Duration = -1
	for w, back := range s.back {
		if c := s.told[w]; (c == acked || c == degraded) && back < before && s.sys.rows[w.Client][w.Seq] > 0 {
			best = max(best, back)
		}
	}
	if before < 0 || best < 0 {
		return nil
	}
	return []float64{-1, timeline.MS(best)} // when it was sent is not unique
}

// check audits, and compares counts and events with the truth.
func (s *script) check(name string) {
	s.t.Helper()
	seen := s.rec.Next()
	got := s.audit(name)
	want, ids := s.truth()
	if len(got.SurvivorMS) == 2 {
		got.SurvivorMS[0] = -1
	}
	got.LostFile = ""
	if d := cmp.Diff(want, got); d != "" {
		s.t.Fatalf("%s (-want +got)\n%s", name, d)
	}
	told := map[timeline.Kind][]string{}
	for _, e := range s.rec.Timeline()[seen:] {
		switch e.Kind {
		case timeline.Lost, timeline.Late, timeline.Phantom, timeline.Duplicate:
			told[e.Kind] = append(told[e.Kind], e.Value)
		}
		if e.Kind == timeline.Lost {
			s.checkLost(e)
		}
	}
	for _, list := range told {
		slices.Sort(list)
	}
	if d := cmp.Diff(ids, told); d != "" {
		s.t.Fatalf("events of %s (-want +got)\n%s", name, d)
	}
}

// checkLost says whether the event holds what was told when the write was made.
func (s *script) checkLost(e timeline.Event) {
	var w probes.Write
	if _, err := fmt.Sscanf(e.Value, "%d/%d", &w.Client, &w.Seq); err != nil {
		s.t.Fatal(err)
	}
	if w.Client == len(s.streams)-1 {
		return
	}
	want := fmt.Sprintf(`app/%d pg1 1 {"class":"%s"} %v`, w.Client, s.told[w], s.back[w])
	if got := fmt.Sprintf("%s %s %s %s %v", e.By, e.Node, e.Epoch, e.Data, e.At.Hi); got != want {
		s.t.Fatalf("lost %s: got %s, want %s", e.Value, got, want)
	}
}

func TestAnAuditFindsExactlyWhatHappenedToTheWrites(t *testing.T) {
	cases := 3000
	if testing.Short() {
		cases = 300
	}
	for seed := range cases {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			s := newScript(t, uint64(seed))
			if seed%250 == 0 { // beyond a chunk
				s.write(70_000*(len(s.streams)-1), 0)
			}
			s.write(s.rand.IntN(400), []int{0, 10, 100, 1000}[s.rand.IntN(4)])
			if s.rand.IntN(3) == 0 {
				s.ghosts()
			}
			s.check("A1")
			s.shift()
			s.write(s.rand.IntN(50), 100)
			s.check("A2")
			if err := s.keep.close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestAnAuditDoesNotBeginBeforeABarrierWriteCameBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := newSystem()
		b := start(t, sys, Config{Rate: 100})
		pass(time.Second)
		b.stop()
		sys.ready = func(ctx context.Context) error { <-ctx.Done(); return errors.New("in recovery") }
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		n := b.rec.Next()
		if out, err := b.Audit(ctx, "A1", nil, b.rec.Emit); err == nil || out.Acked != 0 || !strings.Contains(err.Error(), "in recovery") {
			t.Errorf("audited while the primary was in recovery: %+v, %v", out, err)
		}
		if got := b.rec.Timeline()[n:]; len(events(got, func(e timeline.Event) bool { return e.By == By })) > 0 {
			t.Errorf("an audit that was not had said: %v", lines(got))
		}
		sys.ready = nil
		if out := b.audit("A1"); out.Lost != 0 || out.Unknown != 1 || out.Absent != 1 {
			t.Errorf("after recovery: %+v; want the first barrier as the one unknown write", out)
		}
	})
}

func TestWritersThatRunOnWhileAnAuditReadsAreNeverTakenForLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := newSystem()
		b := start(t, sys, Config{Rate: 1000, Nodes: []targets.Node{node("pg1"), node("pg2")}})
		sys.digest = func(d []probes.Digest) []probes.Digest { pass(3 * time.Second); return d }
		pass(5 * time.Second)
		for range 5 {
			if out := b.audit("A1"); out.Lost+out.Phantom+out.Duplicate+out.Late != 0 {
				t.Errorf("%+v", out)
			}
		}
	})
}

func TestOfTooManyLossesTheEarliestAreToldAndAllAreListed(t *testing.T) {
	s := newScript(t, 1)
	s.write(3*EventMax, 0)
	s.sys.rows = map[int]map[uint64]int{}
	out := s.audit("A1")
	if out.Lost != 3*EventMax {
		t.Fatalf("%d lost of %d", out.Lost, 3*EventMax)
	}
	lost := events(s.rec.Timeline(), func(e timeline.Event) bool { return e.Kind == timeline.Lost })
	if len(lost) != EventMax {
		t.Fatalf("%d events, want %d", len(lost), EventMax)
	}
	var all []time.Duration
	for _, back := range s.back {
		all = append(all, back)
	}
	slices.Sort(all)
	if last := lost[EventMax-1].At.Hi; last != all[EventMax-1] {
		t.Errorf("the latest loss told was acknowledged at %v, the %d'th of all at %v", last, EventMax, all[EventMax-1])
	}
	list, err := os.ReadFile(filepath.Join(s.cfg.Dir, filepath.Base(out.LostFile)))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(list), "\n") - 1; n != 3*EventMax {
		t.Errorf("%s lists %d of %d losses", out.LostFile, n, 3*EventMax)
	}
}

func TestAReplicaIsReadWhenTheBarrierHasComeAndItsDifferencesAreNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t, 1)
		s.write(1000, 0)
		s.audit("A1")
		replica := map[int]map[uint64]int{}
		for client, rows := range s.sys.rows {
			replica[client] = map[uint64]int{}
			for seq, n := range rows {
				if client != 0 || seq != 7 {
					replica[client][seq] = n
				}
			}
		}
		audits := len(s.streams) - 1
		delete(replica[audits], 0)
		s.sys.replicas = map[string]map[int]map[uint64]int{"pg2": replica}
		arrived := time.AfterFunc(3*time.Second, func() {
			s.sys.mu.Lock()
			defer s.sys.mu.Unlock()
			replica[audits][0] = 1
		})
		defer arrived.Stop()
		n, began := s.rec.Next(), time.Now()
		out, err := s.Audit(t.Context(), "A3", node("pg2"), s.rec.Emit)
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < 3*time.Second || took > 4*time.Second {
			t.Errorf("read after %v; the barrier came after 3s", took)
		}
		if out.Lost != 1 || out.LostFile == "" {
			t.Errorf("%+v; want the one row that the replica lacks", out)
		}
		var got []string
		for _, e := range s.rec.Timeline()[n:] {
			got = append(got, fmt.Sprint(e.Kind, " ", e.Node, " ", e.Value, " ", e.Evidence))
		}
		want := []string{"audit pg2 A3 ", "note pg2 the rows differ from those of A1 A3 on pg2: 1 missing (first [0/7]), 0 more"}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
		if err := s.keep.close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestAReplicaThatNeverGetsTheBarrierIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t, 1)
		s.write(10, 0)
		s.audit("A1")
		s.sys.replicas = map[string]map[int]map[uint64]int{"pg2": {}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := s.Audit(ctx, "A3", node("pg2"), s.rec.Emit); err == nil || !strings.Contains(err.Error(), "barrier") {
			t.Errorf("got %v", err)
		}
		if _, err := s.Audit(ctx, "A1", node("pg2"), s.rec.Emit); err != nil {
			t.Errorf("the snapshot of an old primary, which never gets it, must not wait: %v", err)
		}
		if err := s.keep.close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestASystemThatGivesIDsItWasNotAskedForIsAnError(t *testing.T) {
	s := newScript(t, 1)
	s.write(10, 0)
	s.Workload.ledger = stray{s.sys}
	if _, err := s.Audit(t.Context(), "A1", nil, s.rec.Emit); err == nil || !strings.Contains(err.Error(), "not among those asked for") {
		t.Errorf("got %v", err)
	}
	if err := s.keep.close(); err != nil {
		t.Fatal(err)
	}
}

type stray struct{ *system }

func (stray) Digests(context.Context, targets.Node, string) ([]probes.Digest, error) { return nil, nil }
func (stray) IDs(_ context.Context, _ targets.Node, _ string, _ probes.Chunk, see func(uint64)) error {
	see(1 << 40)
	return nil
}
