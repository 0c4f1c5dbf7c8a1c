package drills

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/targets"
)

// endpointAsked is how often the clients' endpoint is asked which cluster it leads
// to: a name with several addresses, or a proxy, may lead elsewhere the next time.
const endpointAsked = 4

// identityWithin bounds one question. Servers that are silent are left to the roles.
const identityWithin = 3 * time.Second

// oneCluster finds that the file describes servers of more than one cluster: what is
// written to one of them would be missed on the others, and called lost. notes say
// of whom it could not be told.
func oneCluster(ctx context.Context, p *Plan) (notes []string, problems []error) {
	who, ok := p.System.(probes.Identifier)
	if !ok {
		return nil, nil
	}
	nodes, failed := identities(ctx, who, p.Nodes)
	endpoint, more := identities(ctx, who, make([]targets.Node, endpointAsked))
	for _, name := range slices.Sorted(maps.Keys(failed)) {
		notes = append(notes, fmt.Sprintf("which cluster node %s is of cannot be told: %v", name, failed[name]))
	}
	if err := more[""]; err != nil {
		notes = append(notes, fmt.Sprintf("which cluster the clients' endpoint leads to cannot be told: %v", err))
	}
	if len(nodes) > 1 {
		problems = append(problems, fmt.Errorf("the nodes are of %d clusters: %s: take the strangers out of the system file", len(nodes), told(nodes)))
	}
	for _, id := range slices.Sorted(maps.Keys(endpoint)) {
		if _, ours := nodes[id]; !ours && len(nodes) > 0 {
			problems = append(problems, fmt.Errorf("the clients' endpoint leads to another cluster (%s) than the nodes are of: %s: mend clients or nodes in the system file", id, told(nodes)))
		}
	}
	if len(endpoint) > 1 {
		problems = append(problems, fmt.Errorf("the clients' endpoint leads to %d clusters: %s", len(endpoint), strings.Join(slices.Sorted(maps.Keys(endpoint)), " and ")))
	}
	return notes, problems
}

// identities asks all at once. It returns who is of which cluster, and why it could
// not be told of others; nil, the clients' endpoint, has no name.
func identities(ctx context.Context, who probes.Identifier, nodes []targets.Node) (of map[string][]string, failed map[string]error) {
	of, failed = map[string][]string{}, map[string]error{}
	ctx, cancel := context.WithTimeout(ctx, identityWithin)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, n := range nodes {
		wg.Go(func() {
			name := ""
			if n != nil {
				name = n.Name()
			}
			id, err := who.Identity(ctx, n)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed[name] = err
				return
			}
			of[id] = append(of[id], name)
		})
	}
	wg.Wait()
	return of, failed
}

// told says which nodes are of which cluster.
func told(of map[string][]string) string {
	var parts []string
	for _, id := range slices.Sorted(maps.Keys(of)) {
		slices.Sort(of[id])
		parts = append(parts, strings.Join(of[id], ", ")+": "+id)
	}
	return strings.Join(parts, "; ")
}
