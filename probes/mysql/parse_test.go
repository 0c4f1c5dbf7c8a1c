package mysql

import (
	"context"
	"database/sql/driver"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	mysqldriver "github.com/go-sql-driver/mysql"
	"github.com/google/go-cmp/cmp"

	"github.com/dapple-drills/dapple/probes"
)

func TestWhereAnApplicationConnectsIsReadOrRefused(t *testing.T) {
	got, err := parseEndpoint("mysql://app@m1,m2:3307,[::1]/orders?tls=skip-verify")
	want := endpoint{hosts: []string{"m1:3306", "m2:3307", "[::1]:3306"}, user: "app", database: "orders", tls: "skip-verify"}
	if err != nil || !cmp.Equal(want, got, cmp.AllowUnexported(endpoint{})) {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	for dsn, words := range map[string]string{
		"postgres://app@h/db": "mysql://", "mysql://h/db": "the user is missing", "mysql://app:secret@h/db": "clients.password",
		"mysql://app@h": "database is missing", "mysql://app@h:0/db": "no port", "mysql://app@/db": "no host", "mysql://app@h/db?charset=x": "tls=true",
	} {
		if _, err := parseEndpoint(dsn); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v, want something of %q", dsn, err, words)
		}
		if _, err := parseEndpoint(dsn); err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the password is told: %v", dsn, err)
		}
	}
}

func TestAWriteIsClassedByItsStageAndTheNumberOfItsError(t *testing.T) {
	server := func(n uint16, text string) error { return &mysqldriver.MySQLError{Number: n, Message: text} }
	for _, c := range []struct {
		name  string
		o     outcome
		want  probes.Class
		reply string
	}{
		{"taken", outcome{sent: true, rows: 1}, probes.Acked, "OK"},
		{"swallowed", outcome{sent: true}, probes.Failed, "OK, 0 rows"},
		{"read only", outcome{sent: true, err: server(1290, "the --super-read-only option")}, probes.Failed, "1290 the --super-read-only option"},
		{"rolled back by the plugin", outcome{sent: true, err: server(3101, "Plugin instructed")}, probes.Failed, "3101 "},
		{"hook", outcome{sent: true, err: server(3100, "Error on observer")}, probes.Failed, "3100 "},
		{"lock wait", outcome{sent: true, err: server(1205, "Lock wait")}, probes.Failed, "1205 "},
		{"not ready", outcome{sent: true, err: server(1047, "WSREP")}, probes.Failed, "1047 "},
		{"twice", outcome{sent: true, err: server(1062, "Duplicate entry '1-2' for key 'l.PRIMARY'")}, probes.Failed, "1062 Duplicate entry '…' for key '…'"},
		{"the server does not know", outcome{sent: true, err: server(1180, "Got error 149 during COMMIT")}, probes.Unknown, "1180 "},
		{"shut down meanwhile", outcome{sent: true, err: server(1053, "Server shutdown in progress")}, probes.Unknown, "1053 "},
		{"broke off", outcome{sent: true, err: io.ErrUnexpectedEOF}, probes.Unknown, "closed by the other side"},
		{"no answer", outcome{sent: true, err: context.DeadlineExceeded}, probes.Unknown, "no reply in time"},
		{"nothing left", outcome{err: syscall.ECONNRESET}, probes.Failed, "not sent: connection reset by peer"},
	} {
		class, reply := c.o.classify()
		if class != c.want || !strings.HasPrefix(reply, c.reply) {
			t.Errorf("%s: %s %q, want %s %q", c.name, class, reply, c.want, c.reply)
		}
	}
}

func TestWhatTheDriverHidesOfABrokenConnectionIsTold(t *testing.T) {
	w := &wire{}
	w.note(syscall.ECONNREFUSED)
	w.note(io.EOF)
	for _, err := range []error{driver.ErrBadConn, mysqldriver.ErrInvalidConn} {
		if got := told(w.cause(err)); got != "connection refused" {
			t.Errorf("%v is told as %q", err, got)
		}
	}
	if got := told(w.cause(context.DeadlineExceeded)); got != "no reply in time" {
		t.Errorf("a deadline is told as %q", got)
	}
}

// row is one of the view of a server that is called self.
func row(self, readOnly, viewID, id, state, role string) []string {
	return []string{self, readOnly, "group", viewID, id, "10.0.0." + id, "3306", state, role}
}

func TestANodeClaimsWhatItCanDoAndNotWhatItIsCalled(t *testing.T) {
	of := func(self, readOnly string, members ...[2]string) [][]string {
		var rows [][]string
		for i, m := range members {
			rows = append(rows, row(self, readOnly, "17:4", string(rune('1'+i)), m[0], m[1]))
		}
		return rows
	}
	p, s, gone := [2]string{"ONLINE", "PRIMARY"}, [2]string{"ONLINE", "SECONDARY"}, [2]string{"UNREACHABLE", "SECONDARY"}
	for _, c := range []struct {
		name  string
		rows  [][]string
		role  probes.Role
		epoch string
	}{
		{"the primary", of("1", "0", p, s, s), probes.Primary, "4"},
		{"a secondary", of("2", "1", p, s, s), probes.Replica, "4"},
		{"elected, not yet writable", of("1", "1", p, s, s), probes.None, ""},
		{"the primary alone", of("1", "0", p, gone, gone), probes.None, ""},
		{"the primary with one of two others", of("1", "0", p, gone, s), probes.Primary, "4"},
		{"joining", of("2", "1", p, [2]string{"RECOVERING", "SECONDARY"}, s), probes.None, ""},
		{"expelled", [][]string{row("1", "1", "", "1", "ERROR", "")}, probes.None, ""},
		{"out of the group, and writable", [][]string{row("1", "0", "", "1", "OFFLINE", "")}, probes.Primary, ""},
		{"without the plugin", [][]string{{"1", "0", "", "", "", "", "", "", ""}}, probes.Primary, ""},
	} {
		v, err := readView(c.rows)
		if err != nil {
			t.Fatal(err)
		}
		got := (&System{}).claim(v)
		if got.Role != c.role || got.Epoch != c.epoch || got.Detail == "" {
			t.Errorf("%s: %+v, want %s in %q", c.name, got, c.role, c.epoch)
		}
	}
}

func TestAReignIsThatOfThePrimaryAndNotOfTheView(t *testing.T) {
	var r reigns
	say := func(server string, view uint64, want string) {
		t.Helper()
		if got := r.of(server, view); got != want {
			t.Errorf("%s in view %d reigns since %q, want %q", server, view, got, want)
		}
	}
	say("a", 3, "3")
	say("a", 4, "3") // a secondary left
	say("b", 5, "5")
	say("a", 4, "3") // a does not know yet
	r.seen(view{self: "a", members: []member{{id: "a", state: online, role: "SECONDARY"}}})
	say("a", 7, "7") // primary again
	say("a", 0, "")
}

func TestTransactionsOfASetAreCounted(t *testing.T) {
	for set, want := range map[string]int64{
		"": 0, "aaaa-01:1-5:7": 6, "aaaa:1,\nbbbb:2-3": 3, "aaaa:tag:1-2:other:4": 3,
	} {
		if n, err := countGTIDs(set); err != nil || n != want {
			t.Errorf("%q: %d, %v, want %d", set, n, err, want)
		}
	}
	if _, err := countGTIDs("aaaa:5-1"); err == nil {
		t.Error("a range that runs backwards is no set")
	}
}

func TestAChunkIsDenseOnlyIfItHoldsEachIDOnce(t *testing.T) {
	hash := func(ids ...uint64) (h uint64) {
		for _, id := range ids {
			h ^= mixed(id)
		}
		return h
	}
	d := probes.Digest{Count: 4, Max: 3}
	if h, ok := dense(d, hash(0, 1, 2, 3)); !ok || h != probes.HashID(0)^probes.HashID(1)^probes.HashID(2)^probes.HashID(3) {
		t.Errorf("0 to 3: %x, %v", h, ok)
	}
	if _, ok := dense(d, hash(0, 0, 3, 3)); ok {
		t.Error("0, 0, 3, 3 passes for 0, 1, 2, 3")
	}
	if _, ok := dense(probes.Digest{Count: 3, Max: 3}, hash(0, 1, 3)); ok {
		t.Error("a gap passes")
	}
}

func TestTheExpectationFollowsTheExpelTimeout(t *testing.T) {
	of := func(expel, held time.Duration, how string, role probes.Role) (map[string]probes.Range, bool, bool) {
		m := model{timing: timing{expel: expel}, how: how, held: held, connect: time.Second, statement: 2 * time.Second}
		return m.expect([]string{string(role)})
	}
	ranges, failover, ok := of(5*time.Second, time.Minute, "refuses", probes.Primary)
	// Measured on 9.7: suspected after 5.4 s, expelled 15.3 s after that.
	if rto := ranges["rto"]; !ok || !failover || rto.Min > 10*time.Second || rto.Max < 21*time.Second || rto.Max > 40*time.Second {
		t.Errorf("5 s: %+v, failover %v, ok %v", rto, failover, ok)
	}
	if ranges, failover, ok = of(time.Hour, 80*time.Second, "refuses", probes.Primary); !ok || failover || ranges["rto"].Min < 80*time.Second {
		t.Errorf("an hour: %+v, failover %v, ok %v", ranges["rto"], failover, ok)
	}
	if _, failover, ok = of(5*time.Second, 8*time.Second, "hangs", probes.Primary); !ok || failover {
		t.Errorf("a hang of 8 s: failover %v, ok %v", failover, ok)
	}
	if _, failover, ok = of(5*time.Second, time.Minute, "refuses", probes.Replica); !ok || failover {
		t.Errorf("a secondary: failover %v, ok %v", failover, ok)
	}
}
