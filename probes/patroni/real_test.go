package patroni_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/probes/patroni"
	"github.com/dapple-drills/dapple/probes/systemtest"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/testcluster"
)

// bench is a real cluster.
type bench struct {
	*testcluster.Cluster
	binding probes.Binding
}

// start starts a built-in cluster with the shortest lease that Patroni allows.
func start(t *testing.T, name string) *bench {
	t.Helper()
	testenv.NeedDocker(t)
	c, err := testcluster.Start(t.Context(), name, testcluster.Options{
		Progress: func(line string) { t.Log(line) },
		Patroni:  testcluster.PatroniSettings{TTL: 20 * time.Second, LoopWait: 2 * time.Second, RetryTimeout: 3 * time.Second},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	b := &bench{Cluster: c}
	b.binding = probes.Binding{
		Nodes: c.Nodes, Health: c.System.Health.HTTP, Extra: c.System.Settings.Map(),
		Clients: probes.Clients{DSN: c.System.Clients.DSN, Connect: time.Second, Statement: 2 * time.Second, Password: func() (string, error) {
			data, err := os.ReadFile(c.System.Clients.Password.File)
			return strings.TrimSpace(string(data)), err
		}},
	}
	for k, v := range c.Extra {
		b.binding.Extra[k] = v
	}
	return b
}

// settled waits until Patroni has written down who may be promoted without loss:
// until then it promotes nobody (it first has PostgreSQL wait for the standby,
// and notes it in etcd one round later).
func (b *bench) settled(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		addrs, err := b.Nodes[0].(targets.Addresser).Addresses(ctx)
		if err != nil {
			t.Fatal(err)
		}
		body, err := fetch(ctx, fmt.Sprintf("http://%s:8008/cluster", addrs[0]))
		if err == nil && strings.Contains(body, `"sync_standby"`) {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("no synchronous standby: %v: %s", err, body)
		case <-tick.C:
		}
	}
}

func fetch(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

func (b *bench) node(name string) (targets.Node, error) {
	for _, n := range b.Nodes {
		if n.Name() == name {
			return n, nil
		}
	}
	return nil, fmt.Errorf("no node %s", name)
}

// kill kills a node's main process, as a crash of the machine would.
func (b *bench) kill(ctx context.Context, name string) error {
	n, err := b.node(name)
	if err != nil {
		return err
	}
	procs, err := n.(targets.Processes).Processes(ctx)
	if err != nil {
		return err
	}
	for _, p := range procs {
		if !p.Main {
			continue
		}
		h, err := n.(targets.Processes).Hold(ctx, p.ProcID)
		if err != nil {
			return err
		}
		return errors.Join(h.Signal(syscall.SIGKILL), h.Exited(ctx), h.Close())
	}
	return fmt.Errorf("%s has no main process", name)
}

func TestAPatroniClusterKeepsTheLawsOfASystem(t *testing.T) {
	b := start(t, "patroni")
	b.settled(t)
	systemtest.Run(t, &systemtest.Bench{
		Kind: patroni.Kind, Binding: b.binding, Failover: true, Patience: 2 * time.Minute,
		Stop: b.kill,
		Start: func(ctx context.Context, name string) error {
			n, err := b.node(name)
			if err != nil {
				return err
			}
			return n.(targets.Starter).Start(ctx)
		},
	})
}
