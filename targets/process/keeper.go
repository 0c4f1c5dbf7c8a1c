package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/dapple-drills/dapple/targets"
)

// The descriptors that Start gives to its keeper.
const (
	readyFD    = 3 // the keeper writes "ok", or why not, and closes it
	lifelineFD = 4 // EOF when the starter is gone; only if there is a lifeline
)

// KeeperMain is the keeper's process. args is the cluster's directory, in which
// Start left what to keep. It returns when the cluster is gone; the error is
// for the exit code and the keeper's log.
func KeeperMain(ctx context.Context, args []string) error { return KeepIn(ctx, args, here) }

// KeepIn is KeeperMain for members that live in a housing.
func KeepIn(ctx context.Context, args []string, build Builder) error {
	if len(args) != 1 {
		return fmt.Errorf("keeper: want the cluster's directory, got %q", args)
	}
	// What we were given must not leak into the members: a lifeline that a
	// member holds open would never end.
	syscall.CloseOnExec(readyFD)
	ready := os.NewFile(readyFD, "ready")
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()

	k, err := newKeeper(context.WithoutCancel(ctx), args[0], build)
	if err != nil {
		fmt.Fprintf(ready, "%v", err)
		return errors.Join(err, ready.Close())
	}
	if k.lifeline {
		syscall.CloseOnExec(lifelineFD)
		go func() {
			_, _ = io.Copy(io.Discard, os.NewFile(lifelineFD, "lifeline")) // EOF or error: both mean that the starter is gone
			k.end()
		}()
	}
	context.AfterFunc(ctx, k.end)
	if _, err := io.WriteString(ready, "ok"); err != nil {
		k.end() // the starter died already
	}
	ready.Close()
	go k.watch()
	return k.serve()
}

// A keeper owns the members of one cluster.
type keeper struct {
	dir      string
	lifeline bool
	ctx      context.Context // of the process, without its end: for the work of ending
	lock     *os.File
	listener *net.UnixListener
	house    Housing
	names    []string
	members  map[string]*child

	mu     sync.Mutex // held while a member is started, and to set ending
	ending bool

	once  sync.Once
	asked sync.WaitGroup // requests that are being answered
	runs  runs
	over  chan struct{} // closed once the members are dead and the directory is gone
	err   error         // of the end
}

func newKeeper(ctx context.Context, dir string, build Builder) (*keeper, error) {
	c, err := readConfig(dir)
	if err != nil {
		return nil, err
	}
	k := &keeper{ctx: ctx, dir: dir, lifeline: c.Lifeline, members: map[string]*child{}, over: make(chan struct{})}
	for _, m := range c.Members {
		k.names = append(k.names, m.Name)
		k.members[m.Name] = &child{m: m, dir: dir}
	}
	if k.lock, err = takeLock(dir); err != nil {
		return nil, err
	}
	if k.house, err = build(ctx, dir, k.names); err != nil {
		return nil, err
	}
	socket := filepath.Join(dir, socketFile)
	if k.listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"}); err != nil {
		return nil, fmt.Errorf("listening at %s: %w", socket, err)
	}
	return k, nil
}

// takeLock takes the lock by which others see that this directory's keeper
// lives: the kernel lets go of it however the keeper dies.
func takeLock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the keeper's lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s has a keeper already: %w", dir, err)
	}
	return f, nil
}

// serve answers requests until the cluster's end.
func (k *keeper) serve() error {
	for {
		conn, err := k.listener.AcceptUnix()
		if err != nil {
			break // end closed the listener
		}
		k.asked.Add(1)
		go func() {
			defer k.asked.Done()
			defer conn.Close()
			k.answer(conn)
		}()
	}
	<-k.over
	k.asked.Wait()
	return k.err
}

// dirCheck is how often the keeper looks whether its directory is still there.
const dirCheck = time.Second

// askedWithin is how long a client may take to say what it wants.
const askedWithin = 5 * time.Second

func (k *keeper) answer(conn *net.UnixConn) {
	var q request
	if err := conn.SetReadDeadline(time.Now().Add(askedWithin)); err != nil {
		return
	}
	in := &line{conn: conn}
	defer in.drop()
	if err := json.NewDecoder(io.LimitReader(in, maxMessage)).Decode(&q); err != nil {
		_ = json.NewEncoder(conn).Encode(reply{Error: "not a request: " + err.Error()}) // a client that left needs no answer
		return
	}
	if q.Do == "socket" {
		_ = k.handSocket(conn, q) // likewise
		return
	}
	r := reply{}
	if q.Do == "run" {
		r = k.run(q, in)
	} else {
		r = k.do(q)
	}
	_ = json.NewEncoder(conn).Encode(r) // likewise
}

func (k *keeper) do(q request) reply {
	switch q.Do {
	case "members":
		r := reply{Places: k.house.Places}
		for _, name := range k.names {
			r.Members = append(r.Members, k.members[name].m)
		}
		return r
	case "shutdown":
		k.end()
		<-k.over
		return replyTo(targets.State{}, k.err)
	}
	c, ok := k.members[q.Name]
	if !ok {
		return replyTo(targets.State{}, fmt.Errorf("the keeper has no member %q: %w", q.Name, targets.ErrGone))
	}
	switch q.Do {
	case "start":
		return replyTo(k.start(c))
	case "stop":
		return replyTo(c.stop(k.ctx))
	case "state":
		return replyTo(c.State(), nil)
	default:
		return reply{Error: fmt.Sprintf("the keeper cannot %q: it can start, stop, state, members, run, socket and shutdown", q.Do)}
	}
}

// start starts a member, unless the cluster is ending: what is started after
// its stop would outlive it.
func (k *keeper) start(c *child) (targets.State, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ending {
		return targets.State{}, fmt.Errorf("the cluster is being shut down: %w", targets.ErrGone)
	}
	return c.start(k.house)
}

// watch ends the cluster when its directory was removed by others: nobody could
// ask for that any more.
func (k *keeper) watch() {
	tick := time.NewTicker(dirCheck)
	defer tick.Stop()
	for {
		select {
		case <-k.over:
			return
		case <-tick.C:
			if _, err := os.Stat(filepath.Join(k.dir, socketFile)); errors.Is(err, os.ErrNotExist) {
				k.end()
			}
		}
	}
}

// end kills the members, removes the directory, and lets serve return. It
// returns when that is done, whoever called it first.
func (k *keeper) end() {
	k.once.Do(func() {
		k.mu.Lock()
		k.ending = true
		k.mu.Unlock()
		errs := []error{k.listener.Close()}
		for _, name := range k.names {
			_, err := k.members[name].stop(k.ctx)
			errs = append(errs, err)
		}
		k.runs.end()
		errs = append(errs, k.house.Close(k.ctx), os.RemoveAll(k.dir))
		k.err = errors.Join(errs...)
		close(k.over)
	})
}
