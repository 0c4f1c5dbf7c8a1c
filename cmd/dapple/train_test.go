package main

import (
	"context"
	"slices"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/dapple-drills/dapple/drills/training"
)

// symptom RUN failing|served waits until the training in that directory shows that no
// client is served, or that all are.
func symptom(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 || !slices.Contains([]string{"failing", "served"}, args[1]) {
		ts.Fatalf("usage: symptom RUN failing|served")
	}
	dir, last := ts.MkAbs(args[0]), ""
	ok := inTime(func() bool {
		c, err := training.Open(dir)
		if err != nil {
			last = err.Error()
			return false
		}
		s, err := c.State(context.Background())
		if err != nil {
			last = err.Error()
			return false
		}
		if !s.Running || s.Clients == 0 {
			last = "no client writes"
			return false
		}
		last = "some are"
		return args[1] == "failing" && s.Served == 0 || args[1] == "served" && s.Served == s.Clients
	})
	if !ok {
		ts.Fatalf("clients are not %s after three minutes: %s", args[1], last)
	}
}

// inTime asks again and again, for three minutes at most: a busy machine is slow, and
// so is a drill that waits for a steady state.
func inTime(there func() bool) bool {
	deadline := time.NewTimer(3 * time.Minute)
	defer deadline.Stop()
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for {
		if there() {
			return true
		}
		select {
		case <-deadline.C:
			return false
		case <-look.C:
		}
	}
}
