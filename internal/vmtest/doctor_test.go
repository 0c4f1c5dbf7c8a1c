package vmtest_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/dapple-drills/dapple/internal/vmtest"
)

// program builds dapple as it is released: a guest has no libraries.
func program(t *testing.T) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "dapple")
	build := exec.Command("go", "build", "-o", out, "../../cmd/dapple")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return out
}

// What a distribution's kernel has, the doctor finds there: also what the kernel of
// the machine that runs the tests lacks.
func TestGuestIsExaminedByTheDoctor(t *testing.T) {
	vmtest.Inside(t)
	t.Setenv("DAPPLE_HOME", t.TempDir())
	cmd := exec.Command("/bin/dapple", "doctor", "--json")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var findings []struct {
		What, Says string
		OK         bool
	}
	if err := json.Unmarshal(out, &findings); err != nil {
		t.Fatal(err)
	}
	works := map[string]bool{}
	for _, f := range findings {
		works[f.What] = f.OK
		t.Logf("%s: %v: %s", f.What, f.OK, f.Says)
	}
	for _, what := range []string{"system: linux", "agent: starts", "kernel: qdisc netem", "kernel: qdisc clsact", "kernel: filter bpf (cls_bpf)", "target netns: as this user", "fault kill", "fault netem", "fault partition"} {
		if !works[what] {
			t.Errorf("%s: not found to work there", what)
		}
	}
	for _, what := range []string{"target docker", "agent: in a helper container"} {
		if works[what] {
			t.Errorf("%s: found to work, where there is none", what)
		}
	}
}
