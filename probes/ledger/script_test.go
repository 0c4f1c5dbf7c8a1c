package ledger

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/probes"
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
