package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/probes/postgres/postgrestest"
	"github.com/dapple-drills/dapple/probes/systemtest"
)

// classes provokes the write classes by what a real server does. The first
// server is primary, the others stream from it.
func classes(c *postgrestest.Cluster) []systemtest.Case {
	h := hands{c}
	return []systemtest.Case{
		{Name: "StandbyRefuses", Provoke: h.standby, Want: probes.Failed, Reply: "25006 "},
		{Name: "NobodyListens", Provoke: h.nobody, Want: probes.Failed, Reply: "not connected: connection refused"},
		{Name: "TooManyConnections", Provoke: h.crowd, Want: probes.Failed, Reply: "not connected: 53300 "},
		{Name: "NoSuchDatabase", Provoke: h.lost, Want: probes.Failed, Reply: "not connected: 3D000 "},
		{Name: "NoTable", Provoke: h.noTable, Want: probes.Failed, Reply: "42P01 "},
		{Name: "ReadOnlyTransaction", Provoke: h.readOnly, Want: probes.Failed, Reply: "25006 "},
		{Name: "StatementTimeout", Provoke: h.statementTimeout, Want: probes.Failed, Reply: "57014 "},
		{Name: "LockTimeout", Provoke: h.lockTimeout, Want: probes.Failed, Reply: "55P03 "},
		{Name: "Deadlock", Provoke: h.raise("40P01"), Want: probes.Failed, Reply: "40P01 "},
		{Name: "SerializationFailure", Provoke: h.raise("40001"), Want: probes.Failed, Reply: "40001 "},
		{Name: "DiskFullBeforeCommit", Provoke: h.raise("53100"), Want: probes.Failed, Reply: "53100 "},
		{Name: "OutOfMemory", Provoke: h.raise("53200"), Want: probes.Failed, Reply: "53200 "},
		{Name: "RefusedAtCommit", Provoke: h.atCommit, Want: probes.Failed, Reply: "23514 "},
		{Name: "ProxyLostTheServer", Provoke: h.raise("08006"), Want: probes.Unknown, Reply: "08006 "},
		{Name: "CompletionUnknown", Provoke: h.raise("40003"), Want: probes.Unknown, Reply: "40003 "},
		{Name: "InternalError", Provoke: h.raise("XX000"), Want: probes.Unknown, Reply: "XX000 "},
		{Name: "RowSwallowed", Provoke: h.swallowed, Want: probes.Failed, Reply: "INSERT 0 0"},
		{Name: "CancelledSyncWait", Provoke: h.syncWait(cancelWait), Want: probes.Degraded, Reply: "INSERT 0 1, WARNING 01000 "},
		{Name: "TerminatedDuringSyncWait", Provoke: h.syncWait(terminate), Want: probes.Unknown, Reply: "a row, and no end of the transaction: "},
		{Name: "GivenUpDuringSyncWait", Provoke: h.syncWait(giveUp), Want: probes.Unknown, Reply: "given up"},
		{Name: "DeadlineDuringSyncWait", Provoke: h.syncWait(deadline), Want: probes.Unknown, Reply: "no reply in time"},
		{Name: "BackendKilledDuringSyncWait", Provoke: h.syncWait(killBackend), Want: probes.Unknown, Reply: "the connection ended"},
		{Name: "OtherBackendCrashedDuringSyncWait", Provoke: h.syncWait(crash), Want: probes.Unknown},
		{Name: "ShutDownFastDuringSyncWait", Provoke: h.syncWait(shutDown(syscall.SIGINT)), Want: probes.Unknown, Reply: "a row, and no end of the transaction: "},
		{Name: "ShutDownAtOnceDuringSyncWait", Provoke: h.syncWait(shutDown(syscall.SIGQUIT)), Want: probes.Unknown},
		{Name: "IdleSessionEndedBefore", Provoke: h.idleEnded, Want: probes.Failed, Reply: "not sent: 57P01 "},
	}
}

type hands struct{ c *postgrestest.Cluster }

const long = 20 * time.Second

// admin is a connection of the superuser to a server.
func (h hands) admin(t testing.TB, i int) *pgx.Conn {
	t.Helper()
	c, err := h.connect(t, i)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(always(t), time.Second)
		defer cancel()
		_ = c.Close(ctx) // it may have been killed by the test
	})
	return c
}

func (h hands) connect(t testing.TB, i int) (*pgx.Conn, error) {
	return pgx.Connect(always(t), fmt.Sprintf("host=%s port=%d user=postgres dbname=postgres sslmode=disable application_name=admin", h.c.Servers[i].Addr, h.c.Port))
}

// always is a context for clean-ups too, which t.Context is not.
func always(t testing.TB) context.Context { return context.WithoutCancel(t.Context()) }

func exec(t testing.TB, c *pgx.Conn, sql ...string) {
	t.Helper()
	for _, q := range sql {
		if _, err := c.Exec(always(t), q, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
}

// put writes one row directly to server i over a session of its own.
func (h hands) put(t *testing.T, sys probes.System, i int, run string) probes.Ack {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	x, refused := sys.Open(ctx, probes.Where{Node: h.c.Servers[i]})
	if refused != nil {
		return *refused
	}
	defer x.Close()
	return x.Put(ctx, probes.Write{Run: run, Client: 1, Seq: 1})
}

func (h hands) standby(t *testing.T, sys probes.System, run string) probes.Ack {
	return h.put(t, sys, 1, run)
}

func (h hands) nobody(t *testing.T, sys probes.System, run string) probes.Ack {
	h.c.Servers[2].Kill()
	defer func() {
		if err := h.c.Servers[2].Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}()
	return h.put(t, sys, 2, run)
}

func (h hands) crowd(t *testing.T, sys probes.System, run string) probes.Ack {
	for range 200 {
		c, err := h.connect(t, 2)
		if err != nil {
			break
		}
		defer c.Close(t.Context())
	}
	return h.put(t, sys, 2, run)
}

func (h hands) lost(t *testing.T, _ probes.System, run string) probes.Ack {
	return h.put(t, open(t, h.c, func(b *probes.Binding) { b.Clients.DSN = strings.Replace(b.Clients.DSN, "/postgres?", "/nowhere?", 1) }), 0, run)
}

func (h hands) noTable(t *testing.T, sys probes.System, _ string) probes.Ack {
	return h.put(t, sys, 0, "neverprepared")
}

func (h hands) readOnly(t *testing.T, sys probes.System, run string) probes.Ack {
	a := h.admin(t, 0)
	exec(t, a, "alter role postgres set default_transaction_read_only = on")
	defer exec(t, a, "alter role postgres reset default_transaction_read_only")
	return h.put(t, sys, 0, run)
}

func (h hands) statementTimeout(t *testing.T, sys probes.System, run string) probes.Ack {
	return h.locked(t, sys, run, "statement_timeout")
}

func (h hands) lockTimeout(t *testing.T, sys probes.System, run string) probes.Ack {
	return h.locked(t, sys, run, "lock_timeout")
}

// locked writes to a locked table under a timeout of the server.
func (h hands) locked(t *testing.T, sys probes.System, run, setting string) probes.Ack {
	a, b := h.admin(t, 0), h.admin(t, 0)
	exec(t, a, "alter role postgres set "+setting+" = '100ms'")
	defer exec(t, a, "alter role postgres reset "+setting)
	exec(t, b, "begin", "lock table "+table(run))
	defer exec(t, b, "rollback")
	return h.put(t, sys, 0, run)
}

// raise has a trigger refuse the row with a code.
func (h hands) raise(code string) func(*testing.T, probes.System, string) probes.Ack {
	return func(t *testing.T, sys probes.System, run string) probes.Ack {
		exec(t, h.admin(t, 0), fmt.Sprintf(`create or replace function refuse() returns trigger language plpgsql as
			$$begin raise 'no "%s" here' using errcode = '%s'; end$$`, run, code),
			"create trigger refuse before insert on "+table(run)+" for each row execute function refuse()")
		return h.put(t, sys, 0, run)
	}
}

// atCommit has the row refused after CommandComplete was made.
func (h hands) atCommit(t *testing.T, sys probes.System, run string) probes.Ack {
	exec(t, h.admin(t, 0), `create or replace function late() returns trigger language plpgsql as
		$$begin raise 'late' using errcode = '23514'; end$$`,
		"create constraint trigger late after insert on "+table(run)+" deferrable initially deferred for each row execute function late()")
	return h.put(t, sys, 0, run)
}

func (h hands) swallowed(t *testing.T, sys probes.System, run string) probes.Ack {
	exec(t, h.admin(t, 0), `create or replace function swallow() returns trigger language plpgsql as $$begin return null; end$$`,
		"create trigger swallow before insert on "+table(run)+" for each row execute function swallow()")
	return h.put(t, sys, 0, run)
}

// syncWait writes while the primary waits for a standby that does not exist,
// and once the write waits, does something to it.
func (h hands) syncWait(then func(*testing.T, *waiting)) func(*testing.T, probes.System, string) probes.Ack {
	return func(t *testing.T, sys probes.System, run string) probes.Ack {
		w := &waiting{h: h, admin: h.admin(t, 0)}
		exec(t, w.admin, "set synchronous_commit = local", "alter system set synchronous_standby_names = 'ghost'", "select pg_reload_conf()")
		t.Cleanup(func() {
			a := h.admin(t, 0)
			exec(t, a, "set synchronous_commit = local", "alter system reset synchronous_standby_names", "select pg_reload_conf()")
			settled(t, a, "")
		})
		settled(t, w.admin, "ghost")
		var ctx context.Context
		ctx, w.giveUp = context.WithCancel(t.Context())
		defer w.giveUp()
		ctx, w.expire = expirable(ctx)
		got := make(chan probes.Ack, 1)
		go func() {
			x, refused := sys.Open(ctx, probes.Where{Node: h.c.Servers[0]})
			if refused != nil {
				got <- *refused
				return
			}
			defer x.Close()
			ack := x.Put(ctx, probes.Write{Run: run, Client: 1, Seq: 1})
			if (ack.Class == probes.Unknown) != x.Broken() {
				t.Errorf("%+v leaves a session that is broken: %v", ack, x.Broken())
			}
			got <- ack
		}()
		until(t, "the write to wait", func() bool { return w.find(t) })
		then(t, w)
		return <-got
	}
}

// settled waits until the reloaded setting holds for new sessions too.
func settled(t testing.TB, a *pgx.Conn, want string) {
	t.Helper()
	until(t, "the setting to hold", func() bool {
		var got string
		if err := a.QueryRow(always(t), "select current_setting('synchronous_standby_names')").Scan(&got); err != nil {
			t.Fatal(err)
		}
		return got == want
	})
}

type waiting struct {
	h      hands
	admin  *pgx.Conn
	pid    int
	giveUp context.CancelFunc
	expire func()
}

func (w *waiting) find(t *testing.T) bool {
	err := w.admin.QueryRow(t.Context(), "select pid from pg_stat_activity where wait_event = 'SyncRep' and application_name = 'dapple'").Scan(&w.pid)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		t.Fatal(err)
	}
	return err == nil
}

func cancelWait(t *testing.T, w *waiting) {
	exec(t, w.admin, fmt.Sprintf("select pg_cancel_backend(%d)", w.pid))
}

// terminate makes the server flush row and CommandComplete, and die.
func terminate(t *testing.T, w *waiting) {
	exec(t, w.admin, fmt.Sprintf("select pg_terminate_backend(%d)", w.pid))
}

func giveUp(_ *testing.T, w *waiting) { w.giveUp() }

func deadline(_ *testing.T, w *waiting) { w.expire() }

// expirable is a context that ends, when expire is called, as by a deadline.
func expirable(parent context.Context) (ctx context.Context, expire func()) {
	c := &expiring{Context: parent, done: make(chan struct{})}
	stop := context.AfterFunc(parent, c.expire)
	return c, func() { stop(); c.expire() }
}

type expiring struct {
	context.Context
	once sync.Once
	done chan struct{}
}

func (c *expiring) expire()               { c.once.Do(func() { close(c.done) }) }
func (c *expiring) Done() <-chan struct{} { return c.done }
func (c *expiring) Err() error {
	select {
	case <-c.done:
		if err := c.Context.Err(); err != nil {
			return err
		}
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// killBackend crashes the server under the write; it restarts by itself.
func killBackend(t *testing.T, w *waiting) { w.kill(t, w.pid) }

// crash crashes another backend: the postmaster ends all of them.
func crash(t *testing.T, w *waiting) { w.kill(t, int(w.h.admin(t, 0).PgConn().PID())) }

func (w *waiting) kill(t *testing.T, pid int) {
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	w.back(t)
}

// back waits until the server has ended its sessions and takes new ones.
func (w *waiting) back(t *testing.T) {
	until(t, "the server to end its sessions", func() bool { return w.admin.Ping(always(t)) != nil })
	until(t, "the server to be back", func() bool {
		c, err := w.h.connect(t, 0)
		return err == nil && c.Close(always(t)) == nil
	})
}

// shutDown asks the server to end, and starts it again.
func shutDown(sig syscall.Signal) func(*testing.T, *waiting) {
	return func(t *testing.T, w *waiting) {
		s := w.h.c.Servers[0]
		if err := s.Signal(sig); err != nil {
			t.Fatal(err)
		}
		s.Wait()
		if err := s.Start(always(t)); err != nil {
			t.Fatal(err)
		}
	}
}

// idleEnded ends the session before the write, which therefore is not sent.
func (h hands) idleEnded(t *testing.T, sys probes.System, run string) probes.Ack {
	x, refused := sys.Open(t.Context(), probes.Where{Node: h.c.Servers[0]})
	if refused != nil {
		return *refused
	}
	defer x.Close()
	a := h.admin(t, 0)
	exec(t, a, "select pg_terminate_backend(pid, 10000) from pg_stat_activity where application_name = 'dapple' and state = 'idle'")
	return x.Put(t.Context(), probes.Write{Run: run, Client: 1, Seq: 1})
}

func table(run string) string { return `"dapple_ledger_` + run + `"` }

// until polls; a test that waits in vain fails.
func until(t testing.TB, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(always(t), long)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			t.Fatalf("waited %v for %s", long, what)
		case <-tick.C:
		}
	}
}
