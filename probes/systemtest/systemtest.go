// Package systemtest holds the laws that every kind of system keeps: what a
// drill may take for granted of probes.System and its optional interfaces,
// whatever they watch.
//
// A kind's own test makes a real system, says in a Bench how to stop and start
// its nodes, and calls Run. The laws of an optional interface are checked if
// the system has it. What only one kind promises is tested beside that kind.
package systemtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/targets"
)

// A Bench is a real system at rest, and the hands to disturb it.
type Bench struct {
	Kind    probes.Kind
	Binding probes.Binding

	// Stop ends the server of a node as a crash would; Start brings the node
	// back. If Stop is nil, the laws about stopped nodes are not checked.
	Stop, Start func(ctx context.Context, node string) error

	// Failover says that the system moves the primary role by itself when its
	// primary is stopped.
	Failover bool

	// Patience bounds each wait for the system: to be at rest, to notice, to
	// come back. Default one minute.
	Patience time.Duration

	// Unique says that the system cannot hold an id twice.
	Unique bool

	// Forwards says that any node takes writes and passes them to the primary.
	Forwards bool

	// Cases provoke write classes by real error codes.
	Cases []Case
}

// A Case makes a write end in one way, and says which class that is.
type Case struct {
	Name    string
	Provoke func(t *testing.T, s probes.System, run string) probes.Ack
	Want    probes.Class
	Reply   string // what the reply begins with, or "" for any
}

// suite is one run of the laws.
type suite struct {
	*Bench
	sys probes.System
}

// Run checks the laws, those that disturb the system last.
func Run(t *testing.T, b *Bench) {
	t.Helper()
	if b.Patience == 0 {
		b.Patience = time.Minute
	}
	sys, err := b.Kind.Open(t.Context(), b.Binding)
	if err != nil {
		t.Fatalf("open %s: %v", b.Kind.Name, err)
	}
	t.Cleanup(func() {
		if err := sys.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	s := &suite{Bench: b, sys: sys}
	t.Run("OneNodeIsPrimaryAtRest", s.onePrimary)
	s.writing(t)
	t.Run("SettingsAndExpectationComeFromTheLiveSystem", s.settings)
	t.Run("EveryNodeTakesPartAtRest", s.members)
	t.Run("AllNodesAndTheEndpointAreOfOneCluster", s.identity)
	for _, c := range b.Cases {
		t.Run("WriteClass/"+c.Name, func(t *testing.T) { s.class(t, c) })
	}
	if b.Stop != nil {
		t.Run("AStoppedNodeIsSilentWithinItsDeadlineAndObserversFire", s.stopped)
	}
}

// primary waits until exactly one node claims to be primary and all others are
// replicas, and returns it.
func (s *suite) primary(t *testing.T) (targets.Node, probes.Claim) {
	t.Helper()
	var node targets.Node
	var claim probes.Claim
	s.wait(t, "one primary and else replicas", func(ctx context.Context) error {
		node = nil
		for _, n := range s.Binding.Nodes {
			switch c := s.role(ctx, n); {
			case c.Role == probes.Primary && node != nil:
				return fmt.Errorf("both %s and %s claim it", node.Name(), n.Name())
			case c.Role == probes.Primary:
				node, claim = n, c
			case c.Role != probes.Replica:
				return fmt.Errorf("%s is %s: %s", n.Name(), c.Role, c.Detail)
			}
		}
		if node == nil {
			return errors.New("no node claims it")
		}
		return nil
	})
	return node, claim
}

// deadline is that of one look or write here. It is long because it is not what
// is tested: a busy machine must not fail a law.
const deadline = 5 * time.Second

func (s *suite) role(ctx context.Context, n targets.Node) probes.Claim {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	return s.sys.Role(ctx, n)
}

// patient is also of use in a clean-up, when the test's context has ended.
func (s *suite) patient(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(t.Context()), s.Patience)
}

// wait polls until done returns nil, for at most the bench's patience.
func (s *suite) wait(t *testing.T, what string, done func(context.Context) error) {
	t.Helper()
	ctx, cancel := s.patient(t)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := done(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("waited %v for %s: %v", s.Patience, what, err)
		case <-tick.C:
		}
	}
}

func (s *suite) onePrimary(t *testing.T) {
	_, claim := s.primary(t)
	if claim.Epoch == "" {
		t.Errorf("the primary names no epoch: %+v", claim)
	}
	if claim.Detail == "" {
		t.Errorf("a claim without evidence: %+v", claim)
	}
}

func (s *suite) settings(t *testing.T) {
	if sys, ok := s.sys.(probes.Settings); ok {
		effective, _, err := sys.Settings(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(effective) == 0 {
			t.Error("no settings were read")
		}
		versions, err := sys.Versions(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(versions) == 0 {
			t.Error("no versions were read")
		}
	}
	sys, ok := s.sys.(probes.Expecter)
	if !ok {
		return
	}
	cause := probes.Cause{Injector: "kill", Params: map[string]string{"process": "main", "signal": "KILL", "mode": "crash"}, Roles: []string{"primary"}, For: time.Hour}
	ranges, _, modelled, err := sys.Expect(t.Context(), cause)
	if err != nil {
		t.Fatal(err)
	}
	if !modelled {
		t.Error("there is no expectation for the kill of a primary")
	}
	for metric, r := range ranges {
		if r.Min > r.Max || r.Max <= 0 || r.Why == "" {
			t.Errorf("%s: [%v, %v] %q is no expectation", metric, r.Min, r.Max, r.Why)
		}
	}
	if _, _, ok, err := sys.Expect(t.Context(), probes.Cause{Injector: "no such injector"}); ok || err != nil {
		t.Errorf("an unknown cause has a model (%v) or an error (%v)", ok, err)
	}
}

func (s *suite) members(t *testing.T) {
	sys, ok := s.sys.(probes.Membership)
	if !ok {
		t.Skip("this kind tells no membership")
	}
	primary, _ := s.primary(t)
	s.wait(t, "every replica to follow", func(ctx context.Context) error {
		members, err := sys.Members(ctx)
		if err != nil {
			return err
		}
		var names []string
		for _, m := range members {
			names = append(names, m.Node)
			want := "following"
			if m.Node == primary.Name() {
				want = "primary"
			}
			if m.State != want || (m.State == "following" && m.Lag != 0) {
				return fmt.Errorf("%+v, want it %s", m, want)
			}
		}
		for _, n := range s.Binding.Nodes {
			if !slices.Contains(names, n.Name()) {
				return fmt.Errorf("%s is not among the members %v", n.Name(), names)
			}
		}
		return nil
	})
}
