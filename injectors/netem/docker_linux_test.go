package netem

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/internal/peers"
	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/docker"
)

func run(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("docker", args...).CombinedOutput(); err != nil {
		t.Fatalf("docker %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// newContainers are the nodes a and b, on a network of Docker's.
func newContainers(t *testing.T) []targets.Node {
	t.Helper()
	testenv.NeedRoot(t)
	testenv.NeedDocker(t)
	testenv.Need(t, "nfqueue", queueEngine{}.Able(t.Context(), peers.Site{}, state{}))
	id := fmt.Sprintf("dapple-netem-test-%d-%d", os.Getpid(), time.Now().UnixNano())
	label := "dapple.testrun=" + os.Getenv("DAPPLE_TEST_RUN")
	run(t, "network", "create", "--internal", "--label", label, id)
	t.Cleanup(func() { run(t, "network", "rm", id) })
	e, err := docker.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	var nodes []targets.Node
	for _, name := range []string{"a", "b"} {
		run(t, "run", "-d", "--name", id+name, "--label", label, "--label", docker.LabelNode+"="+name, "--network", id, "debian:trixie-slim", "sleep", "600")
		t.Cleanup(func() { run(t, "rm", "-f", id+name) })
		found, err := e.Find(t.Context(), docker.Query{Names: []string{id + name}})
		if err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, found...)
	}
	return nodes
}

// refused is how long it takes, of some at best, until a is told that nobody listens
// at b: a round trip.
func refused(t *testing.T, nodes []targets.Node) time.Duration {
	t.Helper()
	path, err := nodes[0].(targets.NetNS).NetNS(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	addrs, err := nodes[1].(targets.Addresser).Addresses(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	best := time.Hour
	for range 5 {
		begin := time.Now()
		c, err := kernel.DialNetNS(t.Context(), path, "tcp", net.JoinHostPort(addrs[0], "9"))
		if !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatal(c, err)
		}
		best = min(best, time.Since(begin))
	}
	return best
}

func TestPacketsOfAContainerAreLateAndThenNot(t *testing.T) {
	const delay = 200 * time.Millisecond
	nodes := newContainers(t)
	if took := refused(t, nodes); took >= delay {
		t.Fatalf("a round trip takes %v, without a fault", took)
	}
	h := inject(t, nodes, `{"delay": "200ms"}`)
	t.Log(h.proof(t))
	if took := refused(t, nodes); took < delay {
		t.Errorf("a round trip takes %v, with %v more", took, delay)
	}
	h.revert(t)
	if took := refused(t, nodes); took >= delay {
		t.Errorf("a round trip takes %v, after the fault", took)
	}
}
