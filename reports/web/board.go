package web

import (
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/drills/journal"
	"github.com/dapple-drills/dapple/drills/schedule"
	"github.com/dapple-drills/dapple/scenarios"
)

// A Planned drill is a schedule with its system, and what became of its last
// firings, newest first.
type Planned struct {
	*schedule.Entry
	System *scenarios.System // nil: a built-in cluster
	Last   []schedule.Decided
}

// upcoming is how many firings are shown of each schedule.
const upcoming = 3

type boardView struct {
	Rows      []boardRow
	Notes     []string
	Asked     bool // schedules were named at all
	Scheduler int  // its process on this machine; 0: none
	Stopped   string
	Is        bool
}

type boardRow struct {
	Planned
	Next   []schedule.Firing
	Freeze []frozen
}

// A frozen time is one in which no drill of a system begins.
type frozen struct {
	What string
	Now  bool
}

// board shows what is scheduled: the next firings, what became of the last, and what
// holds them off.
func (s *Server) board(w http.ResponseWriter, r *http.Request) {
	v, err := once(&s.answers, "board", func() (v boardView, err error) {
		planned, notes, err := s.c.Source.Schedules(r.Context())
		v.Notes, v.Asked = notes, planned != nil || len(notes) > 0
		now := time.Now()
		for _, p := range planned {
			v.Rows = append(v.Rows, boardRow{Planned: p, Next: p.Upcoming(now, upcoming), Freeze: freezes(p.System, now)})
		}
		return v, err
	})
	if err != nil {
		s.broken(w, r, err)
		return
	}
	v.Stopped, v.Is = stopped(s.c.Home)
	v.Scheduler = s.scheduler()
	s.show(w, r, http.StatusOK, "board", "Board", v)
}

// freezes are those of a system that are not over.
func freezes(system *scenarios.System, now time.Time) (list []frozen) {
	if system == nil {
		return nil
	}
	today := now.UTC()
	for _, d := range system.Guardrails.Freeze {
		if d.To >= today.Format(time.DateOnly) {
			list = append(list, frozen{d.String(), d.Hold(today)})
		}
	}
	if file := system.Guardrails.FreezeFile; file != "" {
		if data, err := os.ReadFile(file); err == nil {
			why, _, _ := strings.Cut(string(data), "\n")
			list = append(list, frozen{"by " + file + ": " + strings.TrimSpace(why), true})
		}
	}
	return list
}

// scheduler is the process of the scheduler of this home on this machine, or 0.
func (s *Server) scheduler() int {
	all, err := journal.Lockers(s.c.Home)
	if err != nil {
		return 0
	}
	for _, l := range all {
		if l.System == journal.Scheduler && lives(l) {
			return l.PID
		}
	}
	return 0
}
