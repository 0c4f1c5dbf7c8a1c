package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/internal/trust"
	"github.com/dapple-drills/dapple/targets"
)

// machine is the place where the agent runs.
type machine struct{}

// program finds it by its path, or on PATH. Where it is is decided once: the undo
// must not be another program than the one that was looked at.
func (machine) program(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", diag.Hint(fmt.Errorf("there is no program %s here: %w", name, err), "install it on this machine, or give its whole path")
	}
	if path, err = filepath.Abs(path); err != nil {
		return "", fmt.Errorf("finding the program %s: %w", name, err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("looking at the program %s: %w", path, err)
	}
	return path, trust.File(path, info)
}

// afterwards is how long the output of a command is waited for once it has ended:
// what it left running in the background may keep it open.
const afterwards = time.Second

// run runs argv in a process group of its own. The kernel kills it if the thread
// that started it dies (prctl(2), PR_SET_PDEATHSIG), so that no command outlives
// an agent that was killed; what the command itself started is found by sweep.
func (m machine) run(ctx context.Context, n targets.Node, s state, verb string, argv []string, limit time.Duration) (result, error) {
	env, secrets, err := environment(s, verb)
	if err != nil {
		return result{}, err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	within, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var out tail
	cmd := exec.CommandContext(within, argv[0], argv[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = s.Dir, env, &out, &out, afterwards
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	err = cmd.Run()
	r := result{exit: cmd.ProcessState.ExitCode(), out: out.text(secrets)}
	var exit *exec.ExitError
	switch {
	case within.Err() != nil && err != nil:
		err = ctx.Err()
		if err == nil {
			err = fmt.Errorf("it did not end within %v", limit)
		}
		err = fmt.Errorf("%w; it was killed with what it had started%s", err, said(r))
		err = errors.Join(err, m.end(context.WithoutCancel(ctx), s, verb))
	case errors.As(err, &exit) && exit.Exited(), errors.Is(err, exec.ErrWaitDelay):
		return r, nil
	case err == nil:
		return r, nil
	}
	return r, fmt.Errorf("the %s command %s: %w%s", verb, quoted(argv), err, said(r))
}

// sweep ends what the command that makes the fault has left running: also what an
// agent that was killed had started, and what left its process group.
func (m machine) sweep(ctx context.Context, _ targets.Node, s state) error {
	if err := m.end(ctx, s, verbInject); err != nil {
		return fmt.Errorf("ending what the inject command left running: %w", err)
	}
	return nil
}

// rounds bounds how often it is looked for more: a process may fork while it is
// being killed.
const rounds = 20

func (machine) end(ctx context.Context, s state, verb string) error {
	for range rounds {
		procs, err := ofFault(s, verb)
		if err != nil || len(procs) == 0 {
			return err
		}
		for _, id := range procs {
			if err := killAndWait(ctx, id); err != nil {
				return err
			}
		}
	}
	return fmt.Errorf("it starts new processes faster than they are killed (DAPPLE_FAULT=%s in their environment)", s.ID)
}

// ofFault finds processes by the environment that they were started with.
func ofFault(s state, verb string) (found []targets.ProcID, err error) {
	procs, err := kernel.Procs(kernel.Filter{})
	for _, p := range procs {
		if p.State == "Z" || p.State == "X" {
			continue
		}
		env, err := kernel.Environ(p.ProcID)
		if err != nil {
			continue // another user's, or gone
		}
		if slices.Contains(env, "DAPPLE_FAULT="+s.ID) && slices.Contains(env, "DAPPLE_VERB="+verb) {
			found = append(found, p.ProcID)
		}
	}
	return found, err
}

func killAndWait(ctx context.Context, id targets.ProcID) (err error) {
	h, err := kernel.Hold(ctx, id)
	if errors.Is(err, targets.ErrGone) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	if err := h.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, targets.ErrGone) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, checkWithin)
	defer cancel()
	return h.Exited(ctx)
}
