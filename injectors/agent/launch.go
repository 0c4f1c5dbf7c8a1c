package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/targets"
)

// launch starts the process, in a session of its own: a Ctrl-C at our terminal
// must not reach it, and the end of our session must not end it.
func (c *Client) launch(life context.Context) error {
	mark, err := mark(c.opts.Drill)
	if err != nil {
		return fmt.Errorf("marking the agent: %w", err)
	}
	c.cmd = exec.Command(c.opts.Argv[0], c.opts.Argv[1:]...)
	c.cmd.Env = append(os.Environ(), c.opts.Env...)
	c.cmd.Env = append(c.cmd.Env, MarkEnv+"="+mark)
	c.cmd.SysProcAttr = ownSession()
	c.cmd.Stderr = &c.said
	c.cmd.WaitDelay = grace // for whoever else holds its stderr
	stdin, err := c.cmd.StdinPipe()
	if err != nil {
		return err
	}
	// Not StdoutPipe: Wait would close it under the reader.
	ours, theirs, err := os.Pipe()
	if err != nil {
		return errors.Join(err, stdin.Close())
	}
	c.cmd.Stdout = theirs
	if err := c.cmd.Start(); err != nil {
		return errors.Join(err, stdin.Close(), ours.Close(), theirs.Close())
	}
	c.stdin, c.hears, c.out = stdin, ours, newWire(stdin)
	go c.read(life, ours)
	return theirs.Close()
}

// greet says for whom the agent is to hold faults, and refuses a wrong one.
func (c *Client) greet(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, max(greeting, c.opts.Greeting))
	defer cancel()
	// Without /proc the runner has no identity; only RevertAll's waiting for a
	// dead runner's agent rests on it.
	self, err := kernel.Self()
	if err != nil && !errors.Is(err, targets.ErrUnsupported) {
		return err
	}
	h := &hello{
		Protocol: protocol, Version: c.opts.Version, Drill: c.opts.Drill, System: c.opts.System,
		Home: c.opts.Home, Lease: c.opts.Lease, Runner: self,
	}
	if c.opts.Elsewhere {
		h.Home, h.Elsewhere = "", true
	}
	if c.opts.Sockets {
		if c.desk, err = openCounter(); err != nil {
			return err
		}
		h.Sockets = c.desk.name
	}
	r, err := c.call(ctx, request{Op: opHello, Hello: h})
	if err != nil {
		return err
	}
	if r.Welcome == nil || r.Welcome.Version != c.opts.Version {
		return fmt.Errorf("it is no agent of dapple %s", c.opts.Version)
	}
	if c.desk != nil {
		if err := c.desk.meet(r.Welcome.Agent); err != nil {
			return err
		}
	}
	return c.accept(*r.Welcome)
}

// accept takes the agent as the one that holds our faults from here on.
func (c *Client) accept(w welcome) error {
	boot, err := kernel.BootID()
	c.clock.mu.Lock()
	if err == nil && boot == w.Boot && !c.opts.Elsewhere {
		c.clock.drift = 0 // one machine, one clock
	}
	c.clock.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return ErrLost
	}
	c.welcome, c.needed = w, true
	return nil
}

// samples is how often the agent's clock is read at once: the first reading has
// the start of its process in it.
const samples = 8

// sharpen narrows what is known of the agent's clock.
func (c *Client) sharpen(ctx context.Context) error {
	for range samples {
		if _, err := c.call(ctx, request{Op: opRenew}); err != nil {
			return err
		}
	}
	return nil
}

// abandon ends an agent that holds nothing yet.
func (c *Client) abandon() {
	// It may be dead already, and nobody wants its exit code.
	_ = c.stdin.Close()
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
	c.out.close()
	c.saw.close()
	c.leave()
}

// leave closes the desk at which sockets were handed over.
func (c *Client) leave() {
	if c.desk != nil {
		c.desk.close()
	}
}
