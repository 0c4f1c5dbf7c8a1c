package stall

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/dapple-drills/dapple/drills/timeline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestARunnerThatRunsFreelyIsNotSaidToStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := timeline.NewRecorder(time.Now(), 1, 0, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		ticks := time.NewTicker(Period)
		defer ticks.Stop()
		(&watcher{emit: rec.Emit}).watch(ctx, ticks.C)
		if all := rec.Timeline(); len(all) > 0 {
			t.Errorf("told: %+v", all)
		}
	})
}

func TestEachStallIsToldOnceWithItsLength(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := timeline.NewRecorder(time.Now(), 1, 0, nil)
		ctx, cancel := context.WithCancel(t.Context())
		ticks, done := make(chan time.Time), make(chan struct{})
		go func() {
			defer close(done)
			(&watcher{emit: rec.Emit}).watch(ctx, ticks)
		}()
		// How long the probe's goroutine is kept from its look.
		for _, d := range []time.Duration{5, 5, 25, 5, 26, 5, 500, 5} {
			<-time.After(d * time.Millisecond)
			ticks <- time.Now()
		}
		cancel()
		<-done
		all := rec.Timeline()
		if len(all) != 2 || all[0].N != int64(21*time.Millisecond) || all[1].N != int64(495*time.Millisecond) ||
			all[1].At.Width() != 495*time.Millisecond || all[0].Kind != timeline.Stall {
			t.Errorf("told: %+v; want stalls of 21ms and 495ms (25ms is at the threshold)", all)
		}
	})
}
