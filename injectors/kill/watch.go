package kill

import (
	"context"
	"fmt"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/internal/procs"
	"github.com/dapple-drills/dapple/targets"
)

// share bounds what watching costs: a look takes at most this part of the time.
const share = 10

// Watch sees who brings back what was killed:
//
//	engine   the main process is another one, and its engine says that it
//	         restarted it, or was not asked by us
//	dapple   the main process is another one, after Revert began to start it
//	manager  the main process is the same, and another process took the place of
//	         the one that was killed
func (k *killer) Watch(ctx context.Context, n targets.Node, s state, see func(injectors.Sighting)) error {
	ps, err := procs.Of(n)
	if err != nil || s.stops() {
		return err
	}
	w := watcher{k: k, n: n, ps: ps, s: s, see: see, main: s.Main, restarts: s.Restarts, known: map[targets.ProcID]bool{}, last: time.Now()}
	for _, p := range s.Procs {
		w.known[p.ProcID] = true
	}
	for {
		began := time.Now()
		w.look(ctx, began)
		if wait(ctx, max(k.look, (share-1)*time.Since(began))) != nil {
			break
		}
	}
	// Revert has ended: what it started must be told.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	w.look(last, time.Now())
	return nil
}

// A watcher is what Watch has seen so far.
type watcher struct {
	k   *killer
	n   targets.Node
	ps  targets.Processes
	s   state
	see func(injectors.Sighting)

	main     targets.ProcID
	restarts int
	known    map[targets.ProcID]bool // processes in the place of the killed one
	last     time.Time               // beginning of the last look that succeeded
}

// look compares the processes with those of the last look. One that fails proves
// nothing; the next has a longer interval.
func (w *watcher) look(ctx context.Context, began time.Time) {
	procs, err := w.ps.Processes(ctx)
	if err != nil {
		return
	}
	from, to := w.last, time.Now()
	w.last = began
	if len(procs) == 0 || !procs[0].Main {
		return
	}
	if main := procs[0]; main.ProcID != w.main {
		w.main = main.ProcID
		for _, p := range tops(procs, w.s.Words, w.s.Process) {
			w.known[p.ProcID] = true
		}
		by, why := w.starter(ctx)
		from = since(main.ProcID, from, to)
		w.see(injectors.Sighting{Lo: from, Hi: to, What: "restart", By: by, Evidence: fmt.Sprintf("new main process pid %d (%s): %s", main.PID, main.Name, why)})
		return
	}
	if len(w.s.Words) == 0 {
		return
	}
	for _, p := range tops(procs, w.s.Words, w.s.Process) {
		if !w.known[p.ProcID] {
			w.known[p.ProcID] = true
			from := since(p.ProcID, from, to)
			w.see(injectors.Sighting{Lo: from, Hi: to, What: "restart", By: "manager", Evidence: fmt.Sprintf("new pid %d (%s), started by %s; the main process, pid %d, is the same", p.PID, p.Name, parent(procs, p), w.main.PID)})
		}
	}
}

// since is from, or the kernel's own date of the start of the process if that is
// later. The end stays that of the look: an engine makes the process first and the
// program in it a while later.
func since(id targets.ProcID, from, to time.Time) time.Time {
	now, err := kernel.Identity(id.PID)
	if err != nil || now != id {
		return from // gone already, or a process of another machine
	}
	lo, hi, err := kernel.Began(id)
	if err != nil || lo.After(to) || hi.Before(from) || lo.Before(from) {
		return from
	}
	return lo
}

// starter says who started the new main process.
func (w *watcher) starter(ctx context.Context) (by, why string) {
	st, ok := w.n.(targets.Starter)
	if !ok {
		return "engine", "dapple did not start it"
	}
	now, err := st.State(ctx)
	switch {
	case err == nil && now.Restarts > w.restarts:
		was := w.restarts
		w.restarts = now.Restarts
		return "engine", fmt.Sprintf("its engine's restart count went from %d to %d (policy %q)", was, now.Restarts, now.Policy)
	case w.k.ours(w.n):
		return "dapple", "dapple had asked its engine to start it"
	case err != nil:
		return "engine", "dapple did not start it; its engine does not say more: " + err.Error()
	}
	return "engine", fmt.Sprintf("its engine was asked by somebody else: its restart count is still %d, and dapple did not start it", now.Restarts)
}

func parent(procs []targets.Proc, p targets.Proc) string {
	for _, o := range procs {
		if o.PID == p.Parent {
			return fmt.Sprintf("pid %d (%s)", o.PID, o.Name)
		}
	}
	return fmt.Sprintf("pid %d, which is none of the node's", p.Parent)
}
