package clockskew

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/targets"
)

// An idler is a process of our own, as a node.
type idler struct{ id targets.ProcID }

func (idler) Name() string { return "a child of dapple's own" }

func (idler) Exec(context.Context, ...string) ([]byte, error) {
	return nil, fmt.Errorf("running a command in it: %w", targets.ErrUnsupported)
}

func (c idler) Processes(context.Context) ([]targets.Proc, error) {
	return []targets.Proc{{ProcID: c.id, Name: "cat", Main: true}}, nil
}

func (c idler) Hold(ctx context.Context, id targets.ProcID) (targets.Handle, error) {
	return kernel.Hold(ctx, id)
}

// here starts a program that does nothing, has its clock be an hour ahead, looks,
// and sets it right again.
func here(ctx context.Context) (err error) {
	if l, err := layout(); err != nil {
		return fmt.Errorf("%w: %w", err, targets.ErrUnsupported)
	} else if err := l.Able(); err != nil {
		return err
	}
	cmd := exec.Command("cat")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting a process to skew: %w", err)
	}
	defer func() { err = errors.Join(err, stdin.Close(), cmd.Wait()) }()
	id, err := kernel.Identity(cmd.Process.Pid)
	if err != nil {
		return err
	}
	return tryOn(ctx, idler{id})
}

// tryOn does to the child what a drill does to a node.
func tryOn(ctx context.Context, n idler) (err error) {
	x := newSkewer(Params{Offset: Offset(time.Hour)}, kernelGround{})
	steps, err := x.Plan(ctx, injectors.Aim{On: []targets.Node{n}})
	if err != nil {
		return err
	}
	s := steps[0].State
	defer func() { err = errors.Join(err, x.Revert(context.WithoutCancel(ctx), n, s)) }()
	if err := x.Inject(ctx, n, s); err != nil {
		return err
	}
	held, proof, err := x.Effect(ctx, n, s)
	if err == nil && !held {
		err = fmt.Errorf("the clock of a child is as before: %s: %w", proof, targets.ErrUnsupported)
	}
	return err
}
