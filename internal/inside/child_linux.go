package inside

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/dapple-drills/dapple/internal/cgroups"
	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/targets"
)

// A Child is a part of this program that runs in the groups of a node.
type Child struct {
	ID   targets.ProcID
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *json.Decoder
	done chan struct{} // closed once it is dead
	said bytes.Buffer
}

// start starts a child with the given name in the groups. It waits for its first
// order, in the groups already.
func start(ctx context.Context, name string, groups []cgroups.Group, files ...*os.File) (*Child, error) {
	// Not os.Executable: the file may have been replaced since we were started.
	c := &Child{cmd: exec.Command("/proc/self/exe", Mode, name), done: make(chan struct{})}
	c.cmd.Args[0] = "dapple"
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	c.cmd.Stderr, c.cmd.ExtraFiles = &c.said, files
	var err error
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = json.NewDecoder(out)
	if err := c.run(); err != nil {
		return nil, fmt.Errorf("starting a child for the node's control group: %w", err)
	}
	if err := c.join(ctx, groups); err != nil {
		return nil, errors.Join(err, c.End())
	}
	return c, nil
}

// run starts the process from a thread that lives as long as it: the kernel sends
// the signal of Pdeathsig when the thread ends, not the process.
func (c *Child) run() error {
	started := make(chan error)
	go kernel.Thread(func() {
		err := c.cmd.Start()
		started <- err
		if err == nil {
			_, _ = c.cmd.Process.Wait() // how it ended does not matter: it was told to, or is missed
			close(c.done)
		}
	})
	if err := <-started; err != nil {
		return err
	}
	var err error
	c.ID, err = kernel.Identity(c.cmd.Process.Pid)
	return err
}

// join moves the child into the groups.
func (c *Child) join(ctx context.Context, groups []cgroups.Group) error {
	for _, g := range groups {
		if err := g.Write(ctx, "cgroup.procs", strconv.Itoa(c.ID.PID)); err != nil {
			return fmt.Errorf("moving a child into control group %s: %w", g.Dir, err)
		}
	}
	return nil
}

// tell sends an order.
func (c *Child) tell(o order) error { return json.NewEncoder(c.in).Encode(o) }

// hear waits for an answer.
func (c *Child) hear(ctx context.Context) (a answer, err error) {
	stop := context.AfterFunc(ctx, func() { _ = c.cmd.Process.Kill() }) // it may be dead
	defer stop()
	if err := c.out.Decode(&a); err != nil {
		return a, errors.Join(ctx.Err(), fmt.Errorf("the child in the node's control group ended: %w", err))
	}
	if a.Error != "" {
		return a, errors.New(a.Error)
	}
	return a, nil
}

// dying is how long a child that was killed may take to be dead: in a group that
// is throttled it gets a processor only now and then.
const dying = 5 * time.Second

// End ends the child and waits until it is dead. It may be called again.
func (c *Child) End() error {
	_ = c.cmd.Process.Kill() // it may be dead
	t := time.NewTimer(dying)
	defer t.Stop()
	select {
	case <-c.done:
	case <-t.C:
		return fmt.Errorf("%v in the node's control group was killed, and is not dead after %v", c.ID, dying)
	}
	_ = c.in.Close() // again: it is closed
	return nil
}

// Run does the try in the groups.
func Run(ctx context.Context, groups []cgroups.Group, t Try, f *os.File) (took time.Duration, err error) {
	c, err := start(ctx, "try", groups, f)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, c.End()) }()
	if err := c.tell(order{Try: &t}); err != nil {
		return 0, fmt.Errorf("asking the child in the node's control group: %w", err)
	}
	a, err := c.hear(ctx)
	return a.Took, err
}

// Named finds the child of that name among the processes of the group. ok is false
// if there is none.
func Named(g cgroups.Group, name string) (id targets.ProcID, ok bool, err error) {
	pids, err := g.Members()
	if err != nil {
		return id, false, err
	}
	want := []byte("\x00" + Mode + "\x00" + name + "\x00")
	for _, pid := range pids {
		line, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
		if err != nil || !bytes.HasSuffix(line, want) {
			continue // it is gone, or a stranger
		}
		id, err := kernel.Identity(pid)
		if errors.Is(err, targets.ErrGone) {
			continue
		}
		return id, err == nil, err
	}
	return id, false, nil
}
