package postgres

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/dapple-drills/dapple/probes"
)

func TestADSNLeadsToOneServerAndKeepsTheRest(t *testing.T) {
	t.Setenv("PGHOST", "")
	for _, dsn := range []string{
		"postgres://app:secret@pg1,pg2,pg3:5433/orders?target_session_attrs=read-write&sslmode=disable&connect_timeout=3",
		"postgresql://app:secret@/orders?host=pg1,pg2&port=5432,5433&target_session_attrs=primary&sslmode=disable&connect_timeout=3",
		"host=pg1,pg2 port=5433 user=app password=secret dbname=orders target_session_attrs=read-write sslmode=disable connect_timeout=3",
	} {
		for _, addr := range []string{"10.0.0.7", "fd00::7"} {
			s := &System{dsn: dsn, port: 6000, connect: time.Second}
			e, err := s.server(addr, nil)
			if err != nil {
				t.Fatal(err)
			}
			c := e.config
			if c.Host != addr || c.Port != 6000 || len(c.Fallbacks) != 0 || c.ValidateConnect != nil {
				t.Errorf("%s leads to %s:%d and %d others, validated: %v", dsn, c.Host, c.Port, len(c.Fallbacks), c.ValidateConnect != nil)
			}
			if c.User != "app" || c.Password != "secret" || c.Database != "orders" || c.ConnectTimeout != 3*time.Second || c.RuntimeParams["application_name"] != applicationName {
				t.Errorf("%s lost something: %+v", dsn, c.Config)
			}
		}
	}
}

func TestWhatIsNoDSNIsRefusedWithoutItsPassword(t *testing.T) {
	for _, dsn := range []string{"", "postgres://app:secret@pg1:port/x", "postgres://app:secret@%zz/", "host=pg1 port=no password=secret"} {
		_, err := Open(context.Background(), probes.Binding{Clients: probes.Clients{DSN: dsn}})
		if err == nil || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "clients.dsn") {
			t.Errorf("%q: %v", dsn, err)
		}
	}
	for key, bad := range map[string]string{"postgres_port": "high", "synchronous": "maybe"} {
		_, err := Open(context.Background(), probes.Binding{Clients: probes.Clients{DSN: "postgres://pg1/x"}, Extra: map[string]string{key: bad}})
		if err == nil || !strings.Contains(err.Error(), "settings."+key) || !strings.Contains(err.Error(), bad) {
			t.Errorf("%s %q: %v", key, bad, err)
		}
	}
}

func FuzzDSN(f *testing.F) {
	f.Add("postgres://a:b@c,d/e?sslmode=disable")
	f.Add("host=a user='b c' password=")
	f.Add("postgres://%")
	f.Fuzz(func(t *testing.T, dsn string) {
		if strings.Contains(dsn, "service") || strings.Contains(dsn, "file") || strings.Contains(dsn, "ssl") {
			return // they name files of this machine
		}
		s := &System{dsn: dsn, port: 6000}
		e, err := s.server("10.0.0.7", nil)
		if err != nil {
			return
		}
		for _, c := range append(e.config.Fallbacks, &pgconn.FallbackConfig{Host: e.config.Host, Port: e.config.Port}) {
			if c.Host != "10.0.0.7" || c.Port != 6000 {
				t.Errorf("%q leads to %s:%d", dsn, c.Host, c.Port)
			}
		}
	})
}

func TestReasonsAreShortAndWithoutAddresses(t *testing.T) {
	for want, err := range map[string]error{
		"connection refused":               &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED},
		"no reply in time":                 context.DeadlineExceeded,
		"given up":                         context.Canceled,
		"the connection ended":             io.ErrUnexpectedEOF,
		"cannot resolve the host":          &net.DNSError{Name: "pg1", Err: "no such host"},
		"no host takes writes":             errors.Join(pgconn.ErrReadOnlyConnection),
		`42P01 relation "…" is away`:       &pgconn.PgError{Code: "42P01", Message: `relation "t_17" is away`},
		"the connection was closed before": net.ErrClosed,
	} {
		if got := reason(err); got != want {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
}

func TestAHistoryFileNamesWhereItsTimelineBranchedOff(t *testing.T) {
	const history = "1\t0/3000148\tno recovery target specified\n\n12\t0/5000000\tbefore 2026\n"
	for from, want := range map[string]string{"1": "0/3000148", "12": "0/5000000", "2": "", "": ""} {
		if got := branch(history, from); got != want {
			t.Errorf("timeline %q: %q, want %q", from, got, want)
		}
	}
}

func TestAServersSecondIsCarriedOverToOurClock(t *testing.T) {
	// The server's clock is 100 s ahead; it wrote the file at its 1000.4 and read
	// its clock, 7 s later, at 1007.4, which was between before and after.
	before := time.Unix(907, 390_000_000)
	after := before.Add(20 * time.Millisecond)
	lo, hi, err := carry("1000", "1007400000", before, after)
	if err != nil {
		t.Fatal(err)
	}
	truth := time.Unix(900, 400_000_000)
	if truth.Before(lo) || truth.After(hi) || hi.Sub(lo) != 1020*time.Millisecond {
		t.Errorf("[%v, %v], truth %v", lo, hi, truth)
	}
	for _, bad := range [][2]string{{"x", "1"}, {"1", ""}} {
		if _, _, err := carry(bad[0], bad[1], before, after); err == nil {
			t.Errorf("%q is a time", bad)
		}
	}
}

func TestAnUnsentWriteFailedAndOneWithoutAnEndIsUnknown(t *testing.T) {
	for _, c := range []struct {
		o    outcome
		want probes.Ack
	}{
		{outcome{err: syscall.EPIPE}, probes.Ack{Class: probes.Failed, Reply: "not sent: broken pipe"}},
		{outcome{left: true, err: syscall.EPIPE}, probes.Ack{Class: probes.Unknown, Reply: "broken pipe"}},
		{outcome{left: true, rows: 1, tag: oneRow, err: io.ErrUnexpectedEOF}, probes.Ack{Class: probes.Unknown, Reply: "a row, and no end of the transaction: the connection ended"}},
		{outcome{left: true, rows: 1, tag: oneRow, ready: true}, probes.Ack{Class: probes.Acked, Reply: oneRow}},
		{outcome{left: true, rows: 1, tag: oneRow, ready: true, warned: "01000 cancelled"}, probes.Ack{Class: probes.Degraded, Reply: oneRow + ", WARNING 01000 cancelled"}},
		{outcome{left: true, rows: 1, tag: oneRow, ready: true, code: "40001", text: "no"}, probes.Ack{Class: probes.Failed, Reply: "40001 no"}},
		{outcome{left: true, code: "57P01", text: "bye", fatal: true}, probes.Ack{Class: probes.Unknown, Reply: "57P01 bye"}},
	} {
		if got := c.o.classify(); got != c.want {
			t.Errorf("%+v: %+v, want %+v", c.o, got, c.want)
		}
	}
}
