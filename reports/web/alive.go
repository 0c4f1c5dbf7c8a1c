package web

import (
	"errors"
	"os"
	"syscall"
	"time"

	"github.com/dapple-drills/dapple/drills/journal"
	"github.com/dapple-drills/dapple/internal/kernel"
)

// A drill that runs has its system locked. lockers are the drills whose process is
// still there, by their ids.
//
// Ask for them before a record is read: a drill writes its record for good before it
// gives the lock free, so one without both an end and a locker has died.
func (s *Server) lockers() map[string]journal.Locker {
	all, err := journal.Lockers(s.c.Home)
	found := map[string]journal.Locker{}
	if err != nil {
		return found
	}
	for _, l := range all {
		if lives(l) {
			found[l.Drill] = l
		}
	}
	return found
}

// slack is how far the time of a file and that of a process may be apart.
const slack = 2 * time.Second

// lives says whether the process that took the lock is still there. One that has
// begun since is another one with the same number.
func lives(l journal.Locker) bool {
	p, err := os.FindProcess(l.PID)
	if err != nil {
		return false
	}
	if err := p.Signal(syscall.Signal(0)); err != nil && !errors.Is(err, os.ErrPermission) && !errors.Is(err, syscall.EPERM) {
		return false
	}
	st, err := kernel.ReadStat(l.PID)
	if err != nil {
		return true // not Linux, where that cannot be told
	}
	id, err := kernel.Identity(l.PID)
	if err != nil {
		return !st.Dead()
	}
	from, _, err := kernel.Began(id)
	return !st.Dead() && (err != nil || !from.After(l.Since.Add(slack)))
}
