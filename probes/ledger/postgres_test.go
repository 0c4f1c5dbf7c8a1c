package ledger_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/probes/ledger"
	"github.com/dapple-drills/dapple/probes/postgres"
	"github.com/dapple-drills/dapple/probes/postgres/postgrestest"
)

func open(t testing.TB, c *postgrestest.Cluster) *postgres.System {
	t.Helper()
	sys, err := postgres.Open(t.Context(), c.Binding())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sys.Close(); err != nil {
			t.Error(err)
		}
	})
	return sys
}

func TestARealPrimaryKilledUnderLoadLosesNothingThatItAcknowledged(t *testing.T) {
	c := postgrestest.Start(t, postgrestest.Options{Conf: []string{"fsync=on"}})
	sys := open(t, c)
	rec := timeline.NewRecorder(time.Now(), 1, 0, nil)
	binding := c.Binding()
	w := ledger.New(ledger.Config{
		System: sys, Run: "kill", Base: rec.Base(), Dir: t.TempDir(), Nodes: binding.Nodes, Rate: 200,
		// A new connection costs the server a process, 65 ms of processor on some machines.
		FreshPeriod: 250 * time.Millisecond, DirectPeriod: time.Second,
	})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := w.Start(ctx, rec.Emit); err != nil {
		t.Fatal(err)
	}
	wait(ctx, t, "200 writes are acknowledged", func() bool { return w.Recent(ledger.RecentMax).Acked > 200 })
	effect := time.Now()
	c.Servers[0].Kill()
	wait(ctx, t, "the clients see it", func() bool { return w.Recent(time.Second).Failed > 20 })
	if err := c.Servers[0].Start(ctx); err != nil {
		t.Fatal(err)
	}
	again := time.Now()
	wait(ctx, t, "all clients write again", func() bool {
		r := w.Recent(500 * time.Millisecond)
		return time.Since(again) > time.Second && r.Acked > 50 && r.Failed+r.Unknown == 0
	})
	w.AtRisk(effect, rec.Emit)
	if err := w.StopClients(ctx); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"A1", "A2"} {
		out, err := w.Audit(ctx, name, nil, rec.Emit)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %+v", name, out)
		if out.Lost+out.Phantom+out.Duplicate+out.Late != 0 || out.Acked < 300 || out.Failed == 0 {
			t.Errorf("%s: %+v", name, out)
		}
	}
	if err := w.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if err := w.Clean(ctx); err != nil {
		t.Fatal(err)
	}
	ended := 0
	for _, e := range rec.Timeline() {
		if e.Kind == timeline.SessionEnd && e.By == "old/pg1" {
			ended++
		}
	}
	if ended != 1 {
		t.Errorf("the old session ended %d times", ended)
	}
}

func wait(ctx context.Context, t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("it did not come to that %s: %v", what, ctx.Err())
		}
	}
}

// The same row by the same statement into the same kind of table, with ids as
// dense as the ledger's.
const pgbenchScript = `\set seq :seq + 1
insert into dapple_ledger_pgbench (client, seq, sent_ns, node, epoch)
	values (:client_id, :seq, 1234567890, inet_server_addr(), ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int)
	returning node, epoch;
`

// BenchmarkAgainstPgbench compares the closed loop of 8 ledger clients with 8 of
// pgbench, in turns in one run. Bound: ratio ≥ 0.9. Without fsync the server
// waits for nothing, so that every instruction of the client shows.
func BenchmarkAgainstPgbench(b *testing.B) {
	for _, fsync := range []string{"on", "off"} {
		b.Run("fsync="+fsync, func(b *testing.B) {
			c := postgrestest.Start(b, postgrestest.Options{Conf: []string{"fsync=" + fsync}})
			sys := open(b, c)
			if err := sys.Prepare(b.Context(), "pgbench"); err != nil {
				b.Fatal(err)
			}
			var ours, theirs []float64
			for range 3 {
				theirs = append(theirs, pgbench(b, c, 4*time.Second))
				ours = append(ours, closedLoop(b, sys, fmt.Sprintf("l%d", len(ours)), 4*time.Second))
			}
			slices.Sort(ours)
			slices.Sort(theirs)
			b.ReportMetric(theirs[1], "pgbench-tps")
			b.ReportMetric(ours[1], "ledger-tps")
			b.ReportMetric(ours[1]/theirs[1], "ratio")
		})
	}
}

var tps = regexp.MustCompile(`tps = ([0-9.]+)`)

func pgbench(b *testing.B, c *postgrestest.Cluster, d time.Duration) float64 {
	b.Helper()
	bin := "pgbench"
	if all, err := filepath.Glob("/usr/lib/postgresql/*/bin/pgbench"); err == nil && len(all) > 0 {
		bin = all[len(all)-1]
	}
	path, err := exec.LookPath(bin)
	testenv.Need(b, "postgres", err)
	script := filepath.Join(b.TempDir(), "insert.sql")
	if err := os.WriteFile(script, []byte(pgbenchScript), 0o644); err != nil {
		b.Fatal(err)
	}
	cmd := exec.CommandContext(b.Context(), path, "-n", "-M", "prepared", "-c", "8", "-j", "2", "-D", "seq=0", "-f", script,
		"-T", strconv.Itoa(int(d.Seconds())), "-h", c.Servers[0].Addr, "-p", strconv.Itoa(c.Port), "-U", "postgres", "postgres")
	out, err := cmd.CombinedOutput()
	if err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	m := tps.FindSubmatch(out)
	if m == nil {
		b.Fatalf("no rate in %s", out)
	}
	v, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		b.Fatal(err)
	}
	return v
}

func closedLoop(b *testing.B, sys *postgres.System, run string, d time.Duration) float64 {
	b.Helper()
	rec := timeline.NewRecorder(time.Now(), 1, 0, nil)
	w := ledger.New(ledger.Config{
		System: sys, Run: run, Base: rec.Base(), Dir: filepath.Join(b.TempDir(), "ledger"), Apps: 8, FreshPeriod: ledger.Off,
	})
	if err := w.Start(b.Context(), rec.Emit); err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	<-time.After(d)
	if err := w.StopClients(b.Context()); err != nil {
		b.Fatal(err)
	}
	took := time.Since(began)
	out, err := w.Audit(b.Context(), "A1", nil, rec.Emit)
	if err != nil || out.Lost+out.Phantom+out.Duplicate+out.Unknown+out.Failed != 0 {
		b.Fatal(out, err)
	}
	if err := w.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
	return float64(out.Acked) / took.Seconds()
}

// BenchmarkFreshConnections is what 100 new connections per second cost the
// runner. Bound: 10 % of one core.
func BenchmarkFreshConnections(b *testing.B) {
	c := postgrestest.Start(b, postgrestest.Options{})
	sys := open(b, c)
	rec := timeline.NewRecorder(time.Now(), 1, 0, nil)
	w := ledger.New(ledger.Config{
		System: sys, Run: "fresh", Base: rec.Base(), Dir: filepath.Join(b.TempDir(), "ledger"),
		Apps: 1, Rate: 0.001, FreshPeriod: 10 * time.Millisecond,
	})
	if err := w.Start(b.Context(), rec.Emit); err != nil {
		b.Fatal(err)
	}
	<-time.After(time.Second)
	const window = 10 * time.Second
	before, began := cpu(b), time.Now()
	<-time.After(window)
	used, took := cpu(b)-before, time.Since(began)
	if err := w.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
	for _, e := range rec.Timeline() {
		if e.Kind == timeline.Write && e.By == "fresh" && !strings.HasPrefix(e.Value, "acked") {
			b.Fatal(e)
		}
	}
	b.ReportMetric(100*used.Seconds()/took.Seconds(), "%core")
	b.ReportMetric(float64(w.Recent(window).Acked)/window.Seconds(), "connections/s")
}

func cpu(b *testing.B) time.Duration {
	b.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
