package peers

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/targets"
)

// A Site is a node's network namespace.
type Site struct {
	Node string
	Path string
	ID   kernel.NetNS
	Own  bool // it is the namespace of this process
}

// ErrMoved is returned when a node has another network namespace than the one
// that was planned for.
var ErrMoved = errors.New("it was restarted since, in a new network namespace")

// Permission marks what a lack of permission keeps from being done.
func Permission(err error) error {
	if errors.Is(err, os.ErrPermission) { // EPERM and EACCES
		return fmt.Errorf("%w: %w", targets.ErrUnsupported, err)
	}
	return err
}

// Apart refuses sites that are one network namespace, in the order of names, and
// those of acted that are our own.
func Apart(names []string, sites map[string]Site, acted map[string]bool) error {
	first := map[uint64]string{}
	for _, name := range names {
		at, has := sites[name]
		if !has {
			continue
		}
		if other := first[at.ID.Inode]; other != "" {
			return fmt.Errorf("nodes %s and %s share one network namespace (the host's, or one pod's): no packet between them could be told from the others: %w", other, name, targets.ErrUnsupported)
		}
		first[at.ID.Inode] = name
		if at.Own && acted[name] {
			return fmt.Errorf("node %s uses the network namespace of dapple itself (the host's): the fault would be dapple's own too: give the node a network of its own: %w", name, targets.ErrUnsupported)
		}
	}
	return nil
}

// TableName cannot be mistaken: it has the drill's id, and as several faults of a
// drill may be on one node, a part by chance.
func TableName(drill string) string {
	safe := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' {
			return r
		}
		return '_'
	}, drill)
	return "dapple_" + safe[:min(len(safe), 64)] + "_" + rand.Text()[:10]
}
