package stall

import (
	"context"
	"errors"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/internal/testenv"
)

// contend keeps two threads of this process busy on one processor until ctx ends: each
// waits while the other has it, and a thread elsewhere is held up by neither.
func contend(ctx context.Context, t *testing.T) (done <-chan struct{}) {
	t.Helper()
	var allowed, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		t.Fatal(err)
	}
	for cpu := range 1024 {
		if allowed.IsSet(cpu) {
			one.Set(cpu)
			break
		}
	}
	over := make(chan struct{})
	ended := make(chan struct{})
	for range 2 {
		go func() {
			defer func() { over <- struct{}{} }()
			runtime.LockOSThread() // and never unlocked: the thread ends with its processor's set
			if err := unix.SchedSetaffinity(0, &one); err != nil {
				t.Error(err)
				return
			}
			for ctx.Err() == nil {
				spin(time.Millisecond)
			}
		}()
	}
	go func() {
		defer close(ended)
		<-over
		<-over
	}()
	return ended
}

func spin(d time.Duration) {
	for begin := time.Now(); time.Since(begin) < d; {
	}
}

func queueOf(t *testing.T) *queue {
	t.Helper()
	q, err := openQueue()
	if errors.Is(err, os.ErrNotExist) {
		testenv.Need(t, "schedstat", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func TestAThreadThatWaitsForAProcessorIsTold(t *testing.T) {
	q := queueOf(t)
	defer func() {
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	busy, stop := context.WithCancel(ctx)
	ended := contend(busy, t)
	ticks := time.NewTicker(Period)
	defer ticks.Stop()
	rec := timeline.NewRecorder(time.Now(), 1, 0, nil)
	rec.Subscribe(func(e timeline.Event) {
		if e.Kind == timeline.Stall && time.Duration(e.N) < Threshold {
			cancel() // of a thread: the probe tells none so short of its own
		}
	})
	(&watcher{emit: rec.Emit, queue: q}).watch(ctx, ticks.C)
	stop()
	<-ended
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		t.Fatalf("in a minute no thread of two on one processor was told to wait: %+v", rec.Timeline())
	}
	for _, e := range rec.Timeline() {
		if e.Kind == timeline.Stall && (e.N < int64(QueueThreshold) || e.At.Width() < time.Duration(e.N)) {
			t.Errorf("told: %+v; it is too short, or longer than its interval", e)
		}
	}
}

// Two threads share a processor for a second: what both are told to wait is about that.
func TestNoWaitOfAThreadIsMissedNorToldTwice(t *testing.T) {
	q := queueOf(t)
	begin := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	ended := contend(ctx, t)
	var sum time.Duration
	for over := false; !over; {
		select {
		case <-ended:
			over = true
		case <-time.After(QueuePeriod):
		}
		waited, err := q.look()
		if err != nil {
			t.Fatal(err)
		}
		sum += waited
	}
	took := time.Since(begin)
	// Of two that take turns one always waits; a turn that has just ended may be told
	// by no look, since its thread is gone.
	if sum < 400*time.Millisecond || sum > 2*took {
		t.Errorf("in %v one thread at a time was told to wait for %v in all", took, sum)
	}
	if err := q.Close(); err != nil {
		t.Error(err)
	}
}

// BenchmarkLook is one look at what the threads of a process with forty of them wait
// for; there are 100 per second.
func BenchmarkLook(b *testing.B) {
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	for range 40 {
		go func() {
			runtime.LockOSThread()
			<-ctx.Done()
		}()
	}
	q, err := openQueue()
	if err != nil {
		b.Fatal(err)
	}
	for len(q.threads) < 40 {
		if _, err := q.look(); err != nil {
			b.Fatal(err)
		}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	b.ReportAllocs()
	before := ran(b)
	for b.Loop() {
		if _, err := q.look(); err != nil {
			b.Fatal(err)
		}
	}
	// By what this thread ran, not by the clock: the machine may be busy with others.
	each := (ran(b) - before).Seconds() / float64(b.N)
	b.ReportMetric(float64(len(q.threads)), "threads")
	b.ReportMetric(each/QueuePeriod.Seconds()*100, "%-of-a-core")
	if err := q.Close(); err != nil {
		b.Error(err)
	}
}

// ran is for how long this thread had a processor.
func ran(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
