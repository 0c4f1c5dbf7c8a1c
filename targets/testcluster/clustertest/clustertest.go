// Package clustertest hands real clusters to tests, and starts as few of them as
// it can.
//
// Within one test binary all tests share one cluster of a name. If
// DAPPLE_TEST_SHARED is set (make test sets it), all test binaries that have the
// same value share it, one test at a time: whoever set it removes the containers
// that carry the label dapple.as=VALUE-NAME when all is done. Otherwise the
// cluster ends with the test binary.
//
// It is for tests only.
package clustertest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/gofrs/flock"

	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/testcluster"
)

// SharedEnv is the variable that lets test binaries share clusters.
const SharedEnv = "DAPPLE_TEST_SHARED"

// within bounds the wait for a cluster, its image included.
const within = 8 * time.Minute

// Shared returns the cluster, ready, and nobody else uses it until the test
// ends. The test may break it, as long as starting its nodes again mends it.
// Without a Docker engine, the test is skipped as package testenv has it.
func Shared(t testing.TB, name string) *testcluster.Cluster {
	t.Helper()
	testenv.NeedDocker(t)
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	lock(ctx, t, name)
	c, err := get(ctx, name)
	if err == nil {
		err = mend(ctx, c)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func dir() string { return filepath.Join(os.TempDir(), "dapple-test-clusters") }

// lock keeps other tests, of this and of other binaries, away from the cluster
// until this one ends.
func lock(ctx context.Context, t testing.TB, name string) {
	t.Helper()
	if err := os.MkdirAll(dir(), 0o700); err != nil {
		t.Fatal(err)
	}
	who := os.Getenv(SharedEnv)
	if who == "" {
		who = fmt.Sprint(os.Getpid())
	}
	l := flock.New(filepath.Join(dir(), who+"-"+name+".lock"))
	if _, err := l.TryLockContext(ctx, 100*time.Millisecond); err != nil {
		t.Fatalf("waiting for cluster %s, which another test has: %v", name, err)
	}
	t.Cleanup(func() {
		if err := l.Unlock(); err != nil {
			t.Error(err)
		}
	})
}

// mine holds the clusters that live as long as this test binary: nothing else
// lets tests of one binary share what is costly to start.
var mine struct {
	sync.Mutex
	clusters map[string]*testcluster.Cluster
}

func get(ctx context.Context, name string) (*testcluster.Cluster, error) {
	mine.Lock()
	defer mine.Unlock()
	if c := mine.clusters[name]; c != nil {
		return c, nil
	}
	c, err := start(ctx, name)
	if err != nil {
		return nil, err
	}
	if mine.clusters == nil {
		mine.clusters = map[string]*testcluster.Cluster{}
	}
	mine.clusters[name] = c
	return c, nil
}

func start(ctx context.Context, name string) (*testcluster.Cluster, error) {
	// The cluster outlives the test that starts it.
	ctx = context.WithoutCancel(ctx)
	o := testcluster.Options{Dir: dir(), Labels: map[string]string{"dapple.test": "shared"}}
	shared := os.Getenv(SharedEnv)
	if shared == "" {
		return testcluster.Start(ctx, name, o) // its reaper ends it after us
	}
	o.As, o.Lifetime = shared+"-"+name, testcluster.Stays
	c, err := testcluster.Find(ctx, name, o)
	if errors.Is(err, testcluster.ErrNotUp) {
		c, err = testcluster.Start(ctx, name, o)
	}
	return c, err
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
