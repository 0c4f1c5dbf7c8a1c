package ledger

import (
	"context"
	"errors"
	"fmt"
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

func TestAnAuditFindsExactlyWhatHappenedToTheWrites(t *testing.T) {
	cases := 2000
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

func TestASecondAuditNamesWhatWasErasedAndWhatCameBack(t *testing.T) {
	s := newScript(t, 1)
	s.write(1000, 0)
	rows := s.sys.rows[0]
	delete(rows, 3)
	s.audit("A1")
	n := s.rec.Next()
	rows[3] = 1
	delete(rows, 7)
	delete(rows, 8)
	s.audit("A2")
	notes := events(s.rec.Timeline()[n:], by(timeline.Note, By))
	want := "A2: 2 missing (first [0/7 0/8]), 1 more (first [0/3])"
	if len(notes) != 1 || notes[0].Evidence != want || notes[0].N != 3 {
		t.Errorf("told %v, want %q", lines(notes), want)
	}
	if err := s.keep.close(); err != nil {
		t.Fatal(err)
	}
}
