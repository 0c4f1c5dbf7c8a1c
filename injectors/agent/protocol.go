package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/dapple-drills/dapple/drills/journal"
	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/targets"
)

// protocol is the number of what is spoken below; it changes with it. The version
// of the program is compared as well, but two development builds share one.
const protocol = 3

// The operations of a request.
const (
	opHello  = "hello"
	opRenew  = "renew"
	opInject = "inject"
	opRevert = "revert"
	opPlan   = "plan"   // ask an injector what it would do
	opLook   = "look"   // Snapshot
	opSweep  = "sweep"  // RevertAll
	opSee    = "see"    // one node
	opList   = "list"   // Outstanding
	opCancel = "cancel" // Target is the request that nobody waits for any more
	opClose  = "close"  // revert everything and exit
)

// A request is one line from the runner. Every one but cancel is answered.
type request struct {
	ID     int64            `json:"id"`
	Op     string           `json:"op"`
	Hello  *hello           `json:"hello,omitempty"`
	Key    string           `json:"key,omitempty"`
	Node   *targets.Spec    `json:"node,omitempty"`
	Fault  *injectors.Fault `json:"fault,omitempty"`
	Target int64            `json:"target,omitempty"`
	Plan   *planWire        `json:"plan,omitempty"`
	Look   []targets.Spec   `json:"look,omitempty"`
	Sweep  *sweepWire       `json:"sweep,omitempty"`
}

type hello struct {
	Protocol int            `json:"protocol"`
	Version  string         `json:"version"`
	Drill    string         `json:"drill"`
	System   string         `json:"system"`
	Home     string         `json:"home,omitempty"`
	Lease    time.Duration  `json:"lease_ns"`
	Runner   targets.ProcID `json:"runner"`
	Sockets  string         `json:"sockets,omitempty"` // where sockets are to be handed over
	// Elsewhere: Runner is a process of another machine, and means nothing here.
	Elsewhere bool `json:"elsewhere,omitempty"`
}

// A reply is one line from the agent: to the request ID, or a sighting (ID 0).
type reply struct {
	ID      int64         `json:"id,omitempty"`
	Now     time.Duration `json:"now_ns"` // the agent's clock just before it wrote this
	Err     string        `json:"err,omitempty"`
	Gone    bool          `json:"gone,omitempty"`        // Err wraps targets.ErrGone
	Lacks   bool          `json:"unsupported,omitempty"` // Err wraps targets.ErrUnsupported
	Welcome *welcome      `json:"welcome,omitempty"`
	Held    *heldWire     `json:"held,omitempty"`
	Span    *spanWire     `json:"span,omitempty"`
	Saw     *sawWire      `json:"saw,omitempty"`

	Faults []injectors.Fault `json:"faults,omitempty"` // opPlan
	Traces []byte            `json:"traces,omitempty"` // opLook
	Swept  *sweptWire        `json:"swept,omitempty"`  // opSweep
	Sight  *Sight            `json:"sight,omitempty"`  // opSee
	Listed []journal.Record  `json:"listed,omitempty"` // opList
}

type welcome struct {
	Version string         `json:"version"`
	Boot    string         `json:"boot"`
	Agent   targets.ProcID `json:"agent"`
	RSS     int64          `json:"rss"`
}

// Times on the wire are on the agent's clock.
type spanWire struct {
	Lo time.Duration `json:"lo_ns"`
	Hi time.Duration `json:"hi_ns"`
}

type heldWire struct {
	Inject spanWire `json:"inject"`
	Effect spanWire `json:"effect"`
	Proof  string   `json:"proof"`
	OK     bool     `json:"ok"`
}

type sawWire struct {
	Key      string   `json:"key"`
	Node     string   `json:"node"`
	At       spanWire `json:"at"`
	What     string   `json:"what"`
	By       string   `json:"by,omitempty"`
	Evidence string   `json:"evidence,omitempty"`
}

// A wire writes one value a line, for many goroutines, and never makes one wait:
// the other side may hang, and who holds faults must then still see the lease
// end.
type wire struct {
	lines chan any
	done  chan struct{} // closed when the writer has ended
	close func()
}

// backlog is how many lines a hung reader may owe us.
const backlog = 4096

func newWire(w io.Writer) *wire {
	ctx := make(chan struct{})
	x := &wire{lines: make(chan any, backlog), done: make(chan struct{}), close: sync.OnceFunc(func() { close(ctx) })}
	go func() {
		defer close(x.done)
		for enc := json.NewEncoder(w); ; {
			select {
			case v := <-x.lines:
				if enc.Encode(v) != nil {
					return // the pipe is broken: its reading half tells who must know
				}
			case <-ctx:
				for len(x.lines) > 0 {
					if enc.Encode(<-x.lines) != nil {
						return
					}
				}
				return
			}
		}
	}()
	return x
}

// send queues v. The error says that it will not be written; the end of the
// reading half says the same, so most callers need not look at it.
func (w *wire) send(v any) error {
	select {
	case <-w.done:
		return io.ErrClosedPipe
	default:
	}
	select {
	case w.lines <- v:
		return nil
	default:
		return fmt.Errorf("the other side has not read %d lines", backlog)
	}
}

// flush writes what is queued and ends the writer, or gives up after d.
func (w *wire) flush(d time.Duration) {
	w.close()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-w.done:
	case <-t.C:
	}
}

// A remoteError is an error of the other side that still wraps what callers
// branch on.
type remoteError struct {
	text string
	is   []error
}

func (e *remoteError) Error() string   { return e.text }
func (e *remoteError) Unwrap() []error { return e.is }

func (r *reply) fail(err error) {
	if err == nil {
		return
	}
	r.Err = err.Error()
	r.Gone = errors.Is(err, targets.ErrGone)
	r.Lacks = errors.Is(err, targets.ErrUnsupported)
}

func (r *reply) err() error {
	if r.Err == "" {
		return nil
	}
	e := &remoteError{text: r.Err}
	if r.Gone {
		e.is = append(e.is, targets.ErrGone)
	}
	if r.Lacks {
		e.is = append(e.is, targets.ErrUnsupported)
	}
	return e
}

// check refuses a runner that this agent would misunderstand.
func (h *hello) check(version string) error {
	switch {
	case h == nil:
		return errors.New("the first request must say hello")
	case h.Version != version:
		return fmt.Errorf("the agent is dapple %s, the runner is dapple %s: use the same program for both (set DAPPLE_AGENT to it)", version, h.Version)
	case h.Protocol != protocol:
		return fmt.Errorf("the agent speaks protocol %d, the runner %d: use the same program for both (set DAPPLE_AGENT to it)", protocol, h.Protocol)
	case h.Lease <= 0:
		return fmt.Errorf("a lease of %v would end at once", h.Lease)
	case h.Drill == "":
		return errors.New("the drill has no id")
	}
	return nil
}
