// Package checklist answers the quarterly questions about highly available systems
// from the records of their drills: per system seven items, each met, due, overdue
// or failed, with the records that prove it; which failures were drilled on which
// system, and how long ago; who has practised; what is open.
//
// It is a pure function of the history, a roster and a date. Only what was proven
// counts: a drill that was inconclusive, invalid or aborted never meets an item,
// and a record that is in no chain proves nothing.
package checklist

import (
	"fmt"
	"time"

	"github.com/dapple-drills/dapple/drills/history"
	"github.com/dapple-drills/dapple/drills/verdict"
	"github.com/dapple-drills/dapple/scenarios"
)

// Schema is the format of a checklist as JSON.
const Schema = "dapple.checklist/v1"

// A State is how an item, a part of one, or a person stands.
type State string

// The states, from best to worst.
const (
	Met     State = "met"     // proven in the quarter
	Due     State = "due"     // not proven yet, and the quarter runs
	Overdue State = "overdue" // not proven, and it should have been
	Failed  State = "failed"  // the last thing proven is that it does not hold
)

func (s State) rank() int {
	return map[State]int{Met: 0, Due: 1, Overdue: 2, Failed: 3}[s]
}

func worse(a, b State) State {
	if b.rank() > a.rank() {
		return b
	}
	return a
}

// A Checklist is the page of a quarter.
type Checklist struct {
	Schema  string         `json:"schema"`
	Quarter string         `json:"quarter"` // 2026Q4
	From    time.Time      `json:"from"`
	Until   time.Time      `json:"until"` // excluded
	Made    time.Time      `json:"made"`
	By      string         `json:"by"`
	Dapple  string         `json:"dapple"` // its version
	Anchor  history.Anchor `json:"anchor"` // the end of the chain of records then
	Records int            `json:"records"`
	Systems []System       `json:"systems"`
	Modes   []ModeRow      `json:"failure_modes"`
	People  []Person       `json:"people"`
	Open    []Open         `json:"open_findings"`
	Notes   []string       `json:"notes"`
}

// A System is one row of the checklist.
type System struct {
	Name        string           `json:"name"`
	Kind        string           `json:"kind"`
	Environment string           `json:"environment"`
	Design      scenarios.Design `json:"design"`
	Items       []Item           `json:"items"`
}

// An Item is one of the seven questions: as bad as the worst of its parts.
type Item struct {
	N     int    `json:"n"`
	Name  string `json:"name"`
	State State  `json:"state"`
	Parts []Part `json:"parts"`
}

// A Part is one thing that must be proven for an item.
type Part struct {
	Name  string `json:"name"`
	State State  `json:"state"`
	Why   string `json:"why"`
	Proof *Proof `json:"proof"` // null if nothing was ever proven
}

// A Proof is a record that shows something.
type Proof struct {
	Run      string    `json:"run"`
	Date     time.Time `json:"date"`
	SHA256   string    `json:"sha256"` // of record.json
	Scenario string    `json:"scenario"`
	Operator string    `json:"operator"`
}

// A Person of the roster, and the last failover that he or she drilled.
type Person struct {
	Name    string   `json:"name"`
	Contact string   `json:"contact"`
	OnCall  []string `json:"on_call"`
	State   State    `json:"state"`
	Why     string   `json:"why"`
	Proof   *Proof   `json:"proof"`
}

// An Open finding was missed, and no later drill of the same scenario met it.
type Open struct {
	System    string `json:"system"`
	Objective string `json:"objective"`
	Want      string `json:"want"`
	Got       string `json:"got"`
	Proof     Proof  `json:"proof"`
}

// Input is all from which a checklist is made.
type Input struct {
	Quarter Quarter
	Now     time.Time
	Runs    []history.Run       // newest first, as history.Index.Runs gives them
	Systems []*scenarios.System // that must be on it, even if never drilled
	Roster  *scenarios.Roster   // nil: there is none
	By      string
	Version string
	Anchor  history.Anchor
}

// A Quarter of a calendar year, in UTC.
type Quarter struct{ Year, N int }

// ParseQuarter reads 2026Q4.
func ParseQuarter(s string) (q Quarter, err error) {
	var rest string
	n, err := fmt.Sscanf(s+"\n", "%4dQ%1d%s\n", &q.Year, &q.N, &rest)
	if n != 2 || q.N < 1 || q.N > 4 || q.Year < 2000 || q.String() != s {
		return q, fmt.Errorf("%q is no quarter: write it as 2026Q4", s)
	}
	_ = err // what is missing is rest, which must be
	return q, nil
}

// QuarterOf is the one in which t is.
func QuarterOf(t time.Time) Quarter {
	t = t.UTC()
	return Quarter{t.Year(), (int(t.Month())-1)/3 + 1}
}

func (q Quarter) String() string { return fmt.Sprintf("%04dQ%d", q.Year, q.N) }

// From is its first moment, Until the first after it.
func (q Quarter) From() time.Time {
	return time.Date(q.Year, time.Month(q.N*3-2), 1, 0, 0, 0, 0, time.UTC)
}

// Until is the first moment after the quarter.
func (q Quarter) Until() time.Time { return q.From().AddDate(0, 3, 0) }

// Make answers for the quarter what was known at its end, or is known now.
func Make(in Input) Checklist {
	m := newMaker(in)
	c := Checklist{
		Schema: Schema, Quarter: in.Quarter.String(), From: in.Quarter.From(), Until: in.Quarter.Until(), Made: in.Now.UTC(),
		By: in.By, Dapple: in.Version, Anchor: in.Anchor, Records: len(m.all), Systems: []System{}, People: []Person{}, Open: []Open{}, Notes: []string{},
	}
	c.People = m.people()
	for _, name := range m.names {
		c.Systems = append(c.Systems, m.system(name, c.People))
		c.Open = append(c.Open, m.open(name)...)
	}
	c.Modes = m.modes()
	if in.Roster == nil {
		c.Notes = append(c.Notes, "no roster was given: nobody can say who is on call")
	}
	return c
}

func proofOf(r *history.Run) *Proof {
	return &Proof{r.Run, r.Started, r.SHA256, r.Scenario, r.Operator}
}

// proven says whether a run proves anything.
func proven(r *history.Run) bool {
	return r.Link.N > 0 && !r.Finished.IsZero() && (r.Verdict == verdict.Pass || r.Verdict == verdict.Fail)
}

// Proofs lists the records that the checklist names, each once.
func (c *Checklist) Proofs() []Proof {
	var out []Proof
	seen := map[string]bool{}
	take := func(p *Proof) {
		if p != nil && !seen[p.Run] {
			seen[p.Run] = true
			out = append(out, *p)
		}
	}
	for i := range c.Systems {
		for _, item := range c.Systems[i].Items {
			for _, part := range item.Parts {
				take(part.Proof)
			}
		}
	}
	for _, row := range c.Modes {
		for _, cell := range row.Cells {
			take(cell.Proof)
		}
	}
	for _, p := range c.People {
		take(p.Proof)
	}
	for i := range c.Open {
		take(&c.Open[i].Proof)
	}
	return out
}
