package injectors

import (
	"fmt"
	"strings"

	"github.com/dapple-drills/dapple/targets"
)

// A Need is something that a node must let be done to it so that a fault can land
// there. Which kinds of node can carry a fault follows from its needs, without a
// table that could be wrong.
type Need string

// The needs, each an interface of package targets.
const (
	NeedProcesses Need = "its processes can be held" // targets.Processes
	NeedStarter   Need = "it can be started again"   // targets.Starter
	NeedNetNS     Need = "its network namespace can be entered from this machine"
)

// Met says whether the kind of node can do what is needed. It asks for the type
// alone: n may be a nil pointer of it.
func (n Need) Met(node targets.Node) bool {
	switch n {
	case NeedProcesses:
		_, ok := node.(targets.Processes)
		return ok
	case NeedStarter:
		_, ok := node.(targets.Starter)
		return ok
	case NeedNetNS:
		_, ok := node.(targets.NetNS)
		return ok
	}
	return false
}

// Carries says whether nodes of that kind can carry the fault at all; the error
// wraps targets.ErrUnsupported and says what they lack. n is asked for its type
// alone, and may be a nil pointer of it. Whether one certain node can, Plan says.
func (k Kind) Carries(n targets.Node) error {
	var lacks []string
	for _, need := range k.Needs {
		if !need.Met(n) {
			lacks = append(lacks, string(need))
		}
	}
	if len(lacks) > 0 {
		return fmt.Errorf("a node must be one of which this is true: %s: %w", strings.Join(lacks, ", "), targets.ErrUnsupported)
	}
	return nil
}
