// Package all is the catalogue of the kinds of systems that dapple knows: a
// plain list, one line per kind. It holds no other code.
package all

import (
	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/probes/etcd"
	"github.com/dapple-drills/dapple/probes/http"
	"github.com/dapple-drills/dapple/probes/patroni"
	"github.com/dapple-drills/dapple/probes/postgres"
	"github.com/dapple-drills/dapple/probes/redis"
)

// Kinds returns all kinds of systems, sorted by name.
func Kinds() []probes.Kind {
	return []probes.Kind{
		etcd.Kind,
		http.Kind,
		patroni.Kind,
		postgres.Kind,
		redis.Kind,
	}
}
