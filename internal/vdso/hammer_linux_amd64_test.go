package vdso

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/targets"
)

// TestMain is also the victims and the holders that tests start anew.
func TestMain(m *testing.M) {
	switch what := os.Getenv("VDSO_TEST"); what {
	case "":
		os.Exit(m.Run())
	case "go victim":
		goVictim()
	default:
		if err := hold(what); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

// cycles arms and disarms until d has passed and there were at least some, and counts.
func cycles(t testing.TB, p *Process, d time.Duration) (n int) {
	t.Helper()
	for begin := time.Now(); time.Since(begin) < d || n < 20; n++ {
		skewed(t, p, Skew{Offset: time.Duration(n+1) * time.Minute}, 10*time.Second)
		disarmed(t, p)
	}
	return n
}

// hammering is how long each victim is armed and disarmed, without a pause.
const hammering = 3 * time.Second

func TestAProgramThatAsksForTheTimeWithoutEndSurvivesEveryChange(t *testing.T) {
	l, v := own(t), run(t, built(t), "4")
	p := v.open(l)
	before := v.ask("read").Calls
	n := cycles(t, p, hammering)
	s := v.ask("read")
	s.is(t, 0)
	t.Logf("%d times armed and disarmed while it asked %d times", n, s.Calls-before)
	if s.Calls == before {
		t.Error("it did not ask meanwhile")
	}
}

// goVictim asks for the time in many goroutines, allocates, and ends by itself if an
// answer cannot be.
func goVictim() {
	var asked atomic.Int64
	var keep sync.Map
	for i := range 4 {
		go func() {
			mono := time.Now()
			for n := 0; ; n++ {
				now := time.Now()
				if now.Before(mono) { // compares the monotonic clock
					fmt.Println("the monotonic clock went back")
					os.Exit(1)
				}
				mono = now
				asked.Add(1)
				if n%64 == 0 {
					keep.Store(i, make([]byte, 4096))
				}
			}
		}()
	}
	fmt.Println("ready")
	var line string
	for {
		if _, err := fmt.Scanln(&line); err != nil {
			return
		}
		before, err := Truth()
		said := time.Now().UnixNano()
		after, err2 := Truth()
		if err != nil || err2 != nil {
			os.Exit(1)
		}
		fmt.Printf(`{"realtime":[%d,%d],"calls":%d}`+"\n", said-after, said-before, asked.Load())
	}
}

func TestAGoProgramSurvivesEveryChangeAndSeesTheSkew(t *testing.T) {
	l := own(t)
	t.Setenv("VDSO_TEST", "go victim")
	v := run(t, "/proc/self/exe")
	p := v.open(l)
	before := v.ask("read").Calls
	n := cycles(t, p, hammering)
	skewed(t, p, Skew{Offset: time.Hour}, time.Minute)
	s := v.ask("read")
	if s.Realtime[0] > int64(time.Hour) || s.Realtime[1] < int64(time.Hour) {
		t.Errorf("time.Now is %v to %v from the truth", time.Duration(s.Realtime[0]), time.Duration(s.Realtime[1]))
	}
	if s.Calls == before {
		t.Error("it did not ask meanwhile")
	}
	disarmed(t, p)
	t.Logf("%d times armed and disarmed while it asked %d times", n, s.Calls-before)
}

func TestNoSignalIsLostAndNoneComesTwice(t *testing.T) {
	l, v := own(t), run(t, built(t), "1")
	p := v.open(l)
	const sent = 5000
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stops := make(chan int, 1)
	go func() {
		n := 0
		for ; ctx.Err() == nil; n++ {
			// Errors show in what the victim says: it must have had every signal.
			_ = p.Arm(ctx, Skew{Offset: time.Minute})
			_ = p.Disarm(ctx)
		}
		stops <- n
	}()
	s := v.ask("signals " + strconv.Itoa(sent))
	cancel()
	n := <-stops
	t.Logf("%d of %d signals were handled in %d stops", s.Handled, sent, 2*n)
	if s.Handled != sent || s.Wrong != 0 || n == 0 {
		t.Errorf("%d of %d signals were handled, %d answers cannot be, in %d stops", s.Handled, sent, s.Wrong, 2*n)
	}
}

// Who gives up on a thread that was let go on and does not stop again in time (on a
// busy machine) takes no signal from it, which it may stop for the moment after: a
// server that was told to end must not stay.
func TestToGiveUpOnAThreadTakesNoSignalFromIt(t *testing.T) {
	v := run(t, built(t), "0")
	const sent = 300
	given := 0
	for range sent {
		kernel.Thread(func() {
			s := &stop{pid: v.id.PID, held: map[int]int{}, until: time.Now().Add(time.Minute)}
			// The thread that gave up before may not have ended yet: nobody else traces it.
			for err := s.all(t.Context()); err != nil; err = s.all(t.Context()) {
				if !errors.Is(err, ErrBusy) || time.Now().After(s.until) {
					t.Error(err)
					return
				}
			}
			if err := syscall.Kill(v.id.PID, rtmin); err != nil {
				t.Error(err)
			}
			s.until = time.Now() // there is no time left for it to stop again
			if errors.Is(s.goOn(t.Context(), v.id.PID), ErrBusy) {
				given++
			}
			for stands := false; !stands; {
				code, _, err := look(v.id.PID)
				stands = code != 0 || err != nil
			}
			s.release()
		})
	}
	// It handles the last of them before it reads on.
	if s := v.ask("read"); s.Handled != sent || given == 0 {
		t.Errorf("%d of %d signals were handled, it was given up %d times", s.Handled, sent, given)
	}
	t.Logf("it was given up %d times in %d", given, sent)
}

// rtmin is the first real-time signal that the C library leaves to programs.
const rtmin = syscall.Signal(34)

// hold arms and disarms a process until it is killed.
func hold(what string) error {
	var id targets.ProcID
	if _, err := fmt.Sscanf(what, "hold %d %d", &id.PID, &id.Start); err != nil {
		return err
	}
	l, err := Own()
	if err != nil {
		return err
	}
	p, err := l.Open(id)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for n := 0; ctx.Err() == nil; n++ {
		for _, do := range []func() error{func() error { return p.Arm(ctx, Skew{Offset: time.Minute}) }, func() error { return p.Disarm(ctx) }} {
			if err := do(); err != nil && !errors.Is(err, ErrBusy) {
				return err
			}
		}
		if n == 0 {
			fmt.Println("ready")
		}
	}
	return ctx.Err()
}

// Whoever holds the threads may be killed at any instant: they go on, and what was
// half made is taken back by another.
func TestAHolderThatIsKilledAtAnyInstantLeavesARunningProcess(t *testing.T) {
	l, v := own(t), run(t, built(t), "3")
	p := v.open(l)
	const kills = 10
	for i := range kills {
		t.Setenv("VDSO_TEST", fmt.Sprintf("hold %d %d", v.id.PID, v.id.Start))
		holder := exec.Command("/proc/self/exe")
		holder.Stderr = os.Stderr
		out, err := holder.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := holder.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 16)); err != nil { // it is at work
			t.Fatal(err)
		}
		<-time.After(time.Duration(i) * 137 * time.Microsecond) // another instant each time
		if err := holder.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		_ = holder.Wait()
		v.ask("read").is(t, 0) // it runs, and nobody gave it a lease
		disarmed(t, p)
		if s, err := p.Look(); err != nil || s.State != Inert {
			t.Fatalf("%s, %v", s.State, err)
		}
	}
	v.ask("read").is(t, 0)
}

// The cost of asking, in the same process of the same run: as the kernel made it,
// and skewed. And how long it takes to make a process skewed, and to take it back.
func BenchmarkSkew(b *testing.B) {
	l, v := own(b), run(b, built(b, "-O2"), "0")
	p := v.open(l)
	costs := func(b *testing.B, suffix string) {
		s := struct{ Realtime, Monotonic, Gettimeofday, Time float64 }{}
		v.decode("bench", &s)
		for name, ns := range map[string]float64{"realtime": s.Realtime, "monotonic": s.Monotonic, "gettimeofday": s.Gettimeofday, "time": s.Time} {
			b.ReportMetric(ns, "ns/"+name+suffix)
		}
	}
	b.Run("a call", func(b *testing.B) {
		for b.Loop() {
			costs(b, "-true")
			skewed(b, p, Skew{Offset: time.Minute}, time.Minute)
			costs(b, "-skewed")
			disarmed(b, p)
		}
	})
	for _, threads := range []int{1, 16} {
		b.Run(fmt.Sprintf("a process with %d idle threads", threads), func(b *testing.B) {
			p := idle(b, threads)
			back := time.Duration(0)
			for b.Loop() {
				skewed(b, p, Skew{Offset: time.Minute}, time.Minute)
				b.StopTimer()
				begin := time.Now()
				disarmed(b, p)
				back += time.Since(begin)
				b.StartTimer()
			}
			b.ReportMetric(float64(back.Nanoseconds())/float64(b.N), "ns/revert")
		})
	}
	b.Run("a renewal", func(b *testing.B) {
		skewed(b, p, Skew{Offset: time.Minute}, time.Minute)
		for b.Loop() {
			if err := p.Renew(LeaseOf(now(b), time.Minute)); err != nil {
				b.Fatal(err)
			}
		}
		disarmed(b, p)
	})
}

// idle starts a process whose threads wait.
func idle(b *testing.B, threads int) *Process {
	v := run(b, built(b), "0")
	for range threads / 2 { // two threads that wait at a time
		v.in.Write([]byte("waits\n"))
		v.line()
	}
	return v.open(own(b))
}
