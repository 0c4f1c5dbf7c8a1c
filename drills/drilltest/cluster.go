package drilltest

import (
	"bytes"
	"context"
	"os/exec"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/scenarios"
)

// downTime is how long the removal of a cluster may take.
const downTime = 2 * time.Minute

// Up brings a built-in cluster up for several drills of the test, which name it
// as On: "cluster:NAME", and for what the test itself does with it. It returns
// what its system file says, and removes the cluster when the test has ended. One
// of that name that is up already is not touched: the test fails.
func Up(t testing.TB, name string) *scenarios.System {
	t.Helper()
	if testing.Short() {
		t.Skip("a cluster takes its time: not with -short")
	}
	binary := Binary(t)
	var out, said bytes.Buffer
	cmd := exec.CommandContext(t.Context(), binary, "cluster", "up", name)
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		t.Fatalf("bring the cluster %s up: %v\n%s", name, err, said.String())
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), downTime)
		defer cancel()
		if text, err := exec.CommandContext(ctx, binary, "cluster", "down", name).CombinedOutput(); err != nil {
			t.Errorf("remove the cluster %s: %v\n%s", name, err, text)
		}
	})
	system, err := scenarios.ParseSystem("cluster:"+name, out.Bytes(), nil)
	if err != nil {
		t.Fatalf("read what the cluster %s says of itself: %v", name, err)
	}
	return system
}
