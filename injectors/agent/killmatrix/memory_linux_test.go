package killmatrix

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/injectors/agent"
	"github.com/dapple-drills/dapple/injectors/partition"
	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/netns"
)

// What an agent takes that holds a hundred cuts, each renewed and looked at all the
// time: what is its own, and what is resident, of which the program's file is a part
// that it shares with the runner.
func BenchmarkAgentHoldingAHundredFaults(b *testing.B) {
	testenv.NeedRoot(b)
	ctx := context.WithoutCancel(b.Context())
	var names []string
	for i := range 101 {
		names = append(names, fmt.Sprintf("n%03d", i))
	}
	lab, err := netns.New(ctx, netns.Named(names...)...)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := lab.Close(ctx); err != nil {
			b.Error(err)
		}
	})
	aim := injectors.Aim{Drill: "memory", On: lab.Nodes()[:100], Peers: lab.Nodes()[100:]}
	inj, err := partition.Kind().New(func(into any) error { return json.Unmarshal([]byte(`{"from": ["others"]}`), into) })
	if err != nil {
		b.Fatal(err)
	}
	faults, err := inj.Plan(ctx, aim)
	if err != nil {
		b.Fatal(err)
	}
	me, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		hundred(b, ctx, me, lab, faults)
	}
}

func hundred(b *testing.B, ctx context.Context, me string, lab *netns.Lab, faults []injectors.Fault) {
	const lease = 5 * time.Second // that of drills
	c, err := agent.Start(ctx, agent.Options{Argv: []string{me, "agent"}, Lease: lease, Drill: "memory", System: "memory", Config: config(b.TempDir())})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := c.Close(ctx); err != nil {
			b.Error(err)
		}
	}()
	id, born := c.Agent()
	var injected []time.Duration
	for i, f := range faults {
		begin := time.Now()
		held, err := c.Inject(ctx, fmt.Sprint(i), lab.Node(f.Node).Spec(), f)
		if err != nil {
			b.Fatalf("%s: %v, %+v", f.Node, err, held)
		}
		injected = append(injected, time.Since(begin))
	}
	<-time.After(lease) // it has renewed and looked at all of them
	slices.Sort(injected)
	b.ReportMetric(float64(born)/(1<<20), "MB-born")
	b.ReportMetric(resident(b, id, "RssAnon"), "MB-own")
	b.ReportMetric(resident(b, id, "VmRSS"), "MB-resident")
	b.ReportMetric(float64(injected[len(injected)/2].Microseconds())/1000, "ms/fault")
}

// resident reads a line of /proc/PID/status.
func resident(b *testing.B, id targets.ProcID, what string) float64 {
	b.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", id.PID))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if rest, is := strings.CutPrefix(line, what+":"); is {
			var kb float64
			if _, err := fmt.Sscan(rest, &kb); err != nil {
				b.Fatal(err)
			}
			return kb / 1024
		}
	}
	b.Fatalf("no %s of %v", what, id)
	return 0
}
