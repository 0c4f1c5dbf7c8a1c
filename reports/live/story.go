package live

import (
	"slices"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
)

// A Story is what a screen shows of a drill, for who draws it otherwise. It is used
// by one goroutine at a time.
type Story struct{ m *model }

// NewStory begins the story of a drill.
func NewStory(f Facts) *Story { return &Story{m: newModel(f, nil)} }

// A Line is a sentence of the story, at an instant of its trial.
type Line struct {
	Trial int
	At    string
	Text  string
}

// A Stretch is what a lane was from one instant to another.
type Stretch struct {
	From, To time.Duration
	What     string
}

// A Lane is the states of one thing, oldest first.
type Lane struct {
	Name string
	// What it is that changes: node, leader, fault or client.
	Of        string
	Now       string
	Stretches []Stretch
}

// A Step is a phase of the trial.
type Step struct {
	Name  string
	State string // done, now or ahead
}

// A Shown is the story as it stands.
type Shown struct {
	Trial int
	Phase string // "" before the first
	At    time.Duration
	Span  time.Duration // what lanes cover
	Ahead string        // what comes next, and in how long
	Steps []Step
	Lanes []Lane
	Acked float64 // writes per second, in the last second that was counted
	Other float64 // those that failed, or got no reply
}

// Add tells the next event; line is what it is worth telling, and ok if it is.
func (s *Story) Add(e timeline.Event) (line Line, ok bool) {
	s.m.log = nil
	s.m.event(e)
	if len(s.m.log) == 0 {
		return line, false
	}
	at, text, _ := strings.Cut(strings.TrimLeft(s.m.log[0], " "), "  ")
	return Line{s.m.trial, at, text}, true
}

// Shown is the story as it stands at the last event.
func (s *Story) Shown() Shown {
	m := s.m
	v := Shown{Trial: m.trial, Phase: m.phase, At: m.now, Span: m.span(), Ahead: m.ahead()}
	at := slices.Index(order(), m.phase)
	for i, name := range order()[:len(order())-1] {
		state := "ahead"
		if i < at {
			state = "done"
		} else if i == at {
			state = "now"
		}
		v.Steps = append(v.Steps, Step{name, state})
	}
	if n := len(m.rates); n > 0 {
		v.Acked, v.Other = m.rates[n-1].acked, m.rates[n-1].failed
	}
	v.lane(m, m.lanes["fault"], "fault", "fault")
	for _, class := range []string{"app", "fresh"} {
		v.lane(m, m.client(class), class, "client")
	}
	for _, name := range m.named("leader ") {
		v.lane(m, m.lanes[name], name, "leader")
	}
	for _, n := range m.facts.Nodes {
		v.lane(m, m.lanes["node "+n.Name], n.Name, "node")
	}
	return v
}

// lane adds a lane, if anything is known of it.
func (v *Shown) lane(m *model, cs []change, name, of string) {
	if len(cs) == 0 {
		return
	}
	l := Lane{Name: clean(name), Of: of, Now: clean(last(cs).what)}
	for i, c := range cs {
		to := m.now
		if i+1 < len(cs) {
			to = cs[i+1].at
		}
		if to >= c.at {
			l.Stretches = append(l.Stretches, Stretch{c.at, to, clean(c.what)})
		}
	}
	v.Lanes = append(v.Lanes, l)
}
