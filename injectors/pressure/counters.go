package pressure

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/dapple-drills/dapple/internal/cgroups"
	"github.com/dapple-drills/dapple/targets"
)

// A counter is a number in a file of a control group: the one after a key, or all
// that is in the file.
type counter struct{ file, key string }

func (c counter) String() string { return strings.TrimSuffix(c.file+" "+c.key, " ") }

// counter counts how often the node ran into the limit.
func (c change) counter() counter {
	switch {
	case c.Most == 0:
		return counter{"cpu.stat", "nr_throttled"}
	case c.Group.V2:
		return counter{"memory.events", "high"}
	}
	return counter{"memory.failcnt", ""}
}

// usageFile says how much memory is used.
func usageFile(g cgroups.Group) counter {
	if g.V2 {
		return counter{"memory.current", ""}
	}
	return counter{"memory.usage_in_bytes", ""}
}

// slack is by how much a node may be above its limit for a moment: the kernel
// charges in batches, and memory.high slows down what it does not stop.
func slack(most uint64) uint64 { return most/20 + 1<<20 }

func (x *presser) number(ctx context.Context, n targets.Node, g cgroups.Group, c counter) (uint64, error) {
	text, err := x.ground.read(ctx, n, g, c.file)
	if err != nil {
		return 0, err
	}
	return c.in(text)
}

// in finds the number in the content of the file.
func (c counter) in(text string) (uint64, error) {
	if c.key != "" {
		found := ""
		for line := range strings.Lines(text) {
			if key, value, _ := strings.Cut(strings.TrimSpace(line), " "); key == c.key {
				found = value
			}
		}
		text = found
	}
	n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("reading %v: %w", c, err)
	}
	return n, nil
}
