package pause

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/internal/procs"
	"github.com/dapple-drills/dapple/targets"
)

// Plan finds the processes that there are now, and every reason not to pause them.
func (x *pauser) Plan(ctx context.Context, aim injectors.Aim) ([]injectors.Step[state], error) {
	if len(aim.On) == 0 {
		return nil, errors.New("it is aimed at no node")
	}
	var steps []injectors.Step[state]
	var errs []error
	for _, n := range aim.On {
		step, err := x.planOne(ctx, n, aim.Processes)
		if err != nil {
			errs = append(errs, fmt.Errorf("node %s: %w", n.Name(), err))
			continue
		}
		steps = append(steps, step)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return steps, nil
}

func (x *pauser) planOne(ctx context.Context, n targets.Node, parts map[string][]string) (injectors.Step[state], error) {
	none := injectors.Step[state]{}
	ps, err := procs.Of(n)
	if err != nil {
		return none, err
	}
	all, err := ps.Processes(ctx)
	if err != nil {
		return none, err
	}
	if len(all) == 0 {
		return none, errors.New("it does not run: start it first")
	}
	if x.p.How == Freezer {
		return x.planGroup(ctx, n, all)
	}
	found, err := x.p.choice().Find(all, parts)
	if err != nil {
		return none, err
	}
	s := state{How: x.p.How, Apart: x.p.choice().Apart(all, parts), Alone: !x.p.Tree && x.p.Process != procs.All}
	for _, p := range found {
		if err := x.stoppable(ctx, ps, p); errors.Is(err, targets.ErrGone) && len(s.Procs) > 0 {
			continue // of many processes some come and go
		} else if err != nil {
			return none, err
		}
		states, err := procs.Threads(p)
		if err != nil {
			return none, err
		}
		switch {
		case !strings.Contains(states, "T"):
			s.Procs = append(s.Procs, procs.Ref{ProcID: p.ProcID, Name: p.Name})
		case p.ProcID == found[0].ProcID:
			return none, fmt.Errorf("pid %d (%s) is stopped already: not by this drill; continue it first: kill -CONT %d", p.PID, p.Name, p.PID)
		default:
			s.Stopped = append(s.Stopped, p.ProcID)
		}
	}
	return injectors.Step[state]{Node: n, Does: does(s, len(all)), Undo: undo(s), State: s}, nil
}

// stoppable finds out whether the signal would arrive.
func (x *pauser) stoppable(ctx context.Context, ps targets.Processes, p targets.Proc) error {
	if p.PID == os.Getpid() || p.PID == os.Getppid() {
		return fmt.Errorf("pid %d (%s) is dapple itself: it could not end the fault any more", p.PID, p.Name)
	}
	return procs.Reachable(ctx, ps, p)
}

func (x *pauser) planGroup(ctx context.Context, n targets.Node, all []targets.Proc) (injectors.Step[state], error) {
	none := injectors.Step[state]{}
	g, err := x.freezer.find(ctx, n)
	if err != nil {
		return none, err
	}
	if _, half, words, err := x.freezer.frozen(ctx, n, g); err != nil {
		return none, err
	} else if half {
		return none, fmt.Errorf("it is frozen already (%s): not by this drill; thaw it first (docker unpause)", words)
	}
	s := state{How: Freezer, Group: &g}
	for _, p := range all {
		s.Procs = append(s.Procs, procs.Ref{ProcID: p.ProcID, Name: p.Name})
	}
	file, _, thawed := g.file()
	return injectors.Step[state]{
		Node:  n,
		Does:  fmt.Sprintf("the freezer holds %s, with all its processes: %s", g.Dir, procs.Names(s.Procs)),
		Undo:  fmt.Sprintf("echo %s > %s/%s", thawed, g.Dir, file),
		State: s,
	}, nil
}

func does(s state, all int) string {
	text := "SIGSTOP to " + procs.Names(s.Procs)
	switch rest := all - len(s.Procs) - len(s.Stopped); {
	case rest <= 0:
		text += ": all its processes"
	case rest == 1:
		text += "; its other process is left alone"
	default:
		text += fmt.Sprintf("; its other %d processes are left alone", rest)
	}
	if len(s.Stopped) > 0 {
		text += fmt.Sprintf("; %d were stopped before and stay so", len(s.Stopped))
	}
	return text
}

func undo(s state) string {
	text := "kill -CONT"
	for _, p := range s.Procs {
		text += fmt.Sprintf(" %d", p.PID)
	}
	return text
}
