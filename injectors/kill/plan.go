package kill

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/internal/procs"
	"github.com/dapple-drills/dapple/targets"
)

// Plan finds the processes that there are now, and every reason not to signal
// them.
func (k *killer) Plan(ctx context.Context, aim injectors.Aim) ([]injectors.Step[state], error) {
	if len(aim.On) == 0 {
		return nil, errors.New("it is aimed at no node")
	}
	var steps []injectors.Step[state]
	var errs []error
	for _, n := range aim.On {
		step, err := k.planOne(ctx, n, aim.Processes)
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

func (k *killer) planOne(ctx context.Context, n targets.Node, parts map[string][]string) (injectors.Step[state], error) {
	none := injectors.Step[state]{}
	ps, err := procs.Of(n)
	if err != nil {
		return none, err
	}
	engine, err := k.engine(ctx, n)
	if err != nil {
		return none, err
	}
	all, err := ps.Processes(ctx)
	if err != nil {
		return none, err
	}
	if len(all) == 0 {
		return none, errors.New("it does not run")
	}
	hit, err := k.p.find(all, parts)
	if err != nil {
		return none, err
	}
	s := state{Signal: k.p.Signal, Process: k.p.Process, Mode: k.p.Mode, Restarts: engine.Restarts, Main: all[0].ProcID, Init: isInit(all[0])}
	if k.p.Process != procs.Main && k.p.Process != procs.All {
		if s.Words, err = k.p.choice().Words(parts); err != nil {
			return none, err
		}
	}
	for _, p := range hit {
		if p.State == "T" && s.stops() {
			if !s.whole() {
				return none, fmt.Errorf("pid %d (%s) is stopped already: not by this drill", p.PID, p.Name)
			}
			s.Stopped = append(s.Stopped, p.ProcID)
			continue
		}
		if err := k.permitted(ctx, ps, p); err != nil {
			return none, err
		}
		s.Procs = append(s.Procs, procs.Ref{ProcID: p.ProcID, Name: p.Name})
	}
	if len(s.Procs) == 0 {
		return none, errors.New("all its processes are stopped already: not by this drill")
	}
	dead := !s.stops() && (s.whole() || s.Mode == Fence || s.aimsAt(s.Main) && (s.Init || len(all) == 1))
	return injectors.Step[state]{
		Node: n, Does: does(s, len(all), dead), Undo: undo(n, s), Momentary: !s.stops(), NodeDead: dead, State: s,
	}, nil
}

// engine asks what can bring the node back.
func (k *killer) engine(ctx context.Context, n targets.Node) (targets.State, error) {
	if _, ok := n.(targets.Fencer); !ok && k.p.Mode == Fence {
		return targets.State{}, fmt.Errorf("no engine can put it down (mode fence): use mode crash: %w", targets.ErrUnsupported)
	}
	st, ok := n.(targets.Starter)
	if !ok {
		if k.p.Signal == "STOP" {
			return targets.State{}, nil
		}
		return targets.State{}, fmt.Errorf("nothing could start it again: %w", targets.ErrUnsupported)
	}
	state, err := st.State(ctx)
	if err != nil {
		return state, err
	}
	if !state.Running {
		return state, fmt.Errorf("it does not run (%s): start it first", state.Detail)
	}
	return state, nil
}

// permitted finds out whether the signal would arrive, and have an effect that
// can be proven.
func (k *killer) permitted(ctx context.Context, ps targets.Processes, p targets.Proc) error {
	err := procs.Reachable(ctx, ps, p)
	if errors.Is(err, targets.ErrGone) && k.p.Process == procs.All {
		return nil
	}
	if err != nil {
		return err
	}
	if k.p.Signal == "KILL" || k.p.Signal == "STOP" {
		return nil
	}
	return k.provable(p)
}

// reloading are the signals that servers catch to do something else than end.
var reloading = []Signal{"HUP", "USR1", "USR2", "PIPE", "ALRM", "VTALRM", "PROF", "IO", "PWR"}

// provable refuses a signal of which the death of the process cannot be expected.
// What a process of another machine does with it cannot be known.
func (k *killer) provable(p targets.Proc) error {
	d, err := kernel.Signals(p.ProcID)
	if errors.Is(err, targets.ErrGone) || errors.Is(err, targets.ErrUnsupported) {
		return nil
	}
	if err != nil {
		return err
	}
	sig, number := k.p.Signal, int(k.p.Signal.number())
	caught := kernel.Has(d.Caught, number)
	inner := len(d.NSPID) > 1 && d.NSPID[len(d.NSPID)-1] == 1
	switch {
	case kernel.Has(d.Ignored, number):
		return fmt.Errorf("pid %d (%s) ignores %v: use KILL", p.PID, p.Name, sig)
	case inner && !caught:
		// pid_namespaces(7): only signals that it handles reach it.
		return fmt.Errorf("pid %d (%s) is pid 1 of its container and does not handle %v, so the kernel drops it: use KILL", p.PID, p.Name, sig)
	case caught && (slices.Contains(reloading, sig) || number >= firstRT):
		return fmt.Errorf("pid %d (%s) handles %v in its own way, so nothing would prove that it had an effect: use TERM, KILL or STOP", p.PID, p.Name, sig)
	}
	return nil
}

// isInit says whether the process is pid 1 of a pid namespace below ours.
func isInit(main targets.Proc) bool {
	p, err := kernel.ReadProc(main.PID)
	return err == nil && p.ProcID == main.ProcID && len(p.NSPID) > 1 && p.NSPID[len(p.NSPID)-1] == 1
}

func does(s state, all int, dead bool) string {
	if s.Mode == Fence {
		return fmt.Sprintf("the engine puts the whole node down (%s), and leaves it down", procs.Names(s.Procs))
	}
	text := fmt.Sprintf("%v to %s", s.Signal, procs.Names(s.Procs))
	rest := all - len(s.Procs) - len(s.Stopped)
	switch {
	case s.whole():
		text += ": all its processes"
	case dead:
		text += ": its main process, and the whole node with it"
	case rest == 1:
		text += "; its other process is left alone"
	case rest > 1:
		text += fmt.Sprintf("; its other %d processes are left alone", rest)
	}
	return text
}

func undo(n targets.Node, s state) string {
	if s.stops() {
		text := "kill -CONT"
		for _, p := range s.Procs {
			text += fmt.Sprintf(" %d", p.PID)
		}
		return text
	}
	if b, ok := n.(targets.ByHand); ok {
		return b.StartCommand()
	}
	return "dapple revert"
}
