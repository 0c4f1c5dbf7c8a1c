package traces

import (
	"testing"
	"time"
)

func TestAStepOfTheClockIsLeftUnlessSomebodyKeepsIt(t *testing.T) {
	at := func(offset time.Duration, synced bool, keepers ...string) Look {
		return Look{Clock: &Clock{Offset: offset, Synced: synced, Keepers: keepers}}
	}
	for _, c := range []struct {
		name          string
		before, after Look
		want          int
	}{
		{"nothing", at(time.Hour, false), at(time.Hour, false), 0},
		{"what two readings differ", at(time.Hour, false), at(time.Hour+time.Millisecond, false), 0},
		{"a step", at(time.Hour, false), at(time.Hour-time.Second, false), 1},
		{"a step back to right, by the service", at(time.Hour, true, "chronyd"), at(time.Hour-time.Second, true, "chronyd"), 0},
		{"a step with the service held", at(time.Hour, true, "chronyd"), at(time.Hour+time.Second, false), 2},
		{"the service is gone", at(time.Hour, true, "chronyd"), at(time.Hour, true), 1},
		{"it was not to be seen", Look{}, at(time.Hour, false), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			left := Diff("", c.before, c.after)
			if len(left) != c.want {
				t.Errorf("%+v, want %d", left, c.want)
			}
			for _, l := range left {
				if l.Command == "" || l.Node != "" {
					t.Errorf("%+v", l)
				}
			}
		})
	}
}

func TestTheClockOfThisMachineIsTheSameAMomentLater(t *testing.T) {
	first := Machine(false)
	if first.Clock == nil {
		t.Fatal(first.Unseen)
	}
	if left := Diff("", first, Machine(false)); len(left) > 0 {
		t.Errorf("%+v", left)
	}
}
