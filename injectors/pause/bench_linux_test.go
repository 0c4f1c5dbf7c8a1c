package pause

import (
	"os/exec"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/targets"
)

// What is measured is from the call of Inject to the first look that proves the
// effect, and from the call of Revert to the look that proves its end. The baseline
// is what a shell script would do to the same container.
func BenchmarkPauseOfAContainer(b *testing.B) {
	n := container(b, "sleep 600 & sleep 600 & sleep 600 & wait")
	until(b, "it runs", func() (bool, error) { all, err := n.Processes(b.Context()); return len(all) == 4, err })
	for name, p := range map[string]Params{
		"stop":    defaults(),
		"freezer": {Process: "all", Tree: true, How: Freezer},
	} {
		b.Run(name, func(b *testing.B) {
			inj := injectors.Of(kind, newPauser(p))
			faults, err := inj.Plan(b.Context(), injectors.Aim{On: []targets.Node{n}})
			if err != nil {
				b.Fatal(err)
			}
			f, back := faults[0], time.Duration(0)
			for b.Loop() {
				if err := inj.Inject(b.Context(), n, f); err != nil {
					b.Fatal(err)
				}
				for held := false; !held; {
					if held, _, err = inj.Effect(b.Context(), n, f); err != nil {
						b.Fatal(err)
					}
				}
				b.StopTimer()
				begin := time.Now()
				if err := inj.Revert(b.Context(), n, f); err != nil {
					b.Fatal(err)
				}
				for ok := false; !ok; {
					if ok, _, err = inj.(injectors.Reverted).Reverted(b.Context(), n, f); err != nil {
						b.Fatal(err)
					}
				}
				back += time.Since(begin)
				b.StartTimer()
			}
			b.ReportMetric(float64(back.Nanoseconds())/float64(b.N), "ns/revert")
		})
	}
	b.Run("baseline: docker pause", func(b *testing.B) {
		back := time.Duration(0)
		for b.Loop() {
			dockerCLI(b, "pause", n.Container())
			b.StopTimer()
			begin := time.Now()
			dockerCLI(b, "unpause", n.Container())
			back += time.Since(begin)
			b.StartTimer()
		}
		b.ReportMetric(float64(back.Nanoseconds())/float64(b.N), "ns/revert")
	})
}

func dockerCLI(b *testing.B, args ...string) {
	b.Helper()
	if out, err := exec.Command("docker", args...).CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
}
