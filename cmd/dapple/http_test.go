package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/scenarios"
)

// service DIR [BAD] starts the replicated service of probes/http/testdata/notes,
// with what of it is to be broken, until the script ends. Its system file is
// DIR/system.yaml.
func serviceUp(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: service dir [what is broken]")
	}
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o700))
	up := exec.Command(filepath.Join(os.Getenv(binEnv), "notes"), "up", "-dir", dir, "-bad", append(args, "")[1])
	out, err := up.StdoutPipe()
	ts.Check(err)
	ts.Check(up.Start())
	ts.Defer(func() {
		if err := up.Process.Signal(syscall.SIGTERM); err != nil {
			ts.Logf("end the service: %v", err)
		}
		_ = up.Wait() // by our signal, or by itself: it is gone
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		ts.Fatalf("the service says %q: %v", line, err)
	}
}

// yamlBlock finds the examples of a page.
var yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")

func TestEveryExampleOfThePageOnKindHTTPIsAFileWithoutAProblem(t *testing.T) {
	page, err := os.ReadFile("../../docs/systems/http.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := yamlBlock.FindAllSubmatch(page, -1)
	if len(blocks) < 2 {
		t.Fatalf("%d examples were found", len(blocks))
	}
	for i, b := range blocks {
		kind, err := scenarios.Check("example.yaml", b[1], vocabulary())
		if err != nil || kind != scenarios.IsSystem {
			t.Errorf("example %d, a %s: %v %v", i+1, kind, err, diag.ProblemsOf(err))
		}
	}
}
