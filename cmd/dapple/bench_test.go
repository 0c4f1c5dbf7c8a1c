package main

import (
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// BenchmarkHelp is how long "dapple --help" takes as a process, and how many
// times as long as an empty one of the same machine. The goal is 50 ms.
func BenchmarkHelp(b *testing.B) {
	bin := filepath.Join(b.TempDir(), "dapple")
	build := exec.Command("go", "build", "-o", bin, ".")
	build.Env = append(build.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	var help, empty time.Duration
	for b.Loop() {
		help += took(b, bin, "--help")
		empty += took(b, "/bin/true")
	}
	b.ReportMetric(float64(help.Milliseconds())/float64(b.N), "ms/help")
	b.ReportMetric(float64(help)/float64(empty), "x/true")
}

func took(b *testing.B, name string, args ...string) time.Duration {
	begin := time.Now()
	if err := exec.Command(name, args...).Run(); err != nil {
		b.Fatal(err)
	}
	return time.Since(begin)
}
