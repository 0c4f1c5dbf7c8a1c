package testcluster

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/docker"
)

// startTimeout bounds how long a cluster may take until it is ready. It took 15 s
// on two idle cores; a machine that is busy with other tests takes several times
// that.
const startTimeout = 4 * time.Minute

// ready waits until the cluster is: two standbys stream and, in synchronous
// mode, one of them is waited for by commits; and a client gets through HAProxy
// to the primary. It is asked as a client would, and as the role app may.
func (s *patroniStart) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("not ready after %v", startTimeout))
	defer cancel()
	nodes, err := s.engine.Find(ctx, docker.Query{Labels: []string{LabelRun + "=" + s.run, LabelPart + "=" + partHAProxy}})
	if err != nil {
		return err
	}
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	var before string
	for {
		missing := s.missing(ctx, nodes[0])
		if missing == "" {
			return nil
		}
		if missing != before {
			s.o.Progress("waiting: " + missing)
			before = missing
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %s", context.Cause(ctx), missing)
		case <-tick.C:
		}
	}
}

// readyQuery needs pg_monitor. A synchronous standby of Patroni shows as sync
// (synchronous_mode on) or quorum.
const readyQuery = `select count(*) filter (where state = 'streaming'), count(*) filter (where sync_state in ('sync', 'quorum')) from pg_stat_replication`

// missing says what the cluster lacks to be ready, or "".
func (s *patroniStart) missing(ctx context.Context, client targets.Node) string {
	out, err := client.Exec(ctx, "sh", "-c", fmt.Sprintf(
		"PGPASSWORD=$(cat %s) PGCONNECT_TIMEOUT=2 psql -h 127.0.0.1 -p %d -U app -d app -AtF' ' -c %q", appPasswordFile, haproxyPrimary, readyQuery))
	if err != nil {
		return "no client gets to a primary yet"
	}
	var streaming, sync int
	if _, err := fmt.Sscan(string(out), &streaming, &sync); err != nil {
		return "an unexpected answer: " + strings.TrimSpace(string(out))
	}
	switch {
	case streaming < members-1:
		return fmt.Sprintf("%d of %d standbys are streaming", streaming, members-1)
	case s.sync && sync == 0:
		return "no synchronous standby is assigned"
	}
	return ""
}
