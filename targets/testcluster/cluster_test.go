package testcluster_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"

	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/docker"
	"github.com/dapple-drills/dapple/targets/process"
	"github.com/dapple-drills/dapple/targets/testcluster"
	"github.com/dapple-drills/dapple/targets/testcluster/clustertest"
	"github.com/dapple-drills/dapple/targets/testcluster/embedded"
)

// TestMain lets the test's own binary be a starter that is killed, and the
// keeper and the members of the etcd cluster.
func TestMain(m *testing.M) {
	if len(os.Args) < 2 {
		os.Exit(m.Run())
	}
	ctx := context.Background()
	var err error
	switch os.Args[1] {
	case "keeper":
		err = process.KeeperMain(ctx, os.Args[2:])
	case "etcd-member":
		err = embedded.MemberMain(ctx, os.Args[2:])
	case "starter":
		err = starter(ctx, os.Args[2], os.Args[3])
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// starter starts a cluster, tells its progress, and waits to be killed.
func starter(ctx context.Context, name, dir string) error {
	c, err := testcluster.Start(ctx, name, testcluster.Options{
		Dir: dir, Progress: func(line string) { fmt.Println(line) },
		// Not LabelRun: the test must find what was made before the run is known.
		Labels: map[string]string{"dapple.test": dir},
	})
	if err != nil {
		return err
	}
	fmt.Println("up", c.Run)
	select {}
}

func engine(t *testing.T) *docker.Engine {
	t.Helper()
	testenv.NeedDocker(t)
	e, err := docker.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// left lists what carries the label.
func left(ctx context.Context, t *testing.T, e *docker.Engine, label string) []string {
	t.Helper()
	ours := filters.NewArgs(filters.Arg("label", label))
	cs, err := e.API().ContainerList(ctx, container.ListOptions{All: true, Filters: ours})
	if err != nil {
		t.Fatal(err)
	}
	nets, err := e.API().NetworkList(ctx, network.ListOptions{Filters: ours})
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, c := range cs {
		left = append(left, c.Names...)
	}
	for _, n := range nets {
		left = append(left, "network "+n.Name)
	}
	return left
}

func TestNothingOfAClusterOutlivesAStarterThatWasKilled(t *testing.T) {
	e := engine(t)
	for _, when := range []string{"starting", "up "} {
		t.Run("killed when it said "+when, func(t *testing.T) {
			killed(t, e, when)
		})
	}
}

func killed(t *testing.T, e *docker.Engine, when string) {
	dir := t.TempDir()
	me, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(me, "starter", "patroni-async", dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	said := false
	for !said && lines.Scan() {
		t.Log(lines.Text())
		said = strings.HasPrefix(lines.Text(), when)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, out) // to its end, so that Wait may close it
	if err := cmd.Wait(); err == nil || !said {
		t.Fatalf("the starter ended by itself: %v", err)
	}
	label := "dapple.test=" + dir
	if before := left(t.Context(), t, e, label); len(before) == 0 {
		t.Fatal("there is nothing to be removed: the test would prove nothing")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	began := time.Now()
	for {
		there := left(ctx, t, e, label)
		if len(there) == 0 {
			t.Logf("all gone %v after the kill", time.Since(began).Round(time.Millisecond))
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("still there: %v", there)
		case <-tick.C:
		}
	}
}

func TestThePatroniClusterIsReadyAsPromised(t *testing.T) {
	c := clustertest.Shared(t, "patroni")
	t.Logf("ready %v after its start", c.Started)
	psql := func(n targets.Node, query string) string {
		t.Helper()
		out, err := n.Exec(t.Context(), "psql", "-Atc", query)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	var names []string
	var primary targets.Node
	for _, n := range c.Nodes {
		names = append(names, n.Name())
		if psql(n, "select pg_is_in_recovery()") == "f" {
			primary = n
		}
	}
	if !slices.Equal(names, []string{"pg1", "pg2", "pg3"}) {
		t.Errorf("nodes %v", names)
	}
	if primary == nil {
		t.Fatal("no node is out of recovery")
	}
	if got := psql(primary, "select count(*) filter (where state = 'streaming'), count(*) filter (where sync_state = 'sync') from pg_stat_replication"); got != "2|1" {
		t.Errorf("streaming and synchronous standbys: %s, want 2|1", got)
	}
	for setting, want := range map[string]string{"data_checksums": "on", "wal_log_hints": "on", "fsync": "on", "synchronous_commit": "on", "log_line_prefix": "%m [%p]"} {
		if got := psql(primary, "show "+setting); got != want {
			t.Errorf("%s is %q, want %q", setting, got, want)
		}
	}
	for _, n := range c.Nodes {
		s, err := n.(targets.Starter).State(t.Context())
		if err != nil || s.Policy != "no" || !s.Running {
			t.Errorf("%s: %+v, %v; want it running, without a restart policy", n.Name(), s, err)
		}
		health(t, n, c.System.Health.HTTP, n == primary)
	}
}

// health asks the check that the load balancer uses.
func health(t *testing.T, n targets.Node, url string, primary bool) {
	t.Helper()
	addrs, err := n.(targets.Addresser).Addresses(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get(strings.ReplaceAll(url, "{node}", addrs[0]))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := resp.StatusCode == http.StatusOK; got != primary {
		t.Errorf("%s: /primary says %s, and it is primary: %v", n.Name(), resp.Status, primary)
	}
}

func TestTheRoleOfTheLedgerMayDoWhatItNeedsAndIsNoSuperuser(t *testing.T) {
	c := clustertest.Shared(t, "patroni")
	password, err := os.ReadFile(c.System.Clients.Password.File)
	if err != nil {
		t.Fatal(err)
	}
	dsn := strings.Replace(c.System.Clients.DSN, "app@", "app:"+strings.TrimSpace(string(password))+"@", 1)
	for _, q := range []struct{ query, want string }{
		{"create schema s; create table s.t(i int); insert into s.t values (1); select i from s.t", "1"},
		{"select count(*) from pg_stat_replication where state = 'streaming'", "2"},
		{"select substring(pg_walfile_name(pg_current_wal_lsn()), 1, 8) = lpad(to_hex(timeline_id), 8, '0') from pg_control_checkpoint()", "t"},
		{"select (pg_stat_file('pg_wal/' || pg_walfile_name(pg_current_wal_lsn()))).size > 0", "t"},
		{"select rolsuper from pg_roles where rolname = current_user", "f"},
		{"drop schema s cascade; select pg_is_in_recovery()", "f"},
	} {
		out, err := c.Nodes[0].Exec(t.Context(), "psql", "-qAt", "-v", "ON_ERROR_STOP=1", "-d", dsn, "-c", q.query)
		if got := strings.TrimSpace(string(out)); err != nil || got != q.want {
			t.Errorf("%s: got %q, %v; want %q", q.query, got, err, q.want)
		}
	}
}

func TestThePatroniDaemonIsAChildOfAReaperOfTheSameName(t *testing.T) {
	c := clustertest.Shared(t, "patroni")
	procs, err := c.Nodes[0].(targets.Processes).Processes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !procs[0].Main || procs[0].Name != "patroni" {
		t.Errorf("pid 1 is %+v, want patroni", procs[0])
	}
	daemons := slices.DeleteFunc(slices.Clone(procs), func(p targets.Proc) bool {
		return p.Main || p.Parent != procs[0].PID || p.Name != "patroni" || !slices.Equal(p.Args, procs[0].Args)
	})
	if len(daemons) != 1 {
		t.Errorf("children of pid 1 with its name and command line: %v, want one", daemons)
	}
	// Neither the server nor any other program may be taken for Patroni.
	for _, p := range procs {
		if p.Name != "patroni" && strings.Contains(strings.Join(p.Args, " "), "patroni") {
			t.Errorf("%s has patroni in its command line: %v", p.Name, p.Args)
		}
	}
}

func TestAReplicaThatWasPutDownRejoinsWhenItIsStarted(t *testing.T) {
	c := clustertest.Shared(t, "patroni")
	for _, n := range c.Nodes {
		out, err := n.Exec(t.Context(), "psql", "-Atc", "select pg_is_in_recovery()")
		if err != nil {
			t.Fatal(err)
		}
		if strings.TrimSpace(string(out)) == "t" {
			if err := n.(targets.Fencer).Fence(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := n.(targets.Starter).Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	if err := c.Ready(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestABoundClusterThatIsStoppedLeavesNothing(t *testing.T) {
	e := engine(t)
	c, err := testcluster.Start(t.Context(), "patroni-async", testcluster.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	label := testcluster.LabelRun + "=" + c.Run
	if there := left(t.Context(), t, e, label); len(there) != 9 {
		t.Errorf("up: %v; want 7 parts, their network and the reaper", there)
	}
	for range 2 { // the second finds nothing to do
		if err := c.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if there := left(t.Context(), t, e, label); len(there) > 0 {
		t.Errorf("left behind: %v", there)
	}
	if _, err := os.Stat(c.System.Clients.Password.File); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its password: got %v, want it gone", err)
	}
}

func TestAStartThatIsCancelledLeavesNothing(t *testing.T) {
	e := engine(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	dir := t.TempDir()
	_, err := testcluster.Start(ctx, "patroni-async", testcluster.Options{
		Dir: dir, Labels: map[string]string{"dapple.test": dir},
		Progress: func(line string) {
			if strings.HasPrefix(line, "waiting") { // all containers have been made
				cancel()
			}
		},
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that it was cancelled", err)
	}
	if there := left(t.Context(), t, e, "dapple.test="+dir); len(there) > 0 {
		t.Errorf("left behind: %v", there)
	}
}
