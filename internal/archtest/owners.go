package archtest

import (
	"fmt"
	"go/ast"
	"slices"
	"strings"
)

// An Owner says which packages may import a dependency.
type Owner struct {
	Module string // import path, or the beginning of one
	Who    []string
}

// Owners is the table of docs/dependencies.md: a dependency is used in one place,
// so that it can be replaced, and so that nobody else has to know it. What is not
// in the table has not been weighed.
func Owners() []Owner {
	clusters := "targets/testcluster/..."
	return []Owner{
		{"github.com/docker/docker", []string{"targets/docker/...", clusters}},
		{"github.com/docker/go-connections", []string{"targets/docker", clusters}},
		{"github.com/containerd/errdefs", []string{"targets/docker/...", clusters}},
		{"github.com/testcontainers/testcontainers-go", []string{clusters}},
		{"github.com/moby/moby", []string{clusters}}, // the types in which testcontainers speaks
		{"github.com/vishvananda/netlink", []string{"internal/...", "targets/netns"}},
		{"github.com/vishvananda/netns", []string{"internal/...", "targets/netns"}},
		{"github.com/cilium/ebpf", []string{"internal/tc", "internal/mechanism"}},
		{"github.com/google/nftables", []string{"internal/..."}},
		{"github.com/robfig/cron", []string{"drills/schedule", "cmd/dapple"}},
		{"go.uber.org/zap", []string{"cmd/dapple", "drills/...", "targets/...", "probes/patroni"}}, // the etcd client is silenced by a logger of its own
		{"go.yaml.in/yaml", []string{"scenarios"}},
		{"github.com/spf13/cobra", []string{"cmd/dapple"}},
		{"github.com/spf13/pflag", []string{"cmd/dapple"}},
		{"github.com/charmbracelet/x/term", []string{"cmd/dapple"}},
		{"github.com/oklog/ulid", []string{"cmd/dapple"}},
		{"github.com/jackc/pgx", []string{"probes/postgres", "drills/history", "drills/schedule"}},
		{"github.com/prometheus/client_golang", []string{"cmd/dapple"}},
		{"go.opentelemetry.io/otel", []string{"reports/traces"}},
		{"github.com/wneessen/go-mail", []string{"drills/notices"}},
		{"github.com/riverqueue/river", []string{"drills/schedule"}},
		{"github.com/secure-systems-lab/go-securesystemslib", []string{"internal/seal"}},
		{"github.com/pressly/goose", []string{"drills/history", "drills/schedule"}},
		{"github.com/gomodule/redigo", []string{"probes/redis"}},
		{"github.com/go-sql-driver/mysql", []string{"probes/mysql"}},
		{"go.etcd.io/etcd/client", []string{"probes/etcd", "probes/patroni"}},
		{"go.etcd.io/etcd/api", []string{"probes/etcd", "probes/patroni", "targets/testcluster/embedded"}},
		{"go.etcd.io/etcd/server", []string{"targets/testcluster/embedded"}},
		{"google.golang.org/grpc", []string{"probes/etcd", "probes/patroni", "targets/testcluster/embedded"}},
		{"github.com/HdrHistogram/hdrhistogram-go", []string{"probes/ledger"}},
		{"github.com/dustin/go-humanize", []string{"injectors/diskfill", "injectors/diskslow", "injectors/pressure"}},
		{"github.com/miekg/dns", []string{"injectors/dns"}},
		{"github.com/gofrs/flock", []string{"drills/history", "drills/journal", clusters}},
		{"modernc.org/sqlite", []string{"drills/history", "drills/schedule"}},
		{"charm.land", []string{"reports/live"}},
		{"golang.org/x/arch", []string{"internal/vdso"}},
		{"golang.org/x/sys", []string{"internal/...", "targets/...", "injectors/...", "reports/live"}},
		{"golang.org/x/time", []string{"reports/web"}},
		{"golang.org/x/sync", []string{"..."}},
	}
}

// Dependencies reports an import of a module by a package that does not own it,
// and of one that nobody owns. Tests and what is there for tests may import what
// they like, but the Docker client and testcontainers.
func Dependencies(t *Tree, owners []Owner) []string {
	var bad []string
	for _, f := range t.Files {
		imports(f, func(_, p string, spec *ast.ImportSpec) {
			if _, isOurs := ours(p); isOurs || !thirdParty(p) {
				return
			}
			o, known := ownerOf(owners, p)
			exempt := (f.Test || testSupport(f.Dir)) && !strings.HasPrefix(p, "github.com/docker/docker") && !strings.HasPrefix(p, "github.com/testcontainers/")
			switch {
			case exempt:
			case !known:
				bad = append(bad, fmt.Sprintf("%s: nobody owns %s: add it to the table and to docs/dependencies.md, with the reason", t.at(spec), p))
			case !slices.ContainsFunc(o.Who, func(w string) bool { return w == "..." || matches(w, f.Dir) }):
				bad = append(bad, fmt.Sprintf("%s: %s may not import %s; only %s may", t.at(spec), f.Dir, p, strings.Join(o.Who, ", ")))
			}
		})
	}
	return bad
}

// thirdParty says whether an import is of another module: those of the standard
// library have no dot in their first element.
func thirdParty(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return strings.Contains(first, ".")
}

// ownerOf finds the owner with the longest beginning of the path.
func ownerOf(owners []Owner, importPath string) (Owner, bool) {
	best, found := Owner{}, false
	for _, o := range owners {
		if (importPath == o.Module || strings.HasPrefix(importPath, o.Module+"/")) && (!found || len(o.Module) > len(best.Module)) {
			best, found = o, true
		}
	}
	return best, found
}
