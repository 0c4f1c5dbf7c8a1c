// Package clustertest hands real clusters to tests, and starts as few of them as
// it can: within one test binary all tests share one cluster of a name. It ends
// with the test binary, whatever happens to that.
//
// It is for tests only.
package clustertest

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/testcluster"
)

// within bounds the wait for a cluster, its image included.
const within = 8 * time.Minute

// Shared returns the cluster, ready. The test may break it, as long as starting
// its nodes again mends it; it may not run beside another one that uses it.
// Without a Docker engine, the test is skipped as package testenv has it.
func Shared(t testing.TB, name string) *testcluster.Cluster {
	t.Helper()
	testenv.NeedDocker(t)
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	c, err := get(ctx, name)
	if err == nil {
		err = mend(ctx, c)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// shared holds the clusters that live as long as this test binary: nothing else
// lets tests of one binary share what is costly to start.
var shared struct {
	sync.Mutex
	clusters map[string]*testcluster.Cluster
}

func get(ctx context.Context, name string) (*testcluster.Cluster, error) {
	shared.Lock()
	defer shared.Unlock()
	if c := shared.clusters[name]; c != nil {
		return c, nil
	}
	// The cluster outlives the test that starts it; its reaper ends it after us.
	c, err := testcluster.Start(context.WithoutCancel(ctx), name, testcluster.Options{
		Dir: filepath.Join(os.TempDir(), "dapple-test-clusters"),
	})
	if err != nil {
		return nil, err
	}
	if shared.clusters == nil {
		shared.clusters = map[string]*testcluster.Cluster{}
	}
	shared.clusters[name] = c
	return c, nil
}

// mend starts what an earlier test left dead, and waits until all follow.
func mend(ctx context.Context, c *testcluster.Cluster) error {
	for _, n := range c.Nodes {
		s, ok := n.(targets.Starter)
		if !ok {
			continue
		}
		if err := s.Start(ctx); err != nil {
			return err
		}
	}
	return c.Ready(ctx)
}
