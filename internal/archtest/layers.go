package archtest

import (
	"fmt"
	"go/ast"
	"slices"
	"strings"
)

// A Layer says what a package may import of this module.
type Layer struct {
	Who     string   // a pattern; the longest that matches a package is the one that counts
	May     []string // patterns; internal/diag may be imported by all
	Because string
}

// Layers is the table "Who may import whom" of the architecture, row by row, with
// what was decided since.
func Layers() []Layer {
	const below = "everybody may speak of what is below"
	return []Layer{
		{"targets", nil, "everyone speaks in nodes"},
		{"drills/timeline", nil, "everyone speaks in events"},
		{"targets/*", []string{"targets", "internal/kernel"}, "a place knows its machines and nothing of drills"},
		{"targets/netns", []string{"targets", "targets/process", "internal/kernel"}, "its nodes are kept like those of process"},
		{"targets/docker/selfrun", []string{"targets/docker"}, "it runs a program in a container, whatever that does"},
		{"targets/ssh/sshtest", []string{"internal/testenv"}, "a real server for tests"},
		{"targets/testcluster/...", []string{"scenarios", "targets", "targets/docker", "targets/netns", "targets/process", "targets/testcluster/...", "internal/..."}, "a built-in cluster is a system file and its nodes"},

		{"injectors", []string{"targets"}, "a fault knows machines, not probes or scenarios"},
		{"injectors/*", []string{"injectors", "targets", "internal/cgroups", "internal/inside", "internal/kernel", "internal/mounts", "internal/procs", "internal/volumes"}, "never another injector"},
		{"injectors/command", []string{"injectors", "targets", "internal/kernel", "internal/trust"}, "what is run must be the operator's own"},
		{"injectors/partition", []string{"injectors", "targets", "internal/kernel", "internal/nft", "internal/peers", "internal/sock"}, "a cut is a table in the kernel"},
		{"injectors/dns", []string{"injectors", "targets", "internal/kernel", "internal/nft", "internal/peers", "internal/volumes"}, "so is what leads questions elsewhere; whom a node asks is in a file of its own"},
		{"injectors/netem", []string{"injectors", "targets", "internal/kernel", "internal/nft", "internal/peers", "internal/tc"}, "so is what holds packets back"},
		{"injectors/clockskew", []string{"injectors", "targets", "internal/kernel", "internal/procs", "internal/vdso"}, "a wrong clock is code in a process"},
		{"injectors/agent", []string{"injectors", "targets", "drills/journal", "injectors/agent/traces", "internal/..."}, "runs where the nodes are"},
		{"injectors/agent/traces", []string{"targets", "internal/..."}, "what a fault may leave behind, whatever fault it was"},
		{"injectors/all", []string{"injectors", "injectors/*"}, "the catalogue"},
		{"injectors/injectortest", []string{"injectors", "targets", "targets/faketarget", "internal/..."}, "the laws, on a fake node"},

		{"probes", []string{"targets", "drills/timeline"}, "a probe must not know what is injected"},
		{"probes/...", []string{"probes", "targets", "drills/timeline"}, "a probe must not know what is injected"},
		{"probes/patroni", []string{"probes", "probes/etcd", "probes/postgres", "targets", "drills/timeline"}, "Patroni is PostgreSQL and a leader key in etcd"},
		{"probes/all", []string{"probes", "probes/*", "targets"}, "the catalogue"},
		{"probes/systemtest", []string{"probes", "probes/ledger", "targets", "drills/timeline", "internal/..."}, "the laws that every system passes"},
		{"probes/postgres/postgrestest", []string{"probes", "probes/postgres", "targets", "internal/..."}, "a real server for tests"},

		{"scenarios", nil, "dapple check works anywhere"},
		{"scenarios/library", nil, "it hands out text"},
		{"scenarios/starter", nil, "it writes text"},

		{"drills/journal", []string{"injectors", "targets", "internal/durable"}, "a fault on disk is the fault and its node as data"},
		{"drills/verdict", []string{"drills/timeline", "scenarios", "internal/stats"}, "pure: see Pure"},
		{"drills", []string{"targets", "injectors", "injectors/agent", "probes", "scenarios", "drills/...", "internal/..."}, "the engine has no favourites: no concrete injector, probe or target, no reports"},
		{"drills/selftest", []string{"drills", "drills/timeline", "drills/verdict", "injectors", "injectors/agent", "probes", "probes/all", "probes/health", "probes/ledger", "probes/members", "probes/stall", "scenarios", "targets", "internal/..."}, "it puts the whole pipeline together as cmd does, on a system of its own"},
		{"drills/*", []string{"targets", "injectors", "injectors/agent", "probes", "scenarios", "drills/...", "internal/..."}, below},

		{"drills/guardrails", []string{"drills", "drills/history", "drills/verdict", "scenarios", "internal/durable"}, "it asks what owners declared, and knows earlier drills by their history"},
		{"drills/training", []string{"drills/timeline", "drills/verdict", "probes", "internal/durable"}, "it hears people, and does not know what is injected"},
		{"drills/notices", nil, "it brings what it is told, and knows no drill"},
		{"drills/schedule", []string{"scenarios"}, "it knows when, and no drill: whoever does one is handed in"},

		{"drills/drilltest", []string{"drills", "drills/journal", "drills/timeline", "drills/verdict", "injectors/agent", "reports", "scenarios"}, "it runs the program, and reads what it left"},

		{"reports/...", []string{"drills/...", "targets", "injectors", "probes", "scenarios", "reports/...", "internal/..."}, "made from a record alone"},
		{"reports/web", []string{"drills", "drills/checklist", "drills/guardrails", "drills/history", "drills/journal", "drills/schedule", "drills/timeline", "drills/training", "drills/trend", "drills/verdict", "probes", "reports", "reports/live", "scenarios", "internal/..."}, "it shows what is in a home, and begins nothing"},
		{"internal/cgroups", []string{"targets", "internal/kernel", "internal/mounts", "internal/procs"}, "it finds the control groups of nodes"},
		{"internal/inside", []string{"targets", "internal/cgroups", "internal/kernel"}, "it works in the control groups of nodes"},
		{"internal/volumes", []string{"targets", "internal/kernel", "internal/mounts", "internal/procs"}, "it finds the disks of nodes"},
		{"internal/kernel", []string{"targets"}, "it finds processes in the words of nodes"},
		{"internal/nft", []string{"targets", "internal/kernel"}, "it says what the kernel cannot do in the words of targets"},
		{"internal/peers", []string{"targets", "internal/kernel"}, "it finds the addresses of nodes"},
		{"internal/tc", []string{"targets", "internal/kernel"}, "likewise"},
		{"internal/sock", []string{"targets", "internal/kernel"}, "likewise"},
		{"internal/vdso", []string{"targets", "internal/kernel"}, "likewise"},
		{"internal/procs", []string{"targets", "internal/kernel"}, "it chooses among the processes of nodes"},
		{"internal/vmtest/...", []string{"internal/testenv", "internal/vmtest/..."}, "it runs any package's tests, and knows none"},
		{"internal/proof", []string{"drills", "drills/verdict"}, "it reads what the records of drills say"},
		{"internal/*", []string{"internal/..."}, "used by all, knows none of them"},
		{"cmd/dapple", []string{"..."}, "the only place that chooses"},
	}
}

// Imports reports what a package imports although its layer must not. Tests may
// import what they like.
func Imports(t *Tree, layers []Layer) []string {
	var bad []string
	unknown := map[string]bool{}
	for _, f := range t.Files {
		if f.Test {
			continue
		}
		layer, ok := layerOf(layers, f.Dir)
		if !ok {
			if !unknown[f.Dir] {
				bad = append(bad, fmt.Sprintf("%s: the package %s is in no layer: add it to the table, with the reason", f.Path, f.Dir))
			}
			unknown[f.Dir] = true
			continue
		}
		imports(f, func(_, p string, spec *ast.ImportSpec) {
			dir, isOurs := ours(p)
			if !isOurs || dir == "internal/diag" || allowed(layer, dir) {
				return
			}
			bad = append(bad, fmt.Sprintf("%s: %s may not import %s (%s); it may import %s",
				t.at(spec), f.Dir, dir, layer.Because, strings.Join(append(layer.May, "internal/diag"), ", ")))
		})
	}
	return bad
}

func layerOf(layers []Layer, dir string) (Layer, bool) {
	best, found := Layer{}, false
	for _, l := range layers {
		if matches(l.Who, dir) && (!found || longer(l.Who, best.Who)) {
			best, found = l, true
		}
	}
	return best, found
}

// longer says whether pattern a is more exact than b: a name before "/*", and that
// before "/...", of the same length.
func longer(a, b string) bool {
	exact := func(p string) int {
		return 2*len(strings.TrimRight(p, "/.*")) + 1 - strings.Count(p, "*") - 2*strings.Count(p, "...")
	}
	return exact(a) > exact(b)
}

func allowed(l Layer, dir string) bool {
	return slices.ContainsFunc(l.May, func(p string) bool { return p == "..." || matches(p, dir) })
}

// Pure reports what makes drills/verdict more than a function of its arguments:
// an import that reaches outside, the clock, or chance.
func Pure(t *Tree) []string {
	outside := []string{"os", "net", "io", "syscall", "log", "database", "math/rand", "crypto/rand", "runtime", "unsafe"}
	var bad []string
	for _, f := range t.Files {
		if f.Dir != "drills/verdict" || f.Test {
			continue
		}
		imports(f, func(_, p string, spec *ast.ImportSpec) {
			if slices.ContainsFunc(outside, func(o string) bool { return p == o || strings.HasPrefix(p, o+"/") }) {
				bad = append(bad, fmt.Sprintf("%s: the verdict is a pure function of timeline, objectives and settings: no %s", t.at(spec), p))
			}
		})
		for _, c := range calls(f) {
			if c.pkg == "time" && slices.Contains([]string{"Now", "Since", "Until", "After", "Tick", "NewTimer", "NewTicker", "AfterFunc"}, c.name) {
				bad = append(bad, fmt.Sprintf("%s: the verdict is a pure function of timeline, objectives and settings: no time.%s", t.at(c.node), c.name))
			}
		}
	}
	return bad
}
