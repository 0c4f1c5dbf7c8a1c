package live

import (
	"testing"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
)

func TestAStoryIsTheScreenForWhoDrawsItOtherwise(t *testing.T) {
	s := NewStory(Facts{Scenario: "kill", Nodes: []Node{{"n1", "primary"}, {"n2", "replica"}}, Phases: []Planned{{Name: "hold", For: 8 * time.Second}}})
	at := func(lo, hi int) timeline.Interval {
		return timeline.Interval{Lo: time.Duration(lo) * time.Second, Hi: time.Duration(hi) * time.Second}
	}
	for _, e := range []timeline.Event{
		{Trial: 1, At: at(1, 1), Kind: timeline.Phase, By: "engine", Value: "hold"},
		{Trial: 1, At: at(2, 3), Kind: timeline.FaultEffect, By: "kill", Node: "n1"},
		{Trial: 1, At: at(3, 4), Kind: timeline.Leader, By: "member/n2", Node: "n2"},
		{Trial: 1, At: at(4, 5), Kind: timeline.Write, By: "app/0", Value: "acked", Node: "n2"},
	} {
		line, ok := s.Add(e)
		if want := e.Kind != timeline.Write; ok != want {
			t.Errorf("%s is told: %v, want %v", e.Kind, ok, want)
		}
		if e.Kind == timeline.FaultEffect && (line.At != "2.0 s" || line.Text != "n1 killed; in effect" || line.Trial != 1) {
			t.Errorf("the effect is told as %+v", line)
		}
	}
	v := s.Shown()
	if v.Phase != "hold" || v.Ahead != "revert in 4.0 s" || v.At != 5*time.Second || v.Steps[3].State != "done" || v.Steps[4].State != "now" || v.Steps[5].State != "ahead" {
		t.Errorf("%+v", v)
	}
	got := map[string]string{}
	for _, l := range v.Lanes {
		got[l.Name] = l.Now
		if last := l.Stretches[len(l.Stretches)-1]; last.To != v.At {
			t.Errorf("the lane %s ends at %v, and it is %v", l.Name, last.To, v.At)
		}
	}
	for name, now := range map[string]string{"fault": "killed n1", "app": "acked", "leader member/n2": "n2", "n1": "primary", "n2": "replica"} {
		if got[name] != now {
			t.Errorf("%s is %q now, want %q", name, got[name], now)
		}
	}
}
