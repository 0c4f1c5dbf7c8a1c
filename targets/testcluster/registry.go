package testcluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/scenarios"
)

// A kind is one built-in cluster. To add one: a file that makes a kind, and its
// line in kinds.
type kind struct {
	Info
	start func(context.Context, Info, Options) (*Cluster, error)
	find  func(context.Context, Info, Options) (*Cluster, error)
	down  func(context.Context, Info, Options) error
}

// kinds is the registry: a plain list, sorted by name.
func kinds() []kind {
	all := slices.Concat(etcdKinds(), patroniKinds(), postgresKinds(), redisKinds(), mysqlKinds())
	slices.SortFunc(all, func(a, b kind) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// listers list what is on this machine, one per place in which clusters live.
func listers() []func(context.Context, Options) ([]Status, error) {
	return []func(context.Context, Options) ([]Status, error){listContainers, listEtcd}
}

func byName(name string) (kind, error) {
	var names []string
	for _, k := range kinds() {
		if k.Name == name {
			return k, nil
		}
		names = append(names, k.Name)
	}
	return kind{}, fmt.Errorf("no built-in cluster is called %q; there are %s", name, strings.Join(names, ", "))
}

// stateDir is where dapple keeps its state: $DAPPLE_HOME, or the XDG state
// directory (https://specifications.freedesktop.org/basedir-spec/), or for root
// /var/lib/dapple.
func stateDir() (string, error) {
	if dir := os.Getenv("DAPPLE_HOME"); dir != "" {
		return dir, nil
	}
	if dir := os.Getenv("XDG_STATE_HOME"); dir != "" {
		return filepath.Join(dir, "dapple"), nil
	}
	if os.Geteuid() == 0 {
		return "/var/lib/dapple", nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("no state directory: set DAPPLE_HOME: %w", err)
	}
	return filepath.Join(home, ".local", "state", "dapple"), nil
}

// objectives of all clusters that fail over by a lease of 30 s.
func leaseObjectives() scenarios.Objectives {
	var zero int64
	never := scenarios.Never(true)
	return scenarios.Objectives{
		Detection:  duration(35 * time.Second),
		RTO:        duration(60 * time.Second),
		RPO:        &scenarios.RPO{Writes: &zero},
		SplitBrain: &never,
	}
}

func duration(d time.Duration) *scenarios.Duration {
	s := scenarios.Duration(d)
	return &s
}
