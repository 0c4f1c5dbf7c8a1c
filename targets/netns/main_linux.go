package netns

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/targets"
)

// A spawner starts main processes from one thread that lives as long as the lab:
// a child gets its PDEATHSIG when the thread that forked it ends, and Go ends
// threads at its discretion (prctl(2), PR_SET_PDEATHSIG).
type spawner struct {
	jobs chan func()
	end  func()
}

func newSpawner() *spawner {
	s := &spawner{jobs: make(chan func())}
	s.end = sync.OnceFunc(func() { close(s.jobs) })
	go kernel.Thread(func() {
		for job := range s.jobs {
			job()
		}
	})
	return s
}

// newRoom makes one whose thread enters somewhere first, and stays there.
func newRoom(enter func() error) (*spawner, error) {
	s := newSpawner()
	done := make(chan error)
	s.jobs <- func() { done <- enter() }
	if err := <-done; err != nil {
		s.end()
		return nil, err
	}
	return s, nil
}

// here starts cmd where the thread is.
func (s *spawner) here(cmd *exec.Cmd) error {
	done := make(chan error)
	s.jobs <- func() { done <- cmd.Start() }
	return <-done
}

// start starts cmd inside the namespace.
func (s *spawner) start(cmd *exec.Cmd, ns *os.File) error {
	done := make(chan error)
	s.jobs <- func() {
		home, err := os.Open("/proc/thread-self/ns/net")
		if err == nil {
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
		}
		if err == nil {
			err = cmd.Start()
			// A thread that cannot come back goes on inside: every start says
			// where it is to be.
			err = errors.Join(err, unix.Setns(int(home.Fd()), unix.CLONE_NEWNET))
		}
		if home != nil {
			err = errors.Join(err, home.Close())
		}
		done <- err
	}
	return <-done
}

// A mainProcess is the main process of a node, running or not, and the socket at
// which other processes ask for it.
type mainProcess struct {
	m        Member
	ns       *os.File
	spawn    *spawner
	listener net.Listener

	mu    sync.Mutex
	state targets.State
	dead  chan struct{} // closed once it was reaped; nil before the first start
	clear func() error  // kills what runs in the namespace
}

// inside is where a main process is started, and by whom.
type inside struct {
	ns    *os.File
	spawn *spawner
}

// socket is where a node's main process is asked for: an abstract name, which
// only those see who are in its network namespace (unix(7)).
const socket = "@dapple-netns-main"

func newMain(ctx context.Context, n *Node, m Member, at inside) (*mainProcess, error) {
	p := &mainProcess{m: m, ns: at.ns, spawn: at.spawn, state: targets.State{Policy: "no"}}
	p.clear = func() error {
		// It is asked for long after the lab was made, by anyone.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		return clear(ctx, n)
	}
	err := kernel.InNetNS(n.at.path(), func() (err error) {
		p.listener, err = net.Listen("unix", socket)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listening for its main process: %w", err)
	}
	go p.serve()
	return p, nil
}

type answer struct {
	State targets.State `json:"state"`
	Err   string        `json:"err,omitempty"`
}

func (p *mainProcess) serve() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		go func() {
			defer c.Close()
			// Whoever asks and does not listen is told nothing.
			_ = c.SetDeadline(time.Now().Add(time.Minute))
			var what string
			if json.NewDecoder(c).Decode(&what) != nil {
				return
			}
			var a answer
			if err := p.do(what); err != nil {
				a.Err = err.Error()
			}
			a.State = p.now()
			_ = json.NewEncoder(c).Encode(a)
		}()
	}
}

func (p *mainProcess) do(what string) error {
	switch what {
	case "state":
		return nil
	case "start":
		return p.start()
	case "stop":
		return p.stop()
	}
	return fmt.Errorf("nothing is called %q", what)
}

func (p *mainProcess) now() targets.State {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state
}

func (p *mainProcess) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state.Running {
		return nil
	}
	cmd := exec.Command(p.m.Main[0], p.m.Main[1:]...)
	cmd.Dir, cmd.Env = p.m.Dir, append(os.Environ(), p.m.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.spawn.start(cmd, p.ns); err != nil {
		return fmt.Errorf("starting %s: %w", p.m.Name, err)
	}
	id, err := kernel.Identity(cmd.Process.Pid) // not yet waited for, so it is there
	if err != nil {
		return fmt.Errorf("starting %s: %w", p.m.Name, err)
	}
	p.state.Running, p.state.Main, p.state.Started, p.state.Detail = true, id, time.Now(), "running"
	dead := make(chan struct{})
	p.dead = dead
	go p.reap(cmd, dead)
	return nil
}

// reap waits for the end of the main process. How it ended is its state's detail.
func (p *mainProcess) reap(cmd *exec.Cmd, dead chan<- struct{}) {
	defer close(dead)
	detail := ""
	if err := cmd.Wait(); cmd.ProcessState != nil {
		detail = cmd.ProcessState.String()
	} else {
		detail = err.Error()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state.Running, p.state.Main, p.state.Finished, p.state.Detail = false, targets.ProcID{}, time.Now(), detail
}

// stop kills all processes of the node and waits for the main one's end.
func (p *mainProcess) stop() error {
	p.mu.Lock()
	dead := p.dead
	p.mu.Unlock()
	if err := p.clear(); err != nil {
		return err
	}
	if dead != nil {
		<-dead
	}
	return nil
}

// end stops it for good.
func (p *mainProcess) end() error {
	return errors.Join(p.listener.Close(), p.stop())
}

// ask asks the lab's maker, wherever we are.
func (n *Node) ask(ctx context.Context, what string) (s targets.State, err error) {
	path, err := n.NetNS(ctx)
	if err != nil {
		return s, err
	}
	var c net.Conn
	err = kernel.InNetNS(path, func() (err error) {
		c, err = net.Dial("unix", socket)
		return err
	})
	if err != nil {
		return s, fmt.Errorf("node %s: asking the maker of its lab: %w: %w", n.name, targets.ErrGone, err)
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) }) // wakes who waits
	defer stop()
	var a answer
	err = json.NewEncoder(c).Encode(what)
	if err == nil {
		err = json.NewDecoder(c).Decode(&a)
	}
	switch {
	case ctx.Err() != nil:
		return s, ctx.Err()
	case err != nil:
		return s, fmt.Errorf("node %s: asking the maker of its lab: %w", n.name, err)
	case a.Err != "":
		return a.State, fmt.Errorf("node %s: %s", n.name, a.Err)
	}
	return a.State, nil
}
