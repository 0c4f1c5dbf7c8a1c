package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"

	"github.com/dapple-drills/dapple/drills/journal"
	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/targets"
)

// RevertOptions say which outstanding faults to take back.
type RevertOptions struct {
	Config
	// Of narrows to what one agent held for one drill; nil takes all.
	Of *Holding
	// Force takes also those from an agent that holds them for a runner that
	// lives: the agent is asked to end (SIGTERM), and killed if it does not.
	Force bool
}

// A Holding names the faults that one agent held for one drill.
type Holding struct {
	Agent targets.ProcID `json:"agent"`
	Drill string         `json:"drill"`
}

// A Result is what became of one record.
type Result string

const (
	// Reverted: taken back, seen to be gone, and forgotten.
	Reverted Result = "reverted"
	// Void: the machine was booted since, which ended the fault.
	Void Result = "void"
	// Busy: an agent holds it for a running drill. It was left alone.
	Busy Result = "held by a running drill"
	// Failed: it may still be in place. Fault.Undo is for a person.
	Failed Result = "not reverted"
)

// An Outcome is one record and what became of it.
type Outcome struct {
	Record journal.Record
	Result Result
	Proof  string
	Err    error // why, if Failed
}

// A Report is what RevertAll did.
type Report struct {
	Outcomes []Outcome // newest first
	// Torn names records that were being written when the machine or the agent
	// died. Their faults were never made; the files are removed.
	Torn []string
}

// Err joins what failed.
func (r Report) Err() error {
	var errs []error
	for _, o := range r.Outcomes {
		if o.Result == Failed {
			errs = append(errs, fmt.Errorf("%s on %s: still in place: %w; by hand: %s", o.Record.Fault.Kind, o.Record.Node.Name, o.Err, o.Record.Fault.Undo))
		}
	}
	return errors.Join(errs...)
}

// RevertAll takes back the faults that the journal says may be in effect, from
// whatever state they are in. It is safe to repeat. The error says that the
// journal could not be worked through; what became of each fault is in the
// Report.
func RevertAll(ctx context.Context, o RevertOptions) (rep Report, err error) {
	j, err := o.journal()
	if err != nil || j == nil {
		return rep, err
	}
	records, torn, err := o.outstanding(j)
	if err != nil || len(records)+len(torn) == 0 {
		return rep, err
	}
	boot, err := kernel.BootID()
	if err != nil {
		return rep, err
	}
	busy, err := o.settle(ctx, records, boot)
	if err != nil {
		return rep, err
	}
	// Agents that were waited for have cleared their records.
	if records, torn, err = o.outstanding(j); err != nil {
		return rep, err
	}
	for _, id := range torn {
		if err := j.Clear(id); err != nil {
			return rep, err
		}
	}
	rep.Torn = torn
	var mu sync.Mutex
	err = newestFirst(records, func(r journal.Record) string { return r.Node.Name }, func(r journal.Record) error {
		out := Outcome{Record: r, Result: Busy, Proof: fmt.Sprintf("%v holds it for %v (drill %s)", r.Agent, r.Runner, r.Drill)}
		if !busy[r.Agent] {
			out = o.revert(ctx, r, boot)
		}
		mu.Lock()
		rep.Outcomes = append(rep.Outcomes, out)
		mu.Unlock()
		if out.Result == Busy || out.Result == Failed {
			return nil
		}
		return j.Clear(r.ID)
	})
	slices.SortFunc(rep.Outcomes, func(a, b Outcome) int { return cmp.Compare(b.Record.ID, a.Record.ID) })
	return rep, err
}

// Outstanding lists the faults that the journal below home says may be in
// effect, oldest first. It changes nothing.
func Outstanding(home string) ([]journal.Record, error) {
	o := RevertOptions{Config: Config{Home: home}}
	j, err := o.journal()
	if err != nil || j == nil {
		return nil, err
	}
	records, _, err := j.Outstanding()
	return records, err
}

// journal opens the journal if there is one.
func (o RevertOptions) journal() (*journal.Journal, error) {
	home := o.Home
	if home == "" {
		var err error
		if home, err = journal.Home(); err != nil {
			return nil, err
		}
	}
	if _, err := os.Stat(journal.Dir(home)); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return journal.Open(journal.Dir(home))
}

func (o RevertOptions) outstanding(j *journal.Journal) ([]journal.Record, []string, error) {
	records, torn, err := j.Outstanding()
	if o.Of != nil {
		records = slices.DeleteFunc(records, func(r journal.Record) bool { return r.Agent != o.Of.Agent || r.Drill != o.Of.Drill })
		torn = nil // a torn record does not say whose it is
	}
	return records, torn, err
}

// revert takes one fault back that nobody holds.
func (o RevertOptions) revert(ctx context.Context, r journal.Record, boot string) Outcome {
	out := Outcome{Record: r, Result: Failed}
	inj, node, err := o.bind(ctx, r.Node, r.Fault)
	switch {
	case errors.Is(err, targets.ErrGone):
		out.Result, out.Proof = Reverted, "the node is not there any more"
		return out
	case err != nil:
		out.Err = err
		return out
	}
	if l, ok := inj.(injectors.Lasting); r.Boot != boot && !(ok && l.Lasting(r.Fault)) {
		out.Result, out.Proof = Void, "the machine was booted since"
		return out
	}
	ctx, cancel := context.WithTimeout(ctx, o.deadline())
	defer cancel()
	if _, _, out.Proof, out.Err = takeBack(ctx, inj, node, r.Fault); out.Err == nil {
		out.Result = Reverted
	}
	return out
}

// settle sees to it that no agent that lives works on the records at the same
// time as we do, and returns those that hold theirs for a runner that lives.
func (o RevertOptions) settle(ctx context.Context, records []journal.Record, boot string) (busy map[targets.ProcID]bool, err error) {
	self, err := kernel.Self()
	if err != nil {
		return nil, err
	}
	busy = map[targets.ProcID]bool{}
	seen := map[targets.ProcID]bool{self: true} // whoever waited for itself would wait for ever
	for _, r := range records {
		if r.Boot != boot || seen[r.Agent] {
			continue
		}
		seen[r.Agent] = true
		if busy[r.Agent], err = o.wait(ctx, r); err != nil {
			return nil, err
		}
	}
	return busy, nil
}

// wait waits for an agent that is ending, or is to end, and returns whether it
// goes on instead.
func (o RevertOptions) wait(ctx context.Context, r journal.Record) (busy bool, err error) {
	agent, err := kernel.Hold(ctx, r.Agent)
	if errors.Is(err, targets.ErrGone) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, agent.Close()) }()
	runs, err := alive(ctx, r.Runner)
	if err != nil {
		return false, err
	}
	switch {
	case runs && !o.Force:
		return !exited(ctx, agent), nil
	case runs:
		if err := agent.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, targets.ErrGone) {
			return false, fmt.Errorf("ending the agent: %w", err)
		}
	}
	// Its runner is dead, so its lease ends, and it takes back what it holds.
	patient, cancel := context.WithTimeout(ctx, r.Lease+o.deadline())
	defer cancel()
	if agent.Exited(patient) == nil {
		return false, nil
	}
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if err := agent.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, targets.ErrGone) {
		return false, fmt.Errorf("ending the agent, which hangs: %w", err)
	}
	return false, agent.Exited(ctx)
}

// alive says whether the process is there and has not ended.
func alive(ctx context.Context, id targets.ProcID) (bool, error) {
	h, err := kernel.Hold(ctx, id)
	if errors.Is(err, targets.ErrGone) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return !exited(ctx, h), h.Close()
}

// exited says whether the process is dead at this moment.
func exited(ctx context.Context, h targets.Handle) bool {
	now, cancel := context.WithCancel(ctx)
	cancel() // the dead are told from the living without waiting
	return h.Exited(now) == nil
}
