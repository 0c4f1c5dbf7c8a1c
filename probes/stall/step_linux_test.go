package stall

import (
	"context"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/internal/vmtest"
)

func TestOnAMachineOfItsOwn(t *testing.T) {
	vmtest.Run(t, vmtest.Guest{Have: "root", Tests: []string{"TestAClockThatIsSetIsTold"}})
}

func TestAClockThatIsSetIsToldAndMovesNoInterval(t *testing.T) {
	vmtest.Inside(t) // never where anybody else lives
	rec := timeline.NewRecorder(time.Now(), 1, 0, nil)
	ctx, cancel := context.WithCancel(t.Context())
	ticks, done := make(chan time.Time), make(chan struct{})
	go func() {
		defer close(done)
		(&watcher{emit: rec.Emit}).watch(ctx, ticks)
	}()
	ticks <- time.Now()
	for _, by := range []time.Duration{time.Hour, -time.Hour - 90*time.Second} {
		now := unix.NsecToTimespec(time.Now().Add(by).UnixNano())
		if err := unix.ClockSettime(unix.CLOCK_REALTIME, &now); err != nil {
			t.Fatal(err)
		}
		ticks <- time.Now()
		ticks <- time.Now() // the look before has ended
	}
	cancel()
	<-done
	var notes []timeline.Event
	for _, e := range rec.Timeline() {
		if e.Kind == timeline.Note {
			notes = append(notes, e)
		}
	}
	if len(notes) != 2 {
		t.Fatalf("told: %+v; want two", rec.Timeline())
	}
	for i, want := range []time.Duration{time.Hour, -time.Hour - 90*time.Second} {
		e := notes[i]
		if off := (time.Duration(e.N) - want).Abs(); off > time.Minute || !strings.Contains(e.Value, "the clock of this machine was set by") {
			t.Errorf("told %q (%v), want %v", e.Value, time.Duration(e.N), want)
		}
		if w := e.At.Width(); w < 0 || w > time.Minute {
			t.Errorf("the interval is %v wide", w)
		}
	}
}
