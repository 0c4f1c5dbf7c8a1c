package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/dapple-drills/dapple/drills/journal"
	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/targets"
)

// Serve is the agent: it answers the runner's requests from in on out until in
// ends, the lease ends, SIGTERM comes, ctx ends, or it is asked to close. Then it
// takes back everything that it holds, newest first, and returns. The error says
// what could not be taken back; it is in the journal.
//
// It is to be the only work of its process: SIGINT and SIGHUP, which are meant
// for the runner, and SIGPIPE, which a dead runner leaves, are kept from ending
// the process while it runs.
func Serve(ctx context.Context, in io.Reader, out io.Writer, cfg Config) error {
	term, restore := signals()
	defer restore()
	// What the agent starts is no agent.
	mark := os.Getenv(MarkEnv)
	if err := os.Unsetenv(MarkEnv); err != nil {
		return err
	}
	s := &server{cfg: cfg, mark: mark, out: newWire(out), ruler: newRuler(), ops: map[int64]context.CancelFunc{}}
	reading, cancel := context.WithCancel(ctx)
	defer cancel()
	defer s.out.flush(grace)
	requests := read(reading, in)
	if err := s.greet(ctx, requests); err != nil {
		return err
	}
	closing := s.loop(ctx, requests, term)
	// From here on nothing may stop us but our own deadline.
	err := s.end(context.WithoutCancel(ctx))
	if closing != nil {
		r := reply{ID: closing.ID, Now: s.ruler.at(time.Now())}
		r.fail(err)
		_ = s.out.send(r) // the runner may be dead; then nobody minds that it is not told
	}
	return err
}

// signals keeps those of a terminal and of a broken pipe from ending the process.
func signals() (term <-chan os.Signal, restore func()) {
	t, rest := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(t, syscall.SIGTERM)
	signal.Notify(rest, syscall.SIGINT, syscall.SIGHUP, syscall.SIGPIPE) // never read: what does not fit is dropped
	return t, func() {
		signal.Stop(t)
		signal.Stop(rest)
	}
}

// A server is the state of an agent.
type server struct {
	cfg     Config
	mark    string // see MarkEnv
	out     *wire
	ruler   ruler
	journal *journal.Journal
	hello   hello
	self    targets.ProcID
	boot    string
	home    string // where the journal is

	mu     sync.Mutex
	faults []*fault                     // in the order in which they were asked for
	ops    map[int64]context.CancelFunc // by request
	work   sync.WaitGroup
	checks sync.Mutex // held while the held faults are looked at
}

// read passes on the lines from in until they end.
func read(ctx context.Context, in io.Reader) <-chan request {
	requests := make(chan request)
	go func() {
		defer close(requests)
		for dec := json.NewDecoder(in); ; {
			var r request
			// A line that is no request ends the conversation as its end does:
			// who holds faults does not guess what was meant.
			if dec.Decode(&r) != nil {
				return
			}
			select {
			case requests <- r:
			case <-ctx.Done():
				return
			}
		}
	}()
	return requests
}

// greeting is how long a runner may take to say hello.
const greeting = 10 * time.Second

func (s *server) greet(ctx context.Context, requests <-chan request) error {
	t := time.NewTimer(greeting)
	defer t.Stop()
	select {
	case r, ok := <-requests:
		if !ok {
			return errors.New("the runner went away before it said hello")
		}
		w, err := s.welcome(ctx, r.Hello)
		answer := reply{ID: r.ID, Now: s.ruler.at(time.Now()), Welcome: w}
		answer.fail(err)
		return errors.Join(err, s.out.send(answer))
	case <-t.C:
		return fmt.Errorf("no hello within %v: an agent is started by dapple, not by hand", greeting)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *server) welcome(ctx context.Context, h *hello) (_ *welcome, err error) {
	if err := h.check(s.cfg.Version); err != nil {
		return nil, err
	}
	s.hello = *h
	home := h.Home
	if home == "" {
		home = s.cfg.Home
	}
	if home == "" {
		if home, err = journal.Home(); err != nil {
			return nil, err
		}
	}
	s.home = home
	if s.journal, err = journal.Open(journal.Dir(home)); err != nil {
		return nil, err
	}
	if s.self, err = kernel.Self(); err != nil {
		return nil, err
	}
	if s.boot, err = kernel.BootID(); err != nil {
		return nil, err
	}
	if h.Elsewhere {
		s.hello.Runner = standIn(s.mark, s.self)
	}
	if h.Sockets != "" {
		if err := serveSockets(ctx, h.Sockets, h.Runner); err != nil {
			return nil, err
		}
	}
	rss, err := kernel.RSS()
	return &welcome{Version: s.cfg.Version, Boot: s.boot, Agent: s.self, RSS: rss}, err
}

// loop answers until there is a reason to end. It returns the request that asked
// for it, or nil.
func (s *server) loop(ctx context.Context, requests <-chan request, term <-chan os.Signal) *request {
	lease := time.NewTimer(s.hello.Lease)
	defer lease.Stop()
	for {
		select {
		case r, ok := <-requests:
			switch {
			case !ok:
				return nil
			case r.Op == opClose:
				return &r
			case r.Op == opRenew:
				lease.Reset(s.hello.Lease)
				s.renewed(ctx, r)
			case r.Op == opCancel:
				s.cancel(r.Target)
			default:
				s.start(ctx, r)
			}
		case <-lease.C:
			return nil
		case <-term:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// renewed answers, which samples the clock, and looks after what is held.
func (s *server) renewed(ctx context.Context, r request) {
	// A failed write means a broken pipe: its other half ends the loop.
	_ = s.out.send(reply{ID: r.ID, Now: s.ruler.at(time.Now())})
	for _, h := range s.held() {
		s.work.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, s.hello.Lease)
			defer cancel()
			_ = h.renew(ctx, s.hello.Lease) // the next look reports it
		})
	}
	if !s.checks.TryLock() {
		return // the looks of the last renewal are still going on
	}
	s.work.Go(func() {
		defer s.checks.Unlock()
		ctx, cancel := context.WithTimeout(ctx, s.hello.Lease)
		defer cancel()
		var looks sync.WaitGroup
		for _, h := range s.held() {
			looks.Go(func() { h.check(ctx, s.hello.Lease) })
		}
		looks.Wait()
	})
}

func (s *server) held() []*fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.faults)
}

func (s *server) cancel(id int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cancel, ok := s.ops[id]; ok {
		cancel()
	}
}

// start answers r in a goroutine of its own, so that faults on several nodes are
// made at once and nothing delays a renewal.
func (s *server) start(ctx context.Context, r request) {
	ctx, cancel := context.WithCancel(ctx)
	s.mu.Lock()
	s.ops[r.ID] = cancel
	s.mu.Unlock()
	s.work.Go(func() {
		defer cancel()
		a := s.answer(ctx, r)
		s.mu.Lock()
		delete(s.ops, r.ID)
		s.mu.Unlock()
		a.ID, a.Now = r.ID, s.ruler.at(time.Now())
		_ = s.out.send(a) // as in renewed
	})
}

func (s *server) answer(ctx context.Context, r request) (a reply) {
	switch r.Op {
	case opInject:
		held, err := s.inject(ctx, r)
		a.Held = &held
		a.fail(err)
	case opRevert:
		span, err := s.revert(ctx, r.Key)
		a.Span = &span
		a.fail(err)
	case opPlan:
		faults, err := s.cfg.plan(ctx, r.Plan)
		a.Faults = faults
		a.fail(err)
	case opLook:
		traces, err := s.cfg.look(ctx, r.Look)
		a.Traces = traces
		a.fail(err)
	case opSweep:
		swept, err := s.sweep(ctx, r.Sweep)
		a.Swept = swept
		a.fail(err)
	case opSee:
		sight, err := s.cfg.see(ctx, r.Node)
		a.Sight = &sight
		a.fail(err)
	case opList:
		listed, err := Outstanding(s.home)
		a.Listed = listed
		a.fail(err)
	default:
		a.fail(fmt.Errorf("no operation is called %q", r.Op))
	}
	return a
}

func (s *server) inject(ctx context.Context, r request) (heldWire, error) {
	if r.Key == "" || r.Node == nil || r.Fault == nil {
		return heldWire{}, errors.New("a fault needs a key, a node and a record")
	}
	inj, node, err := s.cfg.bind(ctx, *r.Node, *r.Fault)
	if err != nil {
		return heldWire{}, err
	}
	h := &fault{key: r.Key, spec: *r.Node, f: *r.Fault, inj: inj, node: node, verb: make(chan struct{}, 1), ruler: s.ruler, report: s.report}
	h.verb <- struct{}{}
	s.mu.Lock()
	taken := slices.ContainsFunc(s.faults, func(o *fault) bool { return o.key == r.Key })
	if !taken {
		s.faults = append(s.faults, h)
	}
	s.mu.Unlock()
	if taken {
		return heldWire{}, fmt.Errorf("fault %s was injected already", r.Key)
	}
	return h.inject(ctx, s)
}

// write puts the fault into the journal.
func (s *server) write(h *fault) (id string, err error) {
	return s.journal.Write(journal.Record{
		Key: h.key, Boot: s.boot, Drill: s.hello.Drill, System: s.hello.System,
		Agent: s.self, Runner: s.hello.Runner, Lease: s.hello.Lease, Node: h.spec, Fault: h.f,
	})
}

func (s *server) report(w sawWire) {
	_ = s.out.send(reply{Now: s.ruler.at(time.Now()), Saw: &w}) // as in renewed
}

// revert takes one fault back. One that was never asked for has nothing to
// revert.
func (s *server) revert(ctx context.Context, key string) (spanWire, error) {
	for _, h := range s.held() {
		if h.key == key {
			return h.revert(ctx, s)
		}
	}
	now := time.Now()
	return s.ruler.span(now, now), nil
}

// end takes everything back.
func (s *server) end(ctx context.Context) error {
	s.mu.Lock()
	for _, cancel := range s.ops {
		cancel()
	}
	s.mu.Unlock()
	return newestFirst(s.held(), func(h *fault) string { return h.spec.Name }, func(h *fault) error {
		_, err := h.revert(ctx, s)
		return err
	})
}

// newestFirst does all items, also if some fail: those of one node one after the
// other, the last first, because a later fault may lie upon an earlier one;
// different nodes at the same time, because one that hangs must not keep the
// others from being taken back.
func newestFirst[T any](items []T, node func(T) string, do func(T) error) error {
	byNode := map[string][]T{}
	for _, it := range items {
		byNode[node(it)] = append(byNode[node(it)], it)
	}
	var (
		all  sync.WaitGroup
		mu   sync.Mutex
		errs []error
	)
	for _, list := range byNode {
		all.Go(func() {
			for _, it := range slices.Backward(list) {
				err := do(it)
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}
