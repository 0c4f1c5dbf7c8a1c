package drills

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/targets"
)

// roleDeadline bounds asking one node what it is.
const roleDeadline = 3 * time.Second

// askRoles asks every node at once what it claims to be.
func askRoles(ctx context.Context, p *Plan) map[string]probes.Claim {
	ctx, cancel := context.WithTimeout(ctx, roleDeadline)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	claims := map[string]probes.Claim{}
	for _, n := range p.Nodes {
		wg.Go(func() {
			c := p.System.Role(ctx, n)
			mu.Lock()
			defer mu.Unlock()
			claims[n.Name()] = c
		})
	}
	wg.Wait()
	return claims
}

// said is what each node said of itself, for an error.
func said(p *Plan, claims map[string]probes.Claim) string {
	var parts []string
	for _, n := range p.Nodes {
		c := claims[n.Name()]
		part := fmt.Sprintf("%s says %s", n.Name(), c.Role)
		if c.Role == probes.Silent || c.Role == probes.None {
			part += " (" + c.Detail + ")"
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, "; ")
}

// onePrimary is an error unless exactly one node claims to be primary.
func onePrimary(p *Plan, claims map[string]probes.Claim) error {
	if len(withRole(p, claims, probes.Primary)) == 1 || p.Kind.MultiPrimary || p.Untold()[probes.UntoldRoles] != "" {
		return nil
	}
	return fmt.Errorf("the role primary is held by %d nodes, and must be by one: %s",
		len(withRole(p, claims, probes.Primary)), said(p, claims))
}

func withRole(p *Plan, claims map[string]probes.Claim, r probes.Role) []targets.Node {
	var found []targets.Node
	for _, n := range p.Nodes {
		if claims[n.Name()].Role == r {
			found = append(found, n)
		}
	}
	return found
}

// aim resolves the words of a step's `on` against what the nodes say now.
func (p *Plan) aim(ctx context.Context, s Step) (injectors.Aim, map[string]probes.Claim, error) {
	claims := askRoles(ctx, p)
	var on []targets.Node
	for _, word := range s.On {
		found, err := p.select1(ctx, word, claims)
		if err != nil {
			return injectors.Aim{}, claims, fmt.Errorf("%s: inject %s on %q: %w", s.Pos, s.Inject, word, err)
		}
		for _, n := range found {
			if !slices.Contains(on, n) {
				on = append(on, n)
			}
		}
	}
	if limit := p.Scenario.BlastRadius.Nodes; limit > 0 && len(on) > limit {
		return injectors.Aim{}, claims, fmt.Errorf("%s: inject %s would touch %d nodes (%s), more than blast_radius.nodes: %d",
			s.Pos, s.Inject, len(on), names(on), limit)
	}
	aim := injectors.Aim{On: on, Drill: p.Run, Commands: p.Commands, HostClock: p.HostClock, Processes: map[string][]string{
		"server": p.Kind.Processes.Server, "manager": p.Kind.Processes.Manager,
	}}
	for _, n := range p.Nodes {
		if !slices.Contains(on, n) {
			aim.Peers = append(aim.Peers, n)
		}
	}
	return aim, claims, nil
}

// select1 resolves one word. Zero matches is an error: a drill without a target
// must not look like one that passed.
func (p *Plan) select1(ctx context.Context, word string, claims map[string]probes.Claim) ([]targets.Node, error) {
	if n := p.node(word); n != nil {
		return []targets.Node{n}, nil
	}
	if why := p.Untold()[probes.UntoldRoles]; why != "" && word != "all" {
		return nil, diag.Hint(fmt.Errorf("no node has that name, and which one has that role is not known: %s", why), "name the node: "+names(p.Nodes))
	}
	primary, replicas := withRole(p, claims, probes.Primary), withRole(p, claims, probes.Replica)
	var found []targets.Node
	switch word {
	case "primary", "leader":
		if err := onePrimary(p, claims); err != nil {
			return nil, err
		}
		found = primary
	case "replica", "any replica":
		found = pick(replicas, 1, p.Seed)
	case "all replicas":
		found = replicas
	case "sync replica":
		return p.syncReplica(ctx)
	case "all":
		found = p.Nodes
	case "majority":
		found = append(slices.Clone(primary), pick(replicas, len(p.Nodes)/2+1-len(primary), p.Seed)...)
	case "minority":
		found = pick(replicas, (len(p.Nodes)-1)/2, p.Seed)
	default:
		return nil, fmt.Errorf("no node has that name, and it is no role; nodes: %s", names(p.Nodes))
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no node matches: %s", said(p, claims))
	}
	return found, nil
}

func (p *Plan) syncReplica(ctx context.Context) ([]targets.Node, error) {
	m, ok := p.System.(probes.Membership)
	if !ok {
		return nil, fmt.Errorf("kind %s cannot tell which replica is synchronous", p.Kind.Name)
	}
	ctx, cancel := context.WithTimeout(ctx, roleDeadline)
	defer cancel()
	members, err := m.Members(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask the members: %w", err)
	}
	for _, x := range members {
		if n := p.node(x.Node); n != nil && x.Sync {
			return []targets.Node{n}, nil
		}
	}
	return nil, fmt.Errorf("no replica is synchronous")
}

// pick takes n of the nodes, by the seed, so that a run can be repeated.
func pick(nodes []targets.Node, n int, seed int64) []targets.Node {
	if n <= 0 || len(nodes) == 0 {
		return nil
	}
	from := int(uint64(seed) % uint64(len(nodes)))
	turned := append(slices.Clone(nodes[from:]), nodes[:from]...)
	return turned[:min(n, len(turned))]
}

func names(nodes []targets.Node) string {
	var s []string
	for _, n := range nodes {
		s = append(s, n.Name())
	}
	return strings.Join(s, ", ")
}
