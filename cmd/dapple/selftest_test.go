package main

import (
	"testing"

	"github.com/dapple-drills/dapple/drills/selftest"
)

// A number that is wrong, or a broken pipeline that was not caught, is a missed
// objective of dapple's own; a run that does not count proves nothing.
func TestTheExitCodeOfASelftestFollowsTheContract(t *testing.T) {
	wrong := []selftest.Miss{{Seed: 1}}
	caught, not := []selftest.Control{{Caught: true}}, []selftest.Control{{Caught: true}, {Caught: false}}
	for _, x := range []struct {
		rep  selftest.Report
		want int
	}{
		{selftest.Report{Runs: 2, Counted: 2, Controls: caught}, 0},
		{selftest.Report{Runs: 2, Counted: 1, Controls: caught}, 5},
		{selftest.Report{Runs: 2, Counted: 2, Controls: not}, 1},
		{selftest.Report{Runs: 2, Counted: 2, Wrong: wrong}, 1},
		{selftest.Report{Runs: 2, Counted: 1, Wrong: wrong}, 1},
	} {
		if got := codeOfSelftest(x.rep); got != x.want {
			t.Errorf("%+v: exit code %d, want %d", x.rep, got, x.want)
		}
	}
}
