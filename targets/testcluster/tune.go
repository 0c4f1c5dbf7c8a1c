package testcluster

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// EtcdSettings are settings of the etcd clusters; zero is etcd's own default.
type EtcdSettings struct {
	Heartbeat, Election time.Duration
}

// tunables are the parameters that Tune knows, by the kind of system. What else the
// system demands of the other settings follows from the value.
func tunables() map[string]map[string]func(*Options, time.Duration) error {
	return map[string]map[string]func(*Options, time.Duration) error{
		"etcd":    {"election-timeout": tuneElection},
		"patroni": {"ttl": tuneTTL},
	}
}

// tuneElection keeps the heartbeat at a tenth, as etcd's defaults have it, and
// between 10 ms and the default of 100 ms
// (https://etcd.io/docs/v3.6/tuning/#time-parameters).
func tuneElection(o *Options, d time.Duration) error {
	if d < 50*time.Millisecond || d > 50*time.Second || d%time.Millisecond != 0 {
		return fmt.Errorf("election-timeout %v: want whole milliseconds from 50ms to 50s", d)
	}
	beat := min(max(d/10, 10*time.Millisecond), 100*time.Millisecond).Truncate(time.Millisecond)
	o.Etcd = EtcdSettings{Heartbeat: beat, Election: d}
	return nil
}

// tuneTTL keeps loop_wait and retry_timeout at a third, as Patroni's defaults have
// them: ttl ≥ loop_wait + 2 * retry_timeout must hold, or Patroni bends it.
func tuneTTL(o *Options, d time.Duration) error {
	third := (d / 3).Truncate(time.Second)
	if d < 20*time.Second || d%time.Second != 0 { // Patroni raises what is below 20 s
		return fmt.Errorf("ttl %v: want whole seconds, at least 20s", d)
	}
	o.Patroni = PatroniSettings{TTL: d, LoopWait: third, RetryTimeout: third}
	return nil
}

// Tune makes o start the cluster of that name with the parameter at value; other
// settings follow where the system demands it. There are election-timeout of etcd
// and ttl of patroni.
func Tune(o *Options, name, parameter string, value time.Duration) error {
	k, err := byName(name)
	if err != nil {
		return err
	}
	known := tunables()[k.Kind]
	set := known[parameter]
	if set == nil {
		return fmt.Errorf("the cluster %s has no parameter %q that can be set: there is %s", name, parameter, orNone(slices.Sorted(maps.Keys(known))))
	}
	return set(o, value)
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
