package http_test

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/probes/http"
	"github.com/dapple-drills/dapple/probes/systemtest"
	"github.com/dapple-drills/dapple/scenarios"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/host"
)

// notes is the replicated service of testdata/notes, running.
type notes struct {
	binding probes.Binding
	nodes   map[string]targets.Portable
}

// startNotes builds and starts the service; bad is what of it is broken.
func startNotes(t *testing.T, bad string) *notes {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "notes")
	if out, err := exec.Command("go", "build", "-o", bin, "./testdata/notes").CombinedOutput(); err != nil {
		t.Fatalf("build the service: %v\n%s", err, out)
	}
	dir, err := os.MkdirTemp("", "notes") // short: a socket is in it
	if err != nil {
		t.Fatal(err)
	}
	up := exec.Command(bin, "up", "-dir", dir, "-bad", bad)
	up.Stderr = os.Stderr
	out, err := up.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := up.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		up.Process.Signal(syscall.SIGTERM)
		up.Wait()
		os.RemoveAll(dir)
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the service says %q: %v", line, err)
	}
	return readNotes(t, filepath.Join(dir, "system.yaml"))
}

// readNotes makes a binding of the system file, as cmd/dapple does.
func readNotes(t *testing.T, file string) *notes {
	t.Helper()
	sys, err := scenarios.LoadSystem(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	n := &notes{nodes: map[string]targets.Portable{}, binding: probes.Binding{
		URLs: map[string]string{}, Section: sys.HTTP.Decode,
		Clients: probes.Clients{DSN: sys.Clients.URL, Connect: sys.Clients.Connect.D(), Statement: sys.Clients.Statement.D()},
	}}
	for _, h := range sys.Nodes.Hosts {
		node, err := host.New(h.Name, host.Config{PIDFile: h.PIDFile, Start: h.Start, Addresses: []string{"127.0.0.1"}})
		if err != nil {
			t.Fatal(err)
		}
		n.nodes[h.Name], n.binding.URLs[h.Name] = node, h.URL
		n.binding.Nodes = append(n.binding.Nodes, node)
	}
	return n
}

func (n *notes) stop(ctx context.Context, name string) error {
	node := n.nodes[name].(targets.Processes)
	all, err := node.Processes(ctx)
	if err != nil || len(all) == 0 {
		return errors.Join(err, errors.New("it does not run"))
	}
	h, err := node.Hold(ctx, all[0].ProcID)
	if err != nil {
		return err
	}
	err = h.Signal(syscall.SIGKILL)
	return errors.Join(err, h.Exited(ctx), h.Close())
}

func (n *notes) start(ctx context.Context, name string) error {
	return n.nodes[name].(targets.Starter).Start(ctx)
}

func TestAServiceThatIsDescribedByItsURLsKeepsTheLawsOfSystems(t *testing.T) {
	n := startNotes(t, "")
	systemtest.Run(t, &systemtest.Bench{
		Kind: http.Kind, Binding: n.binding, Stop: n.stop, Start: n.start, Failover: true,
		Cases: []systemtest.Case{{
			Name: "NotTheLeader", Want: probes.Failed, Reply: "409 Conflict",
			Provoke: func(t *testing.T, s probes.System, run string) probes.Ack {
				x, refused := s.Open(t.Context(), probes.Where{Node: replica(t, s, n)})
				if refused != nil {
					return *refused
				}
				defer x.Close()
				return x.Put(t.Context(), probes.Write{Run: run})
			},
		}},
	})
}

func replica(t *testing.T, s probes.System, n *notes) targets.Node {
	t.Helper()
	for _, x := range n.binding.Nodes {
		if s.Role(t.Context(), x).Role == probes.Replica {
			return x
		}
	}
	t.Fatal("no node is a replica")
	return nil
}

// What a node that came back does not hold, it does not follow, whatever it says
// of its role.
func TestANodeFollowsOnceItHoldsWhatTheOthersHold(t *testing.T) {
	n := startNotes(t, "deaf")
	s, err := http.Open(n.binding)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	x, refused := s.Open(t.Context(), probes.Where{})
	if refused != nil {
		t.Fatal(*refused)
	}
	defer x.Close()
	write := func(from, to uint64) {
		for seq := from; seq < to; seq++ {
			if a := x.Put(t.Context(), probes.Write{Run: "m", Seq: seq}); a.Class != probes.Acked {
				t.Fatalf("write %d: %+v", seq, a)
			}
		}
	}
	write(0, 10)
	states := func() string {
		all, err := s.Members(t.Context())
		if err != nil {
			return err.Error()
		}
		var words []string
		for _, m := range all {
			words = append(words, m.State)
		}
		return strings.Join(words, " ")
	}
	await(t, "all to take part", func() bool {
		return strings.Count(states(), "following") == 2 && strings.Count(states(), "primary") == 1
	})
	gone := replica(t, s, n)
	if err := n.stop(t.Context(), gone.Name()); err != nil {
		t.Fatal(err)
	}
	await(t, "one to be absent", func() bool { return strings.Count(states(), "absent") == 1 })
	write(10, 20)
	if err := n.start(t.Context(), gone.Name()); err != nil {
		t.Fatal(err)
	}
	await(t, "it to lag", func() bool { return strings.Count(states(), "lagging") == 1 })
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); !done(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
