package patroni

import (
	"context"
	"fmt"
	"time"

	"github.com/dapple-drills/dapple/probes"
)

// asDeclared are settings without bounds, and Patroni's defaults for them
// (docs/dynamic_configuration.rst).
var asDeclared = []struct{ name, absent string }{
	{"maximum_lag_on_failover", "1048576"},
	{"maximum_lag_on_syncnode", "-1"},
	{"synchronous_mode", "false"},
	{"synchronous_mode_strict", "false"},
	{"synchronous_node_count", "1"},
	{"failsafe_mode", "false"},
	{"check_timeline", "false"},
	{"primary_race_backoff", "0"},
	{"primary_stop_timeout", "0"},
}

// Settings returns Patroni's effective settings, clamps applied, and the present
// primary's.
func (s *System) Settings(ctx context.Context) (effective map[string]string, notes []string, err error) {
	c, err := s.config(ctx)
	if err != nil {
		return nil, nil, err
	}
	effective, weak, err := s.System.Settings(ctx)
	if err != nil {
		return nil, nil, err
	}
	t, notes := c.clamp()
	for name, d := range map[string]time.Duration{"ttl": t.ttl, "loop_wait": t.loopWait, "retry_timeout": t.retry, "primary_start_timeout": t.start} {
		effective[name] = fmt.Sprintf("%ds", int64(d/time.Second))
	}
	for _, d := range asDeclared {
		effective[d.name] = d.absent
		if w := c.word(d.name); w != "" {
			effective[d.name] = w
		}
	}
	if s.proxy != nil {
		effective["haproxy"] = s.proxy.String()
	}
	return effective, append(append(notes, s.stuck(ctx, c)...), weak...), nil
}

// Bent lists what Patroni changes of the declared time-outs.
func (s *System) Bent(ctx context.Context) ([]probes.Bent, error) {
	c, err := s.config(ctx)
	if err != nil {
		return nil, err
	}
	_, bent, _ := c.bend()
	return bent, nil
}

// stuck notes a failover that Patroni would not make: in synchronous mode it
// promotes only whom it has noted as synchronous (patroni/ha.py,
// is_healthiest_node), and it notes nobody for a round after each change.
func (s *System) stuck(ctx context.Context, conf config) []string {
	if !conf.sync() {
		return nil
	}
	c, err := first(ctx, s, "/cluster", parseCluster)
	if err != nil {
		return []string{"whether a standby may be promoted is not known: " + err.Error()}
	}
	for _, m := range c.Members {
		if m.Role == "sync_standby" || m.Role == "quorum_standby" {
			return nil
		}
	}
	return []string{"synchronous_mode without a synchronous standby at present: Patroni would promote nobody"}
}

// Versions are those of PostgreSQL and Patroni, and of etcd if it is watched.
func (s *System) Versions(ctx context.Context) (map[string]string, error) {
	versions, err := s.System.Versions(ctx)
	if err != nil {
		return nil, err
	}
	st, err := first(ctx, s, "/patroni", parseStatus)
	if err != nil {
		return nil, err
	}
	versions["patroni"] = st.Patroni.Version
	if len(s.etcd.endpoints) > 0 {
		if versions["etcd"], err = s.etcd.version(ctx); err != nil {
			return nil, err
		}
	}
	return versions, nil
}

// Members is what the servers say; what Patroni says of each is added to the
// evidence, and decides nothing.
func (s *System) Members(ctx context.Context) ([]probes.Member, error) {
	type view struct {
		c   *cluster
		err error
	}
	asked := make(chan view, 1)
	go func() {
		c, err := first(ctx, s, "/cluster", parseCluster)
		asked <- view{c, err}
	}()
	members, err := s.System.Members(ctx)
	v := <-asked
	if err != nil {
		return nil, err
	}
	if v.err != nil {
		return members, nil // the servers have spoken for themselves
	}
	s.learn(v.c)
	for _, m := range v.c.Members {
		name := s.nodeOf(m.Name)
		for i := range members {
			if members[i].Node == name {
				members[i].Said += fmt.Sprintf("; patroni: %s %s, timeline %d", m.Role, m.State, m.Timeline)
			}
		}
	}
	return members, nil
}
