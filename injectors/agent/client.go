package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"sync"
	"time"

	"github.com/dapple-drills/dapple/drills/journal"
	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/targets"
)

// Options say how an agent is started, and for whom.
type Options struct {
	// Argv starts the agent: {"/usr/bin/dapple", "agent"}. Its stdin and stdout
	// must be those of Serve.
	Argv   []string
	Env    []string      // added to ours
	Lease  time.Duration // zero is Lease
	Drill  string        // the run's id
	System string
	// Sockets has the agent make sockets inside of nodes for us: see
	// Client.Socket. It must run on this machine, in our namespaces.
	Sockets bool
	// Greeting is how long the start of the agent may take, where that is more
	// than the start of a process; zero is 10 s.
	Greeting time.Duration
	// Elsewhere says that the agent is on another machine: it keeps its journal
	// where that machine does, and has a clock of its own. Argv reaches it, and
	// starts it with MarkEnv set to a mark of a process there that ends with the
	// connection. RevertAll must be given.
	Elsewhere bool
	// RevertAll takes back what an agent that died had held, where this process
	// has not the rights to; nil is the function of that name.
	RevertAll func(context.Context, RevertOptions) (Report, error)
	// Config is what the agent itself has: the runner needs it to take back what
	// an agent that died had held, and to refuse an agent of another version. Its
	// Home is where both keep the journal.
	Config
}

// A Client is the runner's side of one agent. Its methods may be called from
// many goroutines.
type Client struct {
	opts  Options
	cmd   *exec.Cmd
	stdin io.Closer
	hears io.Closer // our end of its stdout
	out   *wire
	clock mapping
	said  tail // the agent's stderr
	saw   *feed
	desk  *counter // nil unless Options.Sockets

	mu      sync.Mutex
	welcome welcome
	next    int64
	pending map[int64]pending
	heard   time.Time
	keys    map[string]string // faults that may hold: key to node
	needed  bool              // it was started and is not being closed
	ended   bool              // it says no more
	lost    bool              // it ended while it was needed

	over      chan struct{} // closed when the agent's stdout has ended
	recovered chan struct{} // closed after over, when all that a lost agent held was dealt with
	failed    error         // what could not be, then
	span      Span          // when
	stop      func()        // ends the renewals and waits for them
}

type pending struct {
	sent  time.Time
	reply chan reply
}

// Start starts an agent and returns once it holds the lease. ctx bounds the
// start only; the agent lives until Close, or until one of the two dies.
func Start(ctx context.Context, o Options) (*Client, error) {
	if len(o.Argv) == 0 {
		return nil, errors.New("starting the agent: no command is given")
	}
	if o.Lease == 0 {
		o.Lease = Lease
	}
	if o.Home == "" {
		home, err := journal.Home()
		if err != nil {
			return nil, fmt.Errorf("starting the agent: %w", err)
		}
		o.Home = home
	}
	c := &Client{
		opts: o, saw: newFeed(), pending: map[int64]pending{}, keys: map[string]string{},
		clock: mapping{base: time.Now(), drift: slew},
		over:  make(chan struct{}), recovered: make(chan struct{}), stop: func() {},
	}
	life := context.WithoutCancel(ctx)
	what := fmt.Sprintf("%q", o.Argv)
	if o.Elsewhere {
		what = "over there" // the way is long, and says little
	}
	if err := c.launch(life); err != nil {
		return nil, fmt.Errorf("starting the agent %s: %w", what, err)
	}
	if err := c.greet(ctx); err != nil {
		c.abandon()
		return nil, fmt.Errorf("starting the agent %s: %w", what, c.withStderr(err))
	}
	c.renew(life)
	if err := c.sharpen(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("starting the agent %s: %w", what, err), c.Close(life))
	}
	return c, nil
}

// Agent is the identity of the agent, as it sees itself, and its resident memory
// in bytes when it started.
func (c *Client) Agent() (id targets.ProcID, rss int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.welcome.Agent, c.welcome.RSS
}

// Inject has the agent write f down, make it, and prove it. The error says that
// it could not be made, or that this is not known; Revert is due in any case.
func (c *Client) Inject(ctx context.Context, key string, node targets.Spec, f injectors.Fault) (Held, error) {
	c.mu.Lock()
	c.keys[key] = node.Name
	c.mu.Unlock()
	r, err := c.call(ctx, request{Op: opInject, Key: key, Node: &node, Fault: &f})
	if err != nil {
		return Held{}, fmt.Errorf("injecting %s on %s: %w", f.Kind, node.Name, err)
	}
	if r.Held == nil {
		return Held{}, fmt.Errorf("injecting %s on %s: the agent's reply is empty", f.Kind, node.Name)
	}
	h := Held{Inject: c.clock.ours(r.Held.Inject), Effect: c.clock.ours(r.Held.Effect), Proof: r.Held.Proof, OK: r.Held.OK}
	return h, nil
}

// Revert takes the fault back and sees that it is gone. It is harmless to ask
// twice, or for a fault that was never made. If the agent is lost, it waits for
// what the runner itself does about it.
func (c *Client) Revert(ctx context.Context, key string) (Span, error) {
	r, err := c.call(ctx, request{Op: opRevert, Key: key})
	if errors.Is(err, ErrLost) {
		select {
		case <-c.recovered:
			return c.span, c.failed
		case <-ctx.Done():
			return Span{}, fmt.Errorf("reverting %s: %w", key, errors.Join(err, ctx.Err()))
		}
	}
	if err != nil {
		return Span{}, fmt.Errorf("reverting %s: %w", key, err)
	}
	c.mu.Lock()
	delete(c.keys, key)
	c.mu.Unlock()
	if r.Span == nil {
		return Span{}, fmt.Errorf("reverting %s: the agent's reply is empty", key)
	}
	return c.clock.ours(*r.Span), nil
}

// Sightings is what the agent sees by itself, in its order. It is closed by
// Close.
func (c *Client) Sightings() <-chan Sighted { return c.saw.out }

// Epsilon bounds how wrongly an instant of the agent's is placed on our clock.
// The spans that this package returns hold it already.
func (c *Client) Epsilon() time.Duration { return c.clock.epsilon() }

// Close has the agent take back what it still holds, and ends it. The error says
// what is still in place.
func (c *Client) Close(ctx context.Context) error {
	c.mu.Lock()
	c.needed = false
	lost := c.lost
	c.mu.Unlock()
	c.stop()
	defer c.saw.close()
	defer c.leave()
	if lost {
		select {
		case <-c.recovered:
			return c.failed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	_, err := c.call(ctx, request{Op: opClose})
	// The end of its stdin is the same request once more, for an agent that did
	// not hear the first.
	c.out.flush(grace)
	err = errors.Join(err, ignoreClosed(c.stdin.Close()))
	select {
	case <-c.over:
	case <-ctx.Done():
		return fmt.Errorf("ending the agent: it still reverts, see its journal with dapple revert: %w", errors.Join(err, ctx.Err()))
	}
	var exit *exec.ExitError
	if wait := c.cmd.Wait(); wait != nil && err == nil && !errors.As(wait, &exit) {
		err = wait
	}
	if err != nil {
		return fmt.Errorf("ending the agent: %w", c.withStderr(err))
	}
	return nil
}

func ignoreClosed(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// call sends r and waits for its reply. Nobody answers after the agent is gone:
// then the error wraps ErrLost.
func (c *Client) call(ctx context.Context, r request) (reply, error) {
	p := pending{sent: time.Now(), reply: make(chan reply, 1)}
	c.mu.Lock()
	c.next++
	r.ID = c.next
	c.pending[r.ID] = p
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.pending, r.ID)
		c.mu.Unlock()
	}()
	if err := ctx.Err(); err != nil {
		return reply{}, err
	}
	if err := c.out.send(r); err != nil {
		return reply{}, fmt.Errorf("%w: %w", ErrLost, err)
	}
	select {
	case a := <-p.reply:
		return a, a.err()
	case <-c.over:
		select {
		case a := <-p.reply: // its last words
			return a, a.err()
		default:
			return reply{}, ErrLost
		}
	case <-ctx.Done():
		_ = c.out.send(request{Op: opCancel, Target: r.ID}) // if it is not heard, the agent ends
		return reply{}, ctx.Err()
	}
}

// read takes what the agent says until it says no more.
func (c *Client) read(life context.Context, stdout io.ReadCloser) {
	dec := json.NewDecoder(stdout)
	for {
		var a reply
		if dec.Decode(&a) != nil {
			break
		}
		c.take(a, time.Now())
	}
	// Garbage ends the conversation as well. What the agent still writes must
	// fail, so that it does not wait for us.
	_ = stdout.Close()
	c.mu.Lock()
	c.ended, c.lost = true, c.needed
	lost := c.lost
	c.mu.Unlock()
	close(c.over)
	defer close(c.recovered)
	c.failed = errors.New("the agent was closed")
	if lost {
		c.recover(life)
	}
}

func (c *Client) take(a reply, at time.Time) {
	c.mu.Lock()
	c.heard = at
	p, asked := c.pending[a.ID]
	c.mu.Unlock()
	if asked {
		c.clock.sample(a.Now, p.sent, at)
		select {
		case p.reply <- a:
		default: // a second reply to one request: the first counts
		}
		return
	}
	if a.Saw != nil {
		s := c.clock.ours(a.Saw.At)
		c.saw.put(Sighted{Key: a.Saw.Key, Node: a.Saw.Node, Lo: s.Lo, Hi: s.Hi, What: a.Saw.What, By: a.Saw.By, Evidence: a.Saw.Evidence})
	}
}

// renew keeps the lease, and ends an agent that does not answer for as long as
// one: it cannot be trusted to end its faults.
func (c *Client) renew(life context.Context) {
	ctx, cancel := context.WithCancel(life)
	done := make(chan struct{})
	c.stop = func() { cancel(); <-done }
	go func() {
		defer close(done)
		tick := time.NewTicker(c.opts.Lease / renewals)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-c.over:
				return
			case <-tick.C:
			}
			go func() { _, _ = c.call(ctx, request{Op: opRenew}) }() // its being unheard is seen below
			c.mu.Lock()
			silent := time.Since(c.heard)
			c.mu.Unlock()
			if silent > c.opts.Lease {
				_ = c.cmd.Process.Kill()
				// Who carries the agent may have handed the other end on, as an ssh
				// does that shares a connection: its death does not end what we hear.
				_ = errors.Join(c.stdin.Close(), c.hears.Close())
			}
		}
	}()
}

// recover does what the agent would have: it takes back what the journal says
// that it held, and tells of it.
func (c *Client) recover(life context.Context) {
	_ = c.stdin.Close()
	_ = c.cmd.Process.Kill() // if its stdout alone has ended
	_ = c.cmd.Wait()         // its exit code says less than its stderr
	begin := time.Now()
	c.mu.Lock()
	from, keys, id := c.heard, maps.Clone(c.keys), c.welcome.Agent
	c.mu.Unlock()
	why := "the agent ended: " + c.withStderr(ErrLost).Error()
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		c.saw.put(Sighted{Key: key, Node: keys[key], Lo: from, Hi: begin, What: whatHole, Evidence: why})
	}
	ctx, cancel := context.WithTimeout(life, 2*c.opts.deadline())
	defer cancel()
	revertAll := c.opts.RevertAll
	if revertAll == nil {
		revertAll = RevertAll
	}
	report, err := revertAll(ctx, RevertOptions{Config: c.opts.Config, Force: true, Of: &Holding{id, c.opts.Drill}})
	// Elsewhere, a lost connection is seen late: the agent may have taken the fault
	// back by itself at any time since it was last heard.
	if c.opts.Elsewhere {
		begin = from
	}
	c.span, c.failed = Span{begin, time.Now()}, errors.Join(err, report.Err())
}
