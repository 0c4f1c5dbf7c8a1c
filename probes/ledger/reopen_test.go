package ledger

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/probes"
)

// crash copies what is on disk at this moment, and tears the ends of the
// segments at random, as a dead runner or a power cut leaves them.
func crash(t *testing.T, dir string, r *rand.Rand) string {
	t.Helper()
	to := t.TempDir()
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(e.Name(), ".seg") && r.IntN(2) == 0 {
			data = data[:r.IntN(len(data)+1)]
		}
		if err := os.WriteFile(filepath.Join(to, e.Name()), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func TestACrashOfTheRunnerLeavesNoAmbiguousID(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := rand.New(rand.NewPCG(seed, 0))
				sys := newSystem()
				b := start(t, sys, Config{Rate: 2000, Apps: 3})
				pass(time.Duration(r.Int64N(int64(20 * time.Second))))
				sys.set(manner(r.IntN(6)), "")
				pass(time.Duration(r.Int64N(int64(5 * time.Second))))
				sys.set(serving, "")
				pass(time.Duration(r.Int64N(int64(5 * time.Second))))
				dir := crash(t, b.cfg.Dir, r)
				pass(time.Duration(r.Int64N(int64(3 * time.Second)))) // what was in flight
				b.stop()
				auditAfter(t, sys, dir)
			})
		})
	}
}

// auditAfter reopens the books twice, and compares with what clients were told.
func auditAfter(t *testing.T, sys *system, dir string) {
	t.Helper()
	for range 2 {
		w, err := Reopen(Config{System: sys, Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		checkBooks(t, sys, w)
		rec := timeline.NewRecorder(w.cfg.Base, 1, 0, nil)
		// Rows above the marks are of the time after the crash.
		for client, st := range w.streams {
			for seq := range sys.rows[client] {
				if seq >= st.books.issued() {
					delete(sys.rows[client], seq)
				}
			}
		}
		out, err := w.Audit(t.Context(), "A1", nil, rec.Emit)
		if err != nil {
			t.Fatal(err)
		}
		lied := int64(0)
		for client, st := range w.streams {
			for seq := range st.books.issued() {
				told := sys.truth[probes.Write{Client: client, Seq: seq}]
				if told == probes.Acked && sys.rows[client][seq] == 0 && st.books.chunks[seq>>probes.ChunkBits].sets[acked].has(seq%chunkSize) {
					lied++
				}
			}
		}
		if out.Lost != lied || out.Phantom+out.Duplicate+out.Late != 0 {
			t.Fatalf("%d acknowledged writes on record are not there; the audit says %+v", lied, out)
		}
		if err := w.keep.close(); err != nil {
			t.Fatal(err)
		}
	}
}

// checkBooks says whether every id on record has the class that its client was
// told, and every other one that may have been tried is unknown.
func checkBooks(t *testing.T, sys *system, w *Workload) {
	t.Helper()
	for client, st := range w.streams[:len(w.streams)-1] {
		for seq := range st.books.issued() {
			told, tried := sys.truth[probes.Write{Client: client, Seq: seq}]
			ch := st.books.chunks[seq>>probes.ChunkBits]
			for c, s := range ch.sets {
				if s.has(seq%chunkSize) && class(c) != unknown && (!tried || classNames[c] != told) {
					t.Fatalf("%s is booked %v; its client was told %q", id(client, seq), class(c), told)
				}
			}
		}
	}
	for w_ := range sys.truth {
		if w_.Client < len(w.streams) && w_.Seq >= w.streams[w_.Client].books.issued() && w_.Seq < block {
			t.Fatalf("%s was given out and is above the mark", id(w_.Client, w_.Seq))
		}
	}
}

func TestNoIDIsGivenOutAboveTheMarkOnDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys, dir := newSystem(), t.TempDir()
		var highest atomic.Uint64
		sys.onPut = func(w probes.Write) {
			r, err := readReservation(dir)
			if err != nil || w.Seq >= r.Reserved[w.Client] {
				t.Errorf("%s was sent; the marks on disk are %v (%v)", id(w.Client, w.Seq), r.Reserved, err)
			}
			highest.Store(max(highest.Load(), w.Seq))
		}
		start(t, sys, Config{Rate: 0, Apps: 1, FreshPeriod: Off, Dir: dir})
		pass(10 * time.Second)
		if n := highest.Load(); n < 2*block {
			t.Errorf("only %d ids were given out, no block was reserved on the way", n)
		}
	})
}

func TestWhenTheDiskFailsTheWritesStopAndNothingIsClaimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := newSystem()
		rec := timeline.NewRecorder(time.Now(), 1, 0, nil)
		dir := filepath.Join(t.TempDir(), "gone")
		w := New(Config{System: sys, Run: "r", Dir: dir, Rate: 0, Apps: 1, FreshPeriod: Off})
		if err := w.Start(t.Context(), rec.Emit); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute) // longer than the reserved ids last
		if err := w.Err(); err == nil || !strings.Contains(err.Error(), "reserve ids") {
			t.Errorf("the books cannot be kept, and Err says %v", err)
		}
		if r := w.Recent(time.Second); r.Acked > 0 {
			t.Errorf("%d writes in the last second, of which no one keeps books", r.Acked)
		}
		if _, err := w.Audit(t.Context(), "A1", nil, rec.Emit); err == nil {
			t.Error("an audit was had from books that could not be kept")
		}
		if err := w.Close(t.Context()); err == nil {
			t.Error("closing says nothing of books that could not be kept")
		}
	})
}

func TestBooksThatAreNoneAreSaidToBe(t *testing.T) {
	for want, content := range map[string]string{
		"reads \"dapple.ledger/v1\"": `{"format": "dapple.ledger/v9"}`,
		"2 streams and 1 marks":      `{"format": "dapple.ledger/v1", "streams": ["a", "b"], "reserved": [1]}`,
		"invalid character":          `nonsense`,
		"client-000.seg":             `{"format": "dapple.ledger/v1", "run": "r", "streams": ["a"], "reserved": [1]}`,
		"of run r, not of x":         `{"format": "dapple.ledger/v1", "run": "r", "streams": ["a"], "reserved": [1]}`,
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, reservedFile), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		run := ""
		if strings.Contains(want, "not of x") {
			run = "x"
		}
		if _, err := Reopen(Config{System: newSystem(), Run: run, Dir: dir}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error with %q, got %v", want, err)
		}
	}
	if _, err := Reopen(Config{System: newSystem(), Dir: t.TempDir()}); err == nil {
		t.Error("an empty directory was opened as the books of a run")
	}
}
