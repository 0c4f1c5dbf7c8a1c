package kill_test

import (
	"encoding/json"
	"os/exec"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/injectors/kill"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/docker"
)

// From the call to the look that proves that the container is dead. The baseline is
// what a script would do to the same container: the call of docker kill alone.
func BenchmarkKillOfAContainer(b *testing.B) {
	n := container(b, "no", "sleep 600 & sleep 600 & sleep 600")
	inj, err := kill.Kind().New(func(into any) error { return json.Unmarshal([]byte(`{"process": "main"}`), into) })
	if err != nil {
		b.Fatal(err)
	}
	b.Run("dapple", func(b *testing.B) {
		var total time.Duration
		for b.Loop() {
			started(b, n)
			faults, err := inj.Plan(b.Context(), injectors.Aim{On: []targets.Node{n}})
			if err != nil {
				b.Fatal(err)
			}
			begin := time.Now()
			if err := inj.Inject(b.Context(), n, faults[0]); err != nil {
				b.Fatal(err)
			}
			for held := false; !held; {
				if held, _, err = inj.Effect(b.Context(), n, faults[0]); err != nil {
					b.Fatal(err)
				}
			}
			total += time.Since(begin)
		}
		b.ReportMetric(float64(total.Microseconds())/1000/float64(b.N), "ms/effect")
	})
	b.Run("baseline: docker kill", func(b *testing.B) {
		var total time.Duration
		for b.Loop() {
			started(b, n)
			begin := time.Now()
			if out, err := exec.Command("docker", "kill", n.Container()).CombinedOutput(); err != nil {
				b.Fatalf("%v: %s", err, out)
			}
			total += time.Since(begin)
		}
		b.ReportMetric(float64(total.Microseconds())/1000/float64(b.N), "ms/effect")
	})
}

// started has the container run with all its processes.
func started(b *testing.B, n *docker.Node) {
	b.Helper()
	until(b, "the container runs", func() (bool, error) {
		if err := n.Start(b.Context()); err != nil {
			return false, err
		}
		all, err := n.Processes(b.Context())
		return len(all) == 4, err
	})
}
