package live

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/probes"
)

// refresh is how often the clock on the screen moves.
const refresh = 200 * time.Millisecond

// A batch is events with the moment at which they were seen: from it follows
// where the trial's clock stands between events.
type batch struct {
	events []timeline.Event
	seen   time.Time
}

type tick time.Time

// A model is what the screen shows. Update and View are pure: the time comes
// with the messages.
type model struct {
	facts       Facts
	width       int
	height      int
	onInterrupt func()

	tell  *teller
	trial int
	now   time.Duration // of the trial
	seen  time.Time     // when now was true
	phase string
	since time.Duration // when the phase began
	began []change      // phases

	lanes map[string][]change
	rates []rate
	log   []string
}

// A change says that from then on a lane is in another state.
type change struct {
	at   time.Duration
	what string
}

// A rate is the writes of one bucket, per second.
type rate struct {
	at            time.Duration
	acked, failed float64
}

// maxLog bounds the lines that are kept below the lanes.
const maxLog = 200

func newModel(f Facts, onInterrupt func()) *model {
	m := &model{facts: f, width: 80, height: 24, onInterrupt: onInterrupt, tell: newTeller(f)}
	m.begin(0)
	return m
}

func (m *model) begin(trial int) {
	m.trial, m.now, m.phase, m.since, m.began, m.rates = trial, 0, "", 0, nil, nil
	m.lanes = map[string][]change{}
	for _, n := range m.facts.Nodes {
		m.lanes["node "+n.Name] = []change{{0, n.Role}}
	}
}

func (m *model) Init() tea.Cmd { return next() }

func next() tea.Cmd { return tea.Tick(refresh, func(t time.Time) tea.Msg { return tick(t) }) }

func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = max(20, msg.Width), max(4, msg.Height)
	case tick:
		m.pass(time.Time(msg))
		return m, next()
	case batch:
		for _, e := range msg.events {
			m.event(e)
		}
		m.seen = msg.seen
	case tea.KeyPressMsg:
		if msg.String() == "ctrl+c" && m.onInterrupt != nil {
			return m, func() tea.Msg { m.onInterrupt(); return nil }
		}
	}
	return m, nil
}

// pass moves the trial's clock on to t.
func (m *model) pass(t time.Time) {
	if !m.seen.IsZero() && t.After(m.seen) {
		m.now += t.Sub(m.seen)
		m.seen = t
	}
}

func (m *model) event(e timeline.Event) {
	if e.Trial != m.trial {
		m.begin(e.Trial)
	}
	if !dated(e) {
		m.now = max(m.now, e.At.Hi)
	}
	if s := m.tell.tell(e); s != "" {
		m.log = append(m.log, fmt.Sprintf("%9s  %s", instant(m.tell.when(e)), clean(s)))
		m.log = m.log[max(0, len(m.log)-maxLog):]
	}
	class, _, _ := strings.Cut(e.By, "/")
	switch e.Kind {
	case timeline.Phase:
		m.phase, m.since = e.Value, e.At.Lo
		m.began = append(m.began, change{e.At.Lo, e.Value})
	case timeline.Role:
		m.turn("node "+e.Node, e.At.Hi, e.Value)
	case timeline.Leader:
		m.turn("leader "+e.By, e.At.Hi, e.Node)
	case timeline.FaultEffect:
		m.turn("fault", e.At.Lo, done(e.By)+" "+e.Node)
	case timeline.FaultReverted, timeline.FaultHole:
		m.turn("fault", e.At.Hi, "")
	case timeline.Write:
		if class == "app" || class == "fresh" {
			m.turn(e.By, e.At.Hi, e.Value)
		}
	case timeline.Bucket:
		m.bucket(e)
	}
}

func (m *model) turn(lane string, at time.Duration, what string) {
	cs := m.lanes[lane]
	if n := len(cs); n > 0 && cs[n-1].what == what {
		return
	}
	m.lanes[lane] = append(cs, change{at, what})
}

func (m *model) bucket(e timeline.Event) {
	var c timeline.Counts
	if s := e.At.Width().Seconds(); json.Unmarshal(e.Data, &c) == nil && s > 0 {
		m.rates = append(m.rates, rate{e.At.Lo, float64(c.Acked+c.Degraded) / s, float64(c.Failed+c.Unknown) / s})
	}
}

// span is the time that the lanes cover: what was planned, or more.
func (m *model) span() time.Duration {
	var sum time.Duration
	for _, p := range m.facts.Phases {
		sum += p.For
	}
	return max(sum, m.now+m.now/20, 10*time.Second)
}

// planned finds the phase among the declared ones.
func (m *model) planned(name string) (i int, p Planned) {
	for i, p := range m.facts.Phases {
		if p.Name == name {
			return i, p
		}
	}
	return -1, Planned{}
}

// order is that of the phases (timeline.Phase).
func order() []string {
	return []string{"observe", "steady", "aim", "inject", "hold", "revert", "settle", "audit", "leftovers", "end"}
}

// ahead says what comes next and in how long.
func (m *model) ahead() string {
	following := ""
	names := order()
	for i, n := range names {
		if n == m.phase && i+1 < len(names) {
			following = names[i+1]
		}
	}
	if _, p := m.planned(m.phase); p.For > 0 {
		left := max(0, p.For-(m.now-m.since))
		within := " in "
		if p.AtMost {
			within = " within "
		}
		return following + within + instant(left)
	}
	return following
}

// weight says which state a column shows that covers several.
func weight(what string) int {
	switch {
	case what == string(probes.Silent), what == string(probes.Failed):
		return 4
	case what == string(probes.Unknown):
		return 3
	case what == string(probes.Degraded):
		return 2
	case what == "":
		return 0
	}
	return 1
}
