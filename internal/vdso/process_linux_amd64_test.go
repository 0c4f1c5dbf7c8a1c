package vdso

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/targets"
)

func again(t testing.TB, do func() error) {
	t.Helper()
	for begin := time.Now(); ; {
		err := do()
		if err == nil {
			return
		}
		if !errors.Is(err, ErrBusy) || time.Since(begin) > 30*time.Second {
			t.Fatal(err)
		}
	}
}

func TestEveryWayToAskForTheTimeIsSkewedAndNothingElse(t *testing.T) {
	l := own(t)
	if why := l.Slow(); why != "" {
		t.Logf("system calls are made: %s", why)
	}
	for name, flags := range map[string][]string{"dynamic": nil, "static": {"-static"}} {
		t.Run(name, func(t *testing.T) {
			v := run(t, built(t, flags...), "2")
			p := v.open(l)
			v.ask("read").is(t, 0)
			for _, offset := range []time.Duration{time.Minute, -time.Minute, 1, 24 * 365 * time.Hour} {
				skewed(t, p, Skew{Offset: offset}, time.Minute)
				v.ask("read").is(t, offset)
				v.ask("fork").is(t, offset)
				v.ask("exec").is(t, 0) // a new program has a new vDSO
				disarmed(t, p)
				v.ask("read").is(t, 0)
			}
			if s, err := p.Look(); err != nil || s.State != Inert {
				t.Errorf("%v, %v", s.State, err)
			}
		})
	}
}

func TestAnUntouchedProcessAndOneThatIsDoneAreTold(t *testing.T) {
	l, v := own(t), run(t, built(t), "1")
	p := v.open(l)
	states := []State{}
	see := func() {
		t.Helper()
		s, err := p.Look()
		if err != nil {
			t.Fatal(err)
		}
		states = append(states, s.State)
	}
	see()
	armed(t, p, Skew{Offset: time.Hour})
	see()
	v.ask("read").is(t, 0) // armed without a lease
	disarmed(t, p)
	see()
	for i, want := range []State{Untouched, Armed, Inert} {
		if states[i] != want {
			t.Errorf("look %d: %s, want %s", i, states[i], want)
		}
	}
	// A process dies with its memory.
	if err := v.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = v.cmd.Wait()
	if _, err := p.Look(); !errors.Is(err, targets.ErrGone) {
		t.Errorf("looking at a dead process: %v", err)
	}
	if err := p.Arm(t.Context(), Skew{}); !errors.Is(err, targets.ErrGone) {
		t.Errorf("arming a dead process: %v", err)
	}
	if _, err := l.Open(v.id); !errors.Is(err, targets.ErrGone) {
		t.Errorf("opening a dead process: %v", err)
	}
}

func TestTheLeaseEndsByItselfAndIsRenewedWhileTheProcessRuns(t *testing.T) {
	l, v := own(t), run(t, built(t), "2")
	p := v.open(l)
	const lease = 400 * time.Millisecond
	skewed(t, p, Skew{Offset: time.Hour}, lease)
	for begin := time.Now(); time.Since(begin) < 2*lease; {
		if err := p.Renew(LeaseOf(now(t), 10*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	v.ask("read").is(t, time.Hour)
	end := now(t) + int64(lease)
	if err := p.Renew(Lease{end, lease}); err != nil {
		t.Fatal(err)
	}
	for {
		before := now(t)
		s := v.ask("read")
		if s.Realtime[1] < int64(time.Minute) {
			if now(t) < end {
				t.Error("it ended before its lease")
			}
			if s.Coarse[0] > 0 {
				continue // the coarse clocks are up to a tick behind, also here
			}
			s.is(t, 0)
			break
		}
		if before > end {
			t.Fatalf("it lasts %v longer than its lease", time.Duration(before-end))
		}
	}
	// A deadline that is further away than any lease is one of a clock that was
	// set back since.
	if err := p.Renew(Lease{now(t) + int64(time.Hour), lease}); err != nil {
		t.Fatal(err)
	}
	v.ask("read").is(t, 0)
}

func TestDriftAndStrobeAreComputedInTheProcess(t *testing.T) {
	l, v := own(t), run(t, built(t), "1")
	p := v.open(l)
	const percent = 1 << 32 / 100
	skewed(t, p, Skew{Rate: 10 * percent}, time.Minute)
	image, err := p.Look()
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		before := image.Skew.At(now(t))
		s := v.ask("read")
		after := image.Skew.At(now(t))
		if s.Realtime[1] < int64(before) || s.Realtime[0] > int64(after) {
			t.Fatalf("drifted by %v to %v, want %v to %v", time.Duration(s.Realtime[0]), time.Duration(s.Realtime[1]), before, after)
		}
	}
	disarmed(t, p)
	skewed(t, p, Skew{Offset: time.Hour, Period: 20 * time.Millisecond}, time.Minute)
	seen := map[bool]int{}
	for begin := time.Now(); (seen[true] < 3 || seen[false] < 3) && time.Since(begin) < 20*time.Second; {
		s := v.ask("read")
		is := s.Realtime[1] > int64(time.Minute)
		seen[is]++
		if want := int64(time.Hour); is && (s.Realtime[0] > want || s.Realtime[1] < want) {
			t.Errorf("%v", s.Realtime)
		}
	}
	if seen[true] < 3 || seen[false] < 3 {
		t.Errorf("it does not go there and back: %v", seen)
	}
}

// The bad twins: what is written and does not work must not be taken for a skew.
func TestTheWitnessAnswersWhatTheProcessWouldAnswer(t *testing.T) {
	l, v := own(t), run(t, built(t), "1")
	p := v.open(l)
	look := func() Sight {
		t.Helper()
		s, err := p.Look()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	untouched := look().Image
	skewed(t, p, Skew{Offset: time.Hour}, time.Minute)
	live := look()
	half := bytes.Clone(live.Image)
	copy(half[l.hooks[1].at:], untouched[l.hooks[1].at:l.hooks[1].at+word])
	if s := l.Judge(half); s.State != Partial {
		t.Errorf("with two of three jumps it is %s", s.State)
	}
	over := bytes.Clone(live.Image)
	copy(over[l.at+offLease:], words(0))
	hour, none := time.Hour, time.Duration(0)
	err := l.Witness(t.Context(), func(ask func([]byte) ([]Reading, error)) error {
		for _, c := range []struct {
			image []byte
			want  [3]time.Duration
		}{
			{untouched, [3]time.Duration{none, none, none}},
			{live.Image, [3]time.Duration{hour, hour, hour}},
			{half, [3]time.Duration{hour, none, hour}},
			{over, [3]time.Duration{none, none, none}},
		} {
			got, err := ask(c.image)
			if err != nil {
				return err
			}
			for i, r := range got {
				if !r.Includes(c.want[i]) {
					t.Errorf("%s is %v to %v from the truth, want %v", r.Function, r.Lo, r.Hi, c.want[i])
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	v.ask("read").is(t, hour) // it noticed nothing
}

func TestWhatSomebodyElseChangedIsLeftAlone(t *testing.T) {
	l, v := own(t), run(t, built(t), "0")
	p := v.open(l)
	theirs := []byte{0xcc}
	if err := p.poke(l.hooks[0].at+16, theirs); err != nil { // a debugger's breakpoint
		t.Fatal(err)
	}
	if s, err := p.Look(); err != nil || s.State != Foreign {
		t.Errorf("%s, %v", s.State, err)
	}
	if err := p.Arm(t.Context(), Skew{Offset: time.Hour}); !errors.Is(err, targets.ErrUnsupported) {
		t.Errorf("%v, want unsupported", err)
	}
	if err := p.Disarm(t.Context()); err != nil {
		t.Error(err)
	}
	if s, err := p.Look(); err != nil || s.Image[l.hooks[0].at+16] != 0xcc {
		t.Errorf("their change is gone: %v", err)
	}
}

// Should it die at any moment, its halves are found and taken back by another one.
func TestAHalfMadeChangeIsTakenBack(t *testing.T) {
	l, v := own(t), run(t, built(t), "1")
	p := v.open(l)
	armed(t, p, Skew{Offset: time.Hour})
	for _, h := range l.hooks {
		s, err := p.Look()
		if err != nil {
			t.Fatal(err)
		}
		if err := p.poke(h.at, l.image[h.at:h.at+word]); err != nil { // as if it had got so far
			t.Fatal(err)
		}
		_ = s
		disarmed(t, p)
		v.ask("read").is(t, 0)
		s, err = p.Look()
		if err != nil || s.State != Inert {
			t.Fatalf("%s, %v", s.State, err)
		}
		armed(t, p, Skew{Offset: time.Hour})
	}
}

func TestABusyOrTracedProcessIsRefusedAndGoesOn(t *testing.T) {
	l, v := own(t), run(t, built(t), "1")
	p := v.open(l)
	done := make(chan struct{})
	release := make(chan struct{})
	go func() {
		defer close(done)
		_ = stopped(t.Context(), v.id.PID, nil, func() error { // another tracer
			release <- struct{}{}
			<-release
			return nil
		})
	}()
	<-release
	// The tracer is a thread of this process: one that has not ended, for all that is known.
	if err := p.Arm(t.Context(), Skew{Offset: time.Hour}); !errors.Is(err, ErrBusy) {
		t.Errorf("a traced process: %v", err)
	}
	release <- struct{}{}
	<-done
	v.ask("read").is(t, 0)
}

func TestTheCommittedBytesAreThoseOfTheSource(t *testing.T) {
	for _, tool := range []string{"as", "objcopy"} {
		if _, err := exec.LookPath(tool); err != nil {
			built(t) // a machine with a C compiler has them
			t.Fatal(err)
		}
	}
	out := filepath.Join(t.TempDir(), "bin")
	if text, err := exec.Command("sh", "payload/assemble.sh", "amd64", out).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	bytesOf, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(bytesOf, assembled) {
		t.Error("payload/amd64.bin is not what payload/amd64.S makes: go generate ./internal/vdso")
	}
}

func TestWaitsForAnAbsoluteTimeAreFound(t *testing.T) {
	v := run(t, built(t), "0")
	if got, err := Waits(v.id.PID); err != nil || len(got) != 0 {
		t.Errorf("before: %v, %v", got, err)
	}
	v.in.Write([]byte("waits\n"))
	v.line()
	until(t, func() bool { got, err := Waits(v.id.PID); return err == nil && len(got) == 3 })
}

func until(t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("it did not come to be")
		}
	}
}
