package clockskew

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/docker"
)

// A container that may do nothing, as those of careful people: what is changed is
// changed from outside.
func TestAProgramInAContainerWithoutAnyCapabilityIsSkewed(t *testing.T) {
	testenv.NeedRoot(t)
	testenv.NeedDocker(t)
	name := fmt.Sprintf("dapple-clockskew-test-%d-%d", os.Getpid(), time.Now().UnixNano())
	// The clock of a shell that stays, asked by time(3).
	cmd := exec.Command("docker", "run", "-i", "--rm", "--name", name, "--label", "dapple.testrun="+os.Getenv("DAPPLE_TEST_RUN"),
		"--network", "none", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "debian:trixie-slim",
		"bash", "-c", `grep CapEff /proc/self/status; while read; do printf '%(%s)T\n' -1; done`)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if text, err := exec.Command("docker", "rm", "-f", name).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, text)
		}
		_ = cmd.Wait() // it was just ended
	})
	lines := bufio.NewScanner(out)
	if !lines.Scan() || !strings.HasSuffix(lines.Text(), "\t0000000000000000") {
		t.Fatalf("it has capabilities: %s", lines.Text())
	}
	sees := func(want time.Duration) {
		t.Helper()
		before := time.Now()
		fmt.Fprintln(in)
		lines.Scan()
		s, err := strconv.ParseInt(lines.Text(), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		// It counts whole seconds, of a clock that goes in ticks.
		lo, hi := time.Unix(s, 0).Sub(time.Now().Round(0)), time.Unix(s+1, 0).Sub(before.Round(0))+20*time.Millisecond
		if want < lo || want > hi {
			t.Errorf("its clock is off by %v to %v, want %v", lo, hi, want)
		}
	}
	e, err := docker.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	nodes, err := e.Find(t.Context(), docker.Query{Names: []string{name}})
	if err != nil {
		t.Fatal(err)
	}
	var n targets.Node = nodes[0]
	sees(0)
	h := skewed(t, n, `{"offset": "-1h"}`, 5*time.Second)
	sees(-time.Hour)
	h.reverted()
	sees(0)
}
