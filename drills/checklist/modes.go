package checklist

import (
	"slices"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/history"
	"github.com/dapple-drills/dapple/drills/verdict"
)

// A ModeRow is a way to fail, and how it was drilled on each system.
type ModeRow struct {
	Mode  string `json:"mode"`
	Cells []Cell `json:"cells"` // in the order of the systems
}

// The states of a Cell.
const (
	CellPassed   = "passed"   // the last drill that proved something passed
	CellFailed   = "failed"   // it failed
	CellUnproven = "unproven" // drilled, and nothing was ever proven
	CellNever    = "never"
)

// A Cell is one failure on one system.
type Cell struct {
	System  string `json:"system"`
	State   string `json:"state"`
	AgeDays int    `json:"age_days"` // of the proof; 0 without one
	Proof   *Proof `json:"proof"`
}

// A mode is a way in which highly available systems fail, and how a record shows
// that it was drilled.
type mode struct {
	name string
	in   func(d *history.Digest) bool
}

func modes() []mode {
	return []mode{
		{"Detection takes too long", judged("detection")},
		{"The network splits the cluster", anyStep(injects("partition"))},
		{"Latency between nodes", anyStep(func(s history.Step) bool { return s.Inject == "netem" && s.With["delay"] != "" })},
		{"A disk fills, slows down or turns read-only", anyStep(injects("diskfill", "diskslow", "readonly"))},
		{"The primary hangs and looks alive", anyStep(func(s history.Step) bool { return s.Inject == "pause" || s.Inject == "kill" && stops(s) })},
		{"The primary's process is killed", anyStep(func(s history.Step) bool { return s.Inject == "kill" && !stops(s) && onPrimary(s) })},
		{"A partial partition", anyStep(partial)},
		{"A failover that need not be", func(d *history.Digest) bool { return d.Failover != nil && !*d.Failover }},
		{"The old primary comes back", func(d *history.Digest) bool { return d.Rejoined }},
		{"A failure during maintenance", func(d *history.Digest) bool { return overlapping(d.Steps) }},
		{"The HA machinery itself fails", anyStep(func(s history.Step) bool { return s.With["process"] == "manager" || slices.Contains(s.On, "witness") })},
		{"Clients do not follow", func(d *history.Digest) bool { return d.Failovers > 0 && judged("rto")(d) || anyStep(injects("dns"))(d) }},
		{"The majority is lost", anyStep(func(s history.Step) bool { return slices.Contains(s.On, "majority") })},
		{"A clock jumps", anyStep(injects("clockskew"))},
		{"A person has to promote", func(d *history.Digest) bool {
			return slices.ContainsFunc(d.People, func(p drills.Person) bool { return p.Role == drills.Trainee })
		}},
	}
}

func judged(objective string) func(*history.Digest) bool {
	return func(d *history.Digest) bool {
		f, ok := d.Finding(objective)
		return ok && f.Outcome != verdict.Unproven
	}
}

func anyStep(is func(history.Step) bool) func(*history.Digest) bool {
	return func(d *history.Digest) bool { return slices.ContainsFunc(d.Steps, is) }
}

func injects(names ...string) func(history.Step) bool {
	return func(s history.Step) bool { return slices.Contains(names, s.Inject) }
}

// stops: kill with SIGSTOP freezes.
func stops(s history.Step) bool { return s.With["signal"] == "STOP" }

func onPrimary(s history.Step) bool {
	return slices.Contains(s.On, "primary") || slices.Contains(s.On, "leader")
}

// partial: something still gets through, to the clients, on some ports, or one way.
func partial(s history.Step) bool {
	if s.Inject != "partition" {
		return false
	}
	limited := slices.ContainsFunc([]string{"ports", "direction", "from", "peers"}, func(key string) bool { return s.With[key] != "" })
	clients := s.With["clients"] == "yes" || s.With["clients"] == "true"
	return limited || !clients
}

// modes is the matrix.
func (m *maker) modes() []ModeRow {
	var rows []ModeRow
	for _, mode := range modes() {
		row := ModeRow{Mode: mode.name, Cells: []Cell{}}
		for _, name := range m.names {
			row.Cells = append(row.Cells, m.cell(mode, name))
		}
		rows = append(rows, row)
	}
	return rows
}

func (m *maker) cell(mode mode, system string) Cell {
	c := Cell{System: system, State: CellNever}
	for _, r := range m.by[system] {
		if !mode.in(&r.Digest) {
			continue
		}
		if !proven(r) {
			c.State = CellUnproven
			continue
		}
		c.State, c.Proof, c.AgeDays = CellFailed, proofOf(r), days(m.now.Sub(r.Started))
		if r.Verdict == verdict.Pass {
			c.State = CellPassed
		}
		return c
	}
	return c
}
