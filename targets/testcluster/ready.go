package testcluster

import (
	"context"
	"fmt"
	"net/http"
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
//
// again is called after each look at which it is not.
func (v patroni) ready(ctx context.Context, p *place, progress func(string), again func(context.Context, missing)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("not ready after %v", startTimeout))
	defer cancel()
	nodes, err := p.engine.Find(ctx, docker.Query{Labels: []string{LabelRun + "=" + p.id, LabelPart + "=" + partHAProxy}})
	if err != nil {
		return err
	}
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	var before missing
	for {
		now := v.missing(ctx, nodes[0], p)
		if now == "" {
			return nil
		}
		if now != before {
			progress("waiting: " + string(now))
			before = now
		}
		again(ctx, now)
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %s", context.Cause(ctx), now)
		case <-tick.C:
		}
	}
}

// readyQuery needs pg_monitor. A base backup streams too, before there is a
// standby. A synchronous standby of Patroni shows as sync
// (synchronous_mode on) or quorum.
const readyQuery = `select count(*) filter (where state = 'streaming'), count(*) filter (where sync_state in ('sync', 'quorum')) from pg_stat_replication where application_name <> 'pg_basebackup'`

// missing is what a cluster lacks to be ready, in words.
type missing string

const (
	noPrimary missing = "no client gets to a primary yet"
	noSync    missing = "no synchronous standby is assigned"
	// unassigned: PostgreSQL waits for one, and Patroni has not noted it yet.
	unassigned missing = "Patroni has not noted its synchronous standby yet"
)

func (v patroni) missing(ctx context.Context, client targets.Node, p *place) missing {
	out, err := client.Exec(ctx, "sh", "-c", fmt.Sprintf(
		"PGPASSWORD=$(cat %s) PGCONNECT_TIMEOUT=2 psql -h 127.0.0.1 -p %d -U app -d app -AtF' ' -c %q", appPasswordFile, haproxyPrimary, readyQuery))
	if err != nil {
		return noPrimary
	}
	var streaming, sync int
	if _, err := fmt.Sscan(string(out), &streaming, &sync); err != nil {
		return missing("an unexpected answer: " + strings.TrimSpace(string(out)))
	}
	switch {
	case streaming < members-1:
		return missing(fmt.Sprintf("%d of %d standbys are streaming", streaming, members-1))
	case v.sync && sync == 0:
		return noSync
	case v.sync && !assigned(ctx, p):
		return unassigned
	}
	return ""
}

// assigned says whether Patroni has written down which standby is synchronous.
// PostgreSQL shows it as such a round of Patroni's loop earlier: a primary that
// dies in between is replaced by nobody, for nobody is known to have its writes.
func assigned(ctx context.Context, p *place) bool {
	var cluster struct{ Members []struct{ Role string } }
	if ask(ctx, http.MethodGet, fmt.Sprintf("http://%s:%d/cluster", host(p.subnet, nodeHost+1), restPort), nil, &cluster) != nil {
		return false // asked again
	}
	for _, m := range cluster.Members {
		if m.Role == "sync_standby" || m.Role == "quorum_standby" {
			return true
		}
	}
	return false
}

// A waker makes Patroni look again at once while the cluster comes up. The
// primary makes slots for its standbys, and one of them synchronous, only when
// its loop comes round, which takes up to loop_wait each. A change of the dynamic
// configuration wakes the loop; the key that is changed means nothing to Patroni,
// and is gone in the end.
type waker struct {
	url    string // of some member's /config
	last   time.Time
	marked bool
}

// wakeEvery leaves a loop the time to end.
const wakeEvery = 1500 * time.Millisecond

func (w *waker) again(ctx context.Context, why missing) {
	if why == noPrimary || time.Since(w.last) < wakeEvery {
		return
	}
	w.last = time.Now()
	if w.patch(ctx, w.last.UnixNano()) == nil { // or the loop comes round by itself
		w.marked = true
	}
}

// done restores the configuration.
func (w *waker) done(ctx context.Context) error {
	if !w.marked {
		return nil
	}
	if err := w.patch(ctx, nil); err != nil {
		return fmt.Errorf("restoring the dynamic configuration: %w", err)
	}
	return nil
}

func (w *waker) patch(ctx context.Context, value any) error {
	var config struct{}
	return ask(ctx, http.MethodPatch, w.url, map[string]any{"dapple_waker": value}, &config)
}
