package web

import (
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/guardrails"
	"github.com/dapple-drills/dapple/drills/journal"
)

// A running drill is one whose process has a system locked.
type running struct {
	Run      string
	Ref      string // in its address; "" if its run directory is not in this home (--out), or has no record yet
	System   string
	Scenario string
	Since    time.Time
	PID      int
}

// A died drill has a record without an end, and no process.
type died struct {
	Ref, System, Scenario string
	Started               time.Time
}

type nowView struct {
	Running []running
	Died    []died
	Stopped string // why drills are stopped; "" if they are not
	Is      bool   // whether they are
	Left    int    // faults in the journal that no running drill holds
	Last    []listed
	Notes   []string
	Form    string // what the forms of this session bring back; "" who may not stop
}

// now shows what runs, and what came last.
func (s *Server) now(w http.ResponseWriter, r *http.Request) {
	v, err := s.state()
	if err == nil {
		var k known
		if k, err = s.runs(r); err == nil {
			v.Notes = k.notes
			v.Form = s.stopForm(r)
			v.Last = list(k.runs[:min(5, len(k.runs))])
		}
	}
	if err != nil {
		s.broken(w, r, err)
		return
	}
	s.show(w, r, http.StatusOK, "now", "Now", v)
}

// lately is how long a drill that has died is shown on the first page.
const lately = 7 * 24 * time.Hour

// state looks at the locks and at the records that have no end.
func (s *Server) state() (v nowView, err error) {
	alive := s.lockers()
	seen := map[string]bool{}
	items, err := os.ReadDir(filepath.Join(s.c.Home, "runs"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return v, err
	}
	slices.Reverse(items) // names begin with their time
	for _, item := range items[:min(len(items), 50)] {
		rec, ok := s.unended(item.Name())
		if !ok {
			continue
		}
		l, runs := alive[rec.Run]
		switch {
		case runs:
			seen[rec.Run] = true
			v.Running = append(v.Running, running{rec.Run, item.Name(), rec.System.Name, rec.Drill.Name, rec.Started, l.PID})
		case time.Since(rec.Started) < lately:
			v.Died = append(v.Died, died{item.Name(), rec.System.Name, rec.Drill.Name, rec.Started})
		}
	}
	for _, l := range alive {
		if !seen[l.Drill] && l.System != journal.Scheduler {
			v.Running = append(v.Running, running{Run: l.Drill, System: l.System, Since: l.Since, PID: l.PID})
		}
	}
	slices.SortFunc(v.Running, func(a, b running) int { return strings.Compare(a.Run, b.Run) })
	v.Stopped, v.Is = stopped(s.c.Home)
	if len(v.Running) == 0 {
		v.Left = outstanding(s.c.Home)
	}
	return v, nil
}

// unended is the record of a run that has none of its end.
func (s *Server) unended(name string) (rec drills.Record, ok bool) {
	dir, _, err := s.openRun(name)
	if err != nil {
		return rec, false
	}
	defer dir.Close() //nolint:errcheck // it was only read
	rec, err = readRecord(dir)
	return rec, err == nil && rec.Finished.IsZero()
}

// stopped is why no drill may begin, and whether that is so.
func stopped(home string) (why string, is bool) {
	data, err := os.ReadFile(guardrails.StopFile(home))
	if err != nil {
		return "", false
	}
	why, _, _ = strings.Cut(string(data), "\n")
	return strings.TrimSpace(why), true
}

// outstanding counts the faults in the journal. While nothing runs, they are what a
// crash has left.
func outstanding(home string) int {
	if _, err := os.Stat(journal.Dir(home)); err != nil {
		return 0
	}
	j, err := journal.Open(journal.Dir(home))
	if err != nil {
		return 0
	}
	left, torn, err := j.Outstanding()
	if err != nil {
		return 0
	}
	return len(left) + len(torn)
}
