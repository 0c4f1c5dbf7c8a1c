// Package all is the catalogue of the kinds of systems that dapple knows, and of
// the probes that watch every one of them: plain lists. It holds no other code.
package all

import (
	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/probes/etcd"
	"github.com/dapple-drills/dapple/probes/health"
	"github.com/dapple-drills/dapple/probes/http"
	"github.com/dapple-drills/dapple/probes/members"
	"github.com/dapple-drills/dapple/probes/mysql"
	"github.com/dapple-drills/dapple/probes/patroni"
	"github.com/dapple-drills/dapple/probes/postgres"
	"github.com/dapple-drills/dapple/probes/redis"
	"github.com/dapple-drills/dapple/probes/roles"
	"github.com/dapple-drills/dapple/probes/stall"
	"github.com/dapple-drills/dapple/targets"
)

// Kinds returns all kinds of systems, sorted by name.
func Kinds() []probes.Kind {
	return []probes.Kind{
		etcd.Kind,
		http.Kind,
		mysql.Kind,
		patroni.Kind,
		postgres.Kind,
		redis.Kind,
	}
}

// Probes returns what runs beside the clients in every drill: whatever kind of
// system it is, and as far as that can tell. check is the health check of the
// system file as package health reads it; "" for the one that the system knows.
func Probes(sys probes.System, nodes []targets.Node, check string) ([]probes.Probe, error) {
	list, untold := []probes.Probe{stall.New()}, map[string]string{}
	if r, ok := sys.(probes.Reticent); ok {
		untold = r.Untold()
	}
	if untold[probes.UntoldRoles] == "" {
		list = append(list, roles.New(sys, nodes))
	}
	if m, ok := sys.(probes.Membership); ok {
		var names []string
		for _, n := range nodes {
			names = append(names, n.Name())
		}
		list = append(list, members.New(m, names))
	}
	if c, ok := sys.(probes.HealthChecker); ok && check == "" && untold["false_green"] == "" {
		list = append(list, health.Of(c, nodes))
	}
	if check == "" {
		return list, nil
	}
	h, err := health.New(check, nodes)
	if err != nil {
		return nil, err
	}
	return append(list, h), nil
}
