package dns

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/docker"
)

// A pair is two containers on a network of Docker's, whose own name server
// (127.0.0.11) knows them by their names.
type pair struct {
	app, db string
	node    targets.Node
}

func run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("docker", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("docker %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func newPair(t *testing.T) pair {
	t.Helper()
	testenv.NeedRoot(t)
	testenv.NeedDocker(t)
	id := fmt.Sprintf("dapple-dns-test-%d-%d", os.Getpid(), time.Now().UnixNano())
	p := pair{app: id + "-app", db: id + "-db"}
	label := "dapple.testrun=" + os.Getenv("DAPPLE_TEST_RUN")
	run(t, "network", "create", "--internal", "--label", label, id)
	t.Cleanup(func() { run(t, "network", "rm", id) })
	for _, name := range []string{p.db, p.app} {
		run(t, "run", "-d", "--name", name, "--label", label, "--network", id, "debian:trixie-slim", "sleep", "600")
		t.Cleanup(func() { run(t, "rm", "-f", name) })
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
	nodes, err := e.Find(t.Context(), docker.Query{Names: []string{p.app}})
	if err != nil {
		t.Fatal(err)
	}
	p.node = nodes[0]
	return p
}

// resolve asks as programs with glibc do, and says what came, and when.
func (p pair) resolve(name string) (string, time.Duration) {
	begin := time.Now()
	out, err := exec.Command("docker", "exec", p.app, "getent", "ahostsv4", name).Output()
	addr, _, _ := strings.Cut(string(out), " ")
	if err != nil {
		addr = "no answer"
	}
	return addr, time.Since(begin)
}

// ruleset is what Docker has in the container, with its counters at 0.
func (p pair) ruleset(t *testing.T) string {
	t.Helper()
	pid := run(t, "inspect", "-f", "{{.State.Pid}}", p.app)
	out, err := exec.Command("nsenter", "--target", pid, "--net", "nft", "--stateless", "list", "ruleset").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

func TestAContainerOfADockerNetworkIsAnsweredAsSaidAndItsPeersNameAsBefore(t *testing.T) {
	p := newPair(t)
	addr, _ := p.resolve(p.db)
	if !strings.Contains(addr, ".") {
		t.Fatalf("without a fault: %s", addr)
	}
	before := p.ruleset(t)
	inj := func(with string) (injectors.Injector, injectors.Fault) {
		t.Helper()
		params, err := made(t, with)
		if err != nil {
			t.Fatal(err)
		}
		i := injectors.Of(kind, newLiar(params, kernelGround{}))
		faults, err := i.Plan(t.Context(), injectors.Aim{On: []targets.Node{p.node}, Drill: "01TEST"})
		if err != nil {
			t.Fatal(err)
		}
		return i, faults[0]
	}
	for _, c := range []struct {
		with, meant string
		least       time.Duration
	}{
		{fmt.Sprintf(`{"wrong": ["192.0.2.7"], "names": [%q]}`, p.db), "192.0.2.7", 0},
		{fmt.Sprintf(`{"refuse": "nxdomain", "names": [%q]}`, p.db), "no answer", 0},
		{fmt.Sprintf(`{"delay": "700ms", "names": [%q]}`, p.db), addr, 700 * time.Millisecond},
		{`{"delay": "700ms"}`, addr, 700 * time.Millisecond},
	} {
		i, f := inj(c.with)
		if !strings.Contains(f.Does, "name server 127.0.0.11") {
			t.Errorf("the plan does not find Docker's name server: %s", f.Does)
		}
		if err := i.Inject(t.Context(), p.node, f); err != nil {
			t.Fatal(err)
		}
		held, proof, err := i.Effect(t.Context(), p.node, f)
		if !held || err != nil {
			t.Errorf("%s: not proven: %s, %v", c.with, proof, err)
		}
		got, took := p.resolve(p.db)
		t.Logf("%s: getent: %s after %v; %s", c.with, got, took.Round(time.Millisecond), proof)
		if got != c.meant || took < c.least {
			t.Errorf("%s: %s after %v, want %s after %v", c.with, got, took, c.meant, c.least)
		}
		if err := i.Revert(context.WithoutCancel(t.Context()), p.node, f); err != nil {
			t.Fatal(err)
		}
		if got, _ := p.resolve(p.db); got != addr {
			t.Errorf("after revert: %s, want %s", got, addr)
		}
		if after := p.ruleset(t); after != before {
			t.Errorf("before:\n%s\nafter:\n%s", before, after)
		}
	}
}
