package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/dapple-drills/dapple/targets"
)

// Options say how a cluster is kept.
type Options struct {
	// Keeper is the command line of a process that calls KeeperMain with the
	// arguments that follow it: {"/usr/bin/dapple", "keeper"}.
	Keeper []string
	// Dir is the cluster's directory: it must not exist, or be empty. It is made
	// with mode 0700 and removed with the cluster.
	Dir     string
	Members []Member
	// Lifeline binds the cluster to this process. Without it the cluster stays
	// until Shutdown, which any process may do: see Find.
	Lifeline bool
	// Namespaces makes the keeper root of a user namespace of its own, in which
	// nobody but this user is known, with mounts and a network of its own. It needs
	// no root, where
	// the machine lets its users have such namespaces. The keeper must be one that
	// calls KeepIn.
	Namespaces bool
}

// A Cluster is a running keeper and its members.
type Cluster struct {
	dir      string
	members  []Member
	lifeline *os.File
	reaped   chan struct{} // closed once the keeper, if it is our child, was reaped
}

// Start starts a keeper; its members do not run yet: see Node.Start.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	dir, err := prepare(o)
	if err != nil {
		return nil, fmt.Errorf("starting a cluster in %s: %w", o.Dir, err)
	}
	c := &Cluster{dir: dir, members: slices.Clone(o.Members), reaped: make(chan struct{})}
	if err := c.startKeeper(ctx, o); err != nil {
		return nil, errors.Join(fmt.Errorf("starting a cluster in %s: %w", dir, err), os.RemoveAll(dir))
	}
	return c, nil
}

// prepare makes the directory with all that the keeper needs to know.
func prepare(o Options) (string, error) {
	if len(o.Keeper) == 0 {
		return "", errors.New("no command for the keeper")
	}
	c := config{Members: o.Members, Lifeline: o.Lifeline}
	if err := c.check(); err != nil {
		return "", err
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return "", err
	}
	if socket := filepath.Join(dir, socketFile); len(socket) > maxSocket {
		return "", fmt.Errorf("the path of the keeper's socket would have %d bytes, and a unix socket's may have %d: choose a shorter directory", len(socket), maxSocket)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	if there, err := os.ReadDir(dir); err != nil || len(there) > 0 {
		return "", errors.Join(err, errors.New("the directory is not empty; it would be removed with the cluster"))
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return "", err
	}
	data, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	return dir, os.WriteFile(filepath.Join(dir, configFile), data, 0o600)
}

// startKeeper starts the keeper and waits until it listens.
func (c *Cluster) startKeeper(ctx context.Context, o Options) error {
	log, err := os.OpenFile(filepath.Join(c.dir, logFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	ready, readyW, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	cmd := exec.Command(o.Keeper[0], append(slices.Clone(o.Keeper[1:]), c.dir)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", log, log
	cmd.ExtraFiles = []*os.File{readyW}
	// A session of its own: no Ctrl-C of ours reaches it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if o.Namespaces {
		if err := InNamespaces(cmd.SysProcAttr); err != nil {
			return errors.Join(err, readyW.Close())
		}
	}
	if o.Lifeline {
		r, w, err := os.Pipe()
		if err != nil {
			return errors.Join(err, readyW.Close())
		}
		defer r.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, r)
		c.lifeline = w
	}
	err = cmd.Start()
	readyW.Close()
	if err != nil {
		if o.Namespaces {
			err = Explain(err)
		}
		return errors.Join(fmt.Errorf("the keeper: %w", err), c.letGo())
	}
	go func() {
		_ = cmd.Wait() // how it ended stands in its log, and in what Shutdown is told
		close(c.reaped)
	}()
	if err := awaitReady(ctx, ready); err != nil {
		return errors.Join(fmt.Errorf("the keeper: %w", err), c.letGo(), cmd.Process.Kill())
	}
	return nil
}

func awaitReady(ctx context.Context, ready *os.File) error {
	stop := context.AfterFunc(ctx, func() { ready.Close() })
	defer stop()
	said, err := io.ReadAll(ready)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return err
	case string(said) != "ok":
		return fmt.Errorf("it did not come up: %q", said)
	}
	return nil
}

// Find returns the cluster that was started in dir by any process. The error
// wraps targets.ErrGone if it has no keeper any more.
func Find(ctx context.Context, dir string) (*Cluster, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	r, err := ask(ctx, filepath.Join(dir, socketFile), request{Do: "members"})
	if err != nil {
		return nil, err
	}
	return &Cluster{dir: dir, members: r.Members}, nil
}

// Dir is the cluster's directory: the members' working directory and logs.
func (c *Cluster) Dir() string { return c.dir }

// Log is the path of a member's log.
func (c *Cluster) Log(member string) string {
	for _, m := range c.members {
		if m.Name == member {
			return filepath.Join(c.dir, (&child{m: m}).log())
		}
	}
	return ""
}

// Socket is the path at which the keeper is asked.
func (c *Cluster) Socket() string { return filepath.Join(c.dir, socketFile) }

// Nodes are the members, in the order in which they were declared.
func (c *Cluster) Nodes() []targets.Node {
	nodes := make([]targets.Node, len(c.members))
	for i, m := range c.members {
		nodes[i] = &Node{name: m.Name, at: place{
			Socket: c.Socket(), Addresses: m.Addresses, Env: m.Env,
		}}
	}
	return nodes
}

// Alive says whether there is a keeper at socket.
func Alive(ctx context.Context, socket string) bool {
	_, err := ask(ctx, socket, request{Do: "members"})
	return !errors.Is(err, targets.ErrGone)
}

// Places are what the keeper's housing says of where its members are.
func (c *Cluster) Places(ctx context.Context) (map[string]json.RawMessage, error) {
	r, err := ask(ctx, c.Socket(), request{Do: "members"})
	return r.Places, err
}

// Shutdown kills the members, removes the directory, and returns when the
// keeper is gone too. A cluster that is gone already is no error.
func (c *Cluster) Shutdown(ctx context.Context) error {
	_, err := ask(ctx, c.Socket(), request{Do: "shutdown"})
	gone := errors.Is(err, targets.ErrGone)
	if gone {
		err = nil
	}
	err = errors.Join(err, c.letGo())
	if c.reaped != nil {
		select {
		case <-c.reaped:
		case <-ctx.Done():
			return errors.Join(err, fmt.Errorf("waiting for the keeper of %s: %w", c.dir, context.Cause(ctx)))
		}
	}
	if gone {
		// A keeper that was killed took its members along and left the files.
		err = errors.Join(err, clearDir(ctx, c.dir))
	}
	return err
}

// clearDir sweeps dir, whose keeper does not answer any more: as soon as it does
// not hold its lock any more, which the kernel takes from it a little later than
// its socket. Its members die a little later still, and may write until then.
func clearDir(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, killGrace)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		held, err := sweep(dir)
		if !held && err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if held {
				err = fmt.Errorf("clearing %s: its keeper does not answer, and holds its lock", dir)
			}
			return err
		}
	}
}

// letGo closes the lifeline: the keeper ends by itself.
func (c *Cluster) letGo() error {
	if c.lifeline == nil {
		return nil
	}
	err := c.lifeline.Close()
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// Sweep removes the directories below parent whose name begins with prefix and
// that a keeper left behind because it was itself killed. Directories of living
// keepers, and those that no keeper made, stay.
func Sweep(parent, prefix string) error {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return fmt.Errorf("looking for clusters that were left behind: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), prefix) {
			_, err := sweep(filepath.Join(parent, e.Name()))
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// sweep removes dir if a keeper made it and no keeper holds it.
func sweep(dir string) (held bool, err error) {
	info, err := os.Stat(filepath.Join(dir, lockFile))
	if err != nil {
		return false, nil // gone, not a keeper's, not ours to look into, or not yet a keeper's
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); !ok || int(owner.Uid) != os.Getuid() {
		return false, nil
	}
	lock, err := takeLock(dir)
	if err != nil {
		return true, nil // its keeper lives
	}
	defer lock.Close()
	if err := os.RemoveAll(dir); err != nil {
		return false, fmt.Errorf("removing %s, which a cluster left behind: %w", dir, err)
	}
	return false, nil
}
