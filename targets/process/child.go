package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/targets"
)

// A spawner starts processes from one thread that lives as long as the keeper.
//
// PDEATHSIG is sent when the *thread* that forked dies, not its process
// (prctl(2), PR_SET_PDEATHSIG). Go ends threads at its discretion, so a child
// forked from just any goroutine may be killed while the keeper lives.
type spawner struct{ jobs chan func() }

func newSpawner() *spawner {
	s := &spawner{make(chan func())}
	go func() {
		runtime.LockOSThread() // never unlocked: the thread stays until the process ends
		for job := range s.jobs {
			job()
		}
		select {} // the thread outlives even the last job
	}()
	return s
}

func (s *spawner) start(cmd *exec.Cmd) error {
	done := make(chan error)
	s.jobs <- func() { done <- cmd.Start() }
	return <-done
}

// A child is one member, running or not.
type child struct {
	m   Member
	dir string

	mu       sync.Mutex
	cmd      *exec.Cmd
	id       targets.ProcID
	lifeline *os.File // our end; the member sees EOF when it is closed
	started  time.Time
	finished time.Time
	detail   string
	dead     chan struct{} // closed once the member was reaped; nil before the first start
}

// start starts the member where it lives, if it does not run.
func (c *child) start(house Housing) (targets.State, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running() {
		return c.state(), nil
	}
	log, err := os.OpenFile(filepath.Join(c.dir, c.log()), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return c.state(), fmt.Errorf("starting %s: its log: %w", c.m.Name, err)
	}
	defer log.Close()
	theirs, ours, err := os.Pipe()
	if err != nil {
		return c.state(), fmt.Errorf("starting %s: its lifeline: %w", c.m.Name, err)
	}
	defer theirs.Close()

	cmd := exec.Command(c.m.Argv[0], c.m.Argv[1:]...)
	cmd.Dir = c.dir
	cmd.Env = append(append(os.Environ(), c.m.Env...), LifelineEnv+"=3")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{theirs} // becomes descriptor 3
	cmd.SysProcAttr = memberAttr()
	if err := house.Start(c.m.Name, cmd); err != nil {
		ours.Close()
		return c.state(), fmt.Errorf("starting %s: %w", c.m.Name, err)
	}
	c.began(cmd, ours)
	return c.state(), nil
}

// began notes the new process, and waits for its end.
func (c *child) began(cmd *exec.Cmd, lifeline *os.File) {
	dead := make(chan struct{})
	// Until it is reaped even a dead child has its /proc entry, so its start
	// time can be read whatever becomes of it.
	id, err := kernel.Identity(cmd.Process.Pid)
	c.cmd, c.id, c.lifeline, c.dead = cmd, id, lifeline, dead
	c.started, c.finished, c.detail = time.Now(), time.Time{}, ""
	if err != nil {
		c.detail = err.Error()
	}
	go func() {
		err := cmd.Wait()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.finished, c.detail = time.Now(), ended(cmd, err)
		lifeline.Close()
		close(dead)
	}()
}

func ended(cmd *exec.Cmd, err error) string {
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return err.Error()
	}
	return cmd.ProcessState.String()
}

func (c *child) log() string {
	if c.m.Log != "" {
		return c.m.Log
	}
	return c.m.Name + ".log"
}

func (c *child) running() bool {
	if c.dead == nil {
		return false
	}
	select {
	case <-c.dead:
		return false
	default:
		return true
	}
}

// state is what the keeper knows; c.mu is held.
func (c *child) state() targets.State {
	s := targets.State{Policy: "no", Started: c.started, Finished: c.finished, Detail: c.detail}
	if c.running() {
		s.Running, s.Main = true, c.id
	}
	if s.Detail == "" {
		s.Detail = "never started"
		if s.Running {
			s.Detail = "running"
		}
	}
	return s
}

// State is what the keeper knows.
func (c *child) State() targets.State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state()
}

// stop kills the member and all of its session, and waits until it is reaped.
func (c *child) stop(ctx context.Context) (targets.State, error) {
	ctx, cancel := context.WithTimeout(ctx, killGrace)
	defer cancel()
	c.mu.Lock()
	cmd, id, dead, running := c.cmd, c.id, c.dead, c.running()
	c.mu.Unlock()
	if dead == nil {
		return c.State(), nil
	}
	if running {
		// os.Process holds a pidfd (pidfd_open(2)): no stranger can be hit.
		if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return c.State(), fmt.Errorf("stopping %s: SIGKILL to %v: %w", c.m.Name, id, err)
		}
		select {
		case <-dead:
		case <-ctx.Done():
			return c.State(), fmt.Errorf("stopping %s: %v did not die within %v of SIGKILL", c.m.Name, id, killGrace)
		}
	}
	if err := killSession(ctx, id); err != nil {
		return c.State(), fmt.Errorf("stopping %s: %w", c.m.Name, err)
	}
	return c.State(), nil
}
