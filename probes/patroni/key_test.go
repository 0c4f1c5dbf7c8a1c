package patroni

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dapple-drills/dapple/drills/timeline"
)

// at is the instant n milliseconds after an arbitrary one.
func at(n int) time.Time { return time.Unix(1000, 0).Add(time.Duration(n) * time.Millisecond) }

// seen is an event as these tests compare it.
type seen struct {
	Lo, Hi int // ms
	Kind   timeline.Kind
	Node   string
}

// list collects events.
type list []seen

func (l *list) emit(lo, hi time.Time, e timeline.Event) int {
	*l = append(*l, seen{int(lo.Sub(at(0)).Milliseconds()), int(hi.Sub(at(0)).Milliseconds()), e.Kind, e.Node})
	return len(*l)
}

func same(member string) string { return "node " + member }

func newKey(l *list) *key { return &key{path: "/service/x/leader", nodeOf: same, emit: l.emit} }

func TestAChangeLiesBetweenTheReadsAroundItsRevision(t *testing.T) {
	var got list
	k := newKey(&got)
	k.read(look{at(0), at(2), 10, "a"})
	k.read(look{at(50), at(52), 12, "a"})
	k.read(look{at(100), at(160), 12, "a"}) // slow: it may have looked at 100 already
	k.change(at(170), 13, "")
	k.read(look{at(150), at(165), 13, ""})
	k.read(look{at(180), at(190), 14, "b"}) // the reply comes before the watch's event
	k.change(at(300), 14, "b")
	want := list{{100, 170, timeline.Leader, ""}, {150, 190, timeline.Leader, "node b"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAChangeIsToldOnceWhoeverBringsItFirst(t *testing.T) {
	var got list
	k := newKey(&got)
	k.read(look{at(0), at(1), 10, "a"})
	k.change(at(5), 9, "z")   // before the first view
	k.change(at(10), 11, "")  // member 1
	k.change(at(12), 12, "b") // member 1
	k.change(at(20), 11, "")  // member 2, later
	k.change(at(21), 12, "b")
	k.change(at(30), 15, "b") // the same holder under a new lease
	want := list{{0, 10, timeline.Leader, ""}, {0, 12, timeline.Leader, "node b"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestWithoutQuorumTheLastReadBoundsTheChange(t *testing.T) {
	var got list
	k := newKey(&got)
	k.read(look{at(0), at(1), 10, "a"})
	k.read(look{at(50), at(51), 10, "a"})
	k.change(at(20_000), 11, "") // no read was answered in between
	if diff := cmp.Diff(list{{50, 20_000, timeline.Leader, ""}}, got); diff != "" {
		t.Error(diff)
	}
}

func TestAReadStandsInForAWatchThatMissedSomething(t *testing.T) {
	var got list
	k := newKey(&got)
	k.read(look{at(0), at(1), 10, "a"})
	k.missed()
	k.read(look{at(50), at(52), 90, "b"})
	k.change(at(60), 80, "b") // older than what was told
	if diff := cmp.Diff(list{{0, 52, timeline.Leader, "node b"}}, got); diff != "" {
		t.Error(diff)
	}
}

func TestReadsAreForgottenAndNotTheBounds(t *testing.T) {
	var got list
	k := newKey(&got)
	for i := range 3 * looks {
		k.read(look{at(50 * i), at(50*i + 1), int64(10 + i), "a"})
	}
	if len(k.reads) != looks {
		t.Errorf("%d reads are kept, want %d", len(k.reads), looks)
	}
	last := 50 * (3*looks - 1)
	k.change(at(last+10), int64(10+3*looks), "")
	if diff := cmp.Diff(list{{last, last + 10, timeline.Leader, ""}}, got); diff != "" {
		t.Error(diff)
	}
}

func TestWhatFollowsFromADeletionIsNotBeforeIt(t *testing.T) {
	var got list
	k := newKey(&got)
	k.read(look{at(100), at(101), 10, "a"})
	k.change(at(120), 11, "")
	m := &memberView{o: &observer{key: k, emit: got.emit}, node: "n"}
	m.unlocked(at(20), at(21), false)
	m.unlocked(at(130), at(140), true)
	m.unlocked(at(150), at(160), true) // still: no news
	want := list{{100, 120, timeline.Leader, ""}, {100, 140, timeline.Detected, "n"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAMemberThatNeverSaidLockedDetectsNothing(t *testing.T) {
	var got list
	m := &memberView{o: &observer{emit: got.emit}, node: "n"}
	m.unlocked(at(0), at(1), true)
	m.unlocked(at(2), at(3), true)
	if len(got) > 0 {
		t.Errorf("%v", got)
	}
}

func TestMembersThatLagBehindTellNothingNew(t *testing.T) {
	var got list
	v := &views{nodeOf: same, emit: got.emit, at: map[string]int{}}
	v.see("x", at(0), at(1), "a")
	v.see("y", at(5), at(6), "a")
	v.see("x", at(100), at(101), "") // x is first to know
	v.see("x", at(200), at(201), "b")
	v.see("y", at(205), at(206), "") // y goes the same way, later
	v.see("y", at(305), at(306), "b")
	v.see("z", at(310), at(311), "c") // joins with what nobody has said: since when is not known
	v.see("y", at(405), at(406), "a") // y is first: back to a
	v.see("x", at(410), at(411), "a")
	v.see("z", at(510), at(511), "a")
	want := list{{0, 101, timeline.Leader, ""}, {100, 201, timeline.Leader, "node b"}, {305, 406, timeline.Leader, "node a"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
