package pressure

import (
	"context"

	"github.com/dapple-drills/dapple/internal/cgroups"
)

// here limits the processors of a group in which nobody is. Memory is another
// controller: internal/mechanism tries it.
func here(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return cgroups.Scratch(cgroups.Want{V1: "cpu", V2: "cpu.max"}, func(g cgroups.Group) error {
		if g.V2 {
			return g.Sets("cpu.max", "50000 100000", "50000 100000")
		}
		return g.Sets("cpu.cfs_quota_us", "50000", "50000")
	})
}
