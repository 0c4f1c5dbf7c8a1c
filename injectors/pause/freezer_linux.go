package pause

import (
	"context"
	"fmt"
	"strings"

	"github.com/dapple-drills/dapple/internal/cgroups"
	"github.com/dapple-drills/dapple/targets"
)

// kernelFreezer is the freezer of control groups: that of version 1
// (freezer.state, kernel documentation cgroup-v1/freezer-subsystem) or that of
// version 2 (cgroup.freeze, cgroup-v2).
type kernelFreezer struct{}

const (
	freezing = "freezing it"
	instead  = "use how: stop"
)

func (kernelFreezer) find(ctx context.Context, n targets.Node) (group, error) {
	g, err := cgroups.Find(ctx, n, cgroups.Want{V1: "freezer", V2: "cgroup.freeze", Does: freezing, Mend: instead})
	if err != nil {
		return group{}, err
	}
	name, _, _ := group{g}.file()
	return group{g}, g.Writable(name, freezing, instead)
}

func (kernelFreezer) set(ctx context.Context, _ targets.Node, g group, to string) error {
	name, _, _ := g.file()
	return g.Write(ctx, name, to)
}

func (kernelFreezer) frozen(ctx context.Context, _ targets.Node, g group) (all, half bool, words string, err error) {
	if !g.V2 {
		state, err := g.Read(ctx, "freezer.state")
		return state == "FROZEN", state != "THAWED", fmt.Sprintf("%s/freezer.state is %s", g.Dir, state), err
	}
	asked, err := g.Read(ctx, "cgroup.freeze")
	if err != nil {
		return false, false, "", err
	}
	events, err := g.Read(ctx, "cgroup.events")
	all = strings.Contains(events, "frozen 1")
	return all, all || asked != "0", fmt.Sprintf("%s/cgroup.freeze is %s, its cgroup.events: %s", g.Dir, asked, strings.ReplaceAll(events, "\n", ", ")), err
}
