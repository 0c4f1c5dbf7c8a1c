package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/dapple-drills/dapple/drills/checklist"
	"github.com/dapple-drills/dapple/drills/training"
	"github.com/dapple-drills/dapple/drills/verdict"
	"github.com/dapple-drills/dapple/probes/postgres/postgrestest"
	"github.com/dapple-drills/dapple/reports"
)

// A switchboard is a proxy that leads new connections where a file says, and is switched
// by writing into it, as a person switches one.
type switchboard struct {
	net.Listener
	file string
	wg   sync.WaitGroup
}

func newSwitchboard(t *testing.T, to string) *switchboard {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &switchboard{Listener: l, file: filepath.Join(t.TempDir(), "target")}
	if err := os.WriteFile(s.file, []byte(to), 0o644); err != nil {
		t.Fatal(err)
	}
	s.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.wg.Go(func() { s.lead(c) })
		}
	})
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		s.wg.Wait()
	})
	return s
}

// lead joins a connection with one to where the file says; either end ends both.
func (s *switchboard) lead(c net.Conn) {
	defer func() { _ = c.Close() }() // whoever is left sees it
	to, err := os.ReadFile(s.file)
	if err != nil {
		return
	}
	server, err := net.Dial("tcp", strings.TrimSpace(string(to)))
	if err != nil {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(server, c)
		_ = server.Close()
	}()
	_, _ = io.Copy(c, server)
	_ = c.Close()
	<-done
}

// A warm standby without a manager: a person promotes it and leads the clients there.
type warmStandby struct {
	t       *testing.T
	dir     string
	bin     string // dapple's
	servers *postgrestest.Cluster
	board   *switchboard
}

func (w *warmStandby) addr(i int) string {
	return net.JoinHostPort(w.servers.Servers[i].Addr, fmt.Sprint(w.servers.Port))
}

// pg is a command of PostgreSQL's as the user that runs the servers.
func (w *warmStandby) pg(name string, args ...string) []string {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if err != nil || len(found) == 0 {
		w.t.Fatalf("no %s: %v", name, err)
	}
	argv := append([]string{found[len(found)-1]}, args...)
	if os.Geteuid() == 0 {
		argv = append([]string{"/usr/sbin/runuser", "-u", "postgres", "--"}, argv...)
	}
	return argv
}

// files writes the system file, the scenario and the roster.
func (w *warmStandby) files() {
	var b strings.Builder
	b.WriteString("name: orders\nkind: postgres\nenvironment: ci\nnodes:\n  hosts:\n")
	for i, s := range w.servers.Servers {
		options := fmt.Sprintf("-p %d -c listen_addresses=%s -c unix_socket_directories= -c fsync=off", w.servers.Port, s.Addr)
		start, err := json.Marshal(w.pg("pg_ctl", "-D", s.Data, "-o", options, "-l", filepath.Join(s.Data, "again.log"), "-W", "start"))
		if err != nil {
			w.t.Fatal(err)
		}
		fmt.Fprintf(&b, "    - {name: %s, addr: %q, pidfile: %s, start: %s}\n", s.Name(), w.addr(i), filepath.Join(s.Data, "postmaster.pid"), start)
	}
	fmt.Fprintf(&b, "clients: {dsn: \"postgres://postgres@%s/postgres?sslmode=disable\"}\nsettings: {postgres_port: %d}\nobjectives: {rto: 15m, rpo: 5m}\n", w.board.Addr(), w.servers.Port)
	for name, text := range map[string]string{
		"system.yaml": b.String(),
		"scenario.yaml": `name: the primary is gone, and a person promotes
requires: {kind: postgres}
workload: {rate: 120/s, clients: 2, fresh: 500ms, direct: 2s}
steady: 3s
steps:
  - {inject: kill, on: primary, with: {process: all}, for: 10m}
settle: 90s
stable_for: 3s
full_for: 3s
expect: {failover: yes}
training:
  task: Orders are in PostgreSQL. You may promote the standby, and switch the proxy.
  hints: [{text: Which server is in recovery?, price: 60s}]
`,
		"roster.yaml": "people:\n  - {name: Ana Lima, contact: ana@example.org, on_call: [orders], logins: [nobody-else]}\n",
	} {
		if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *warmStandby) command(args ...string) *exec.Cmd {
	c := exec.Command(filepath.Join(w.bin, "dapple"), args...)
	c.Dir = w.dir
	c.Env = append(os.Environ(), "DAPPLE_HOME="+filepath.Join(w.dir, "home"), "NO_COLOR=1")
	return c
}

func (w *warmStandby) does(args ...string) string {
	w.t.Helper()
	out, err := w.command(args...).CombinedOutput()
	if err != nil {
		w.t.Fatalf("dapple %v: %v\n%s", args, err, out)
	}
	return string(out)
}

func (w *warmStandby) runs(argv []string) {
	w.t.Helper()
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		w.t.Fatalf("%v: %v\n%s", argv, err, out)
	}
}

// waits until the symptoms are so.
func (w *warmStandby) waits(what string, is func(s training.State) bool) {
	w.t.Helper()
	var last training.State
	if !inTime(func() bool {
		c, err := training.Open(filepath.Join(w.dir, "run"))
		if err == nil {
			last, err = c.State(w.t.Context())
		}
		return err == nil && last.Clients > 0 && is(last)
	}) {
		w.t.Fatalf("%s: not in three minutes; the last symptoms are %+v", what, last)
	}
}

// mend is what the trainee does, all of it by her own commands.
func (w *warmStandby) mend() {
	old, standby := w.servers.Servers[0], w.servers.Servers[1]
	w.waits("an outage", func(s training.State) bool { return s.Served == 0 })
	w.does("stamp", "run", "acknowledged", "--by", "Ana Lima")
	w.does("stamp", "run", "diagnosed", "--note", "pg1 is dead")
	w.does("stamp", "run", "decided", "--note", "promote pg2, then the proxy")
	promote := strings.Join(w.pg("pg_ctl", "promote", "-w", "-t", "120", "-D", standby.Data), " ")
	w.does("stamp", "run", "acted", "--", "sh", "-c", promote+" && echo "+w.addr(1)+" > "+w.board.file)
	w.waits("service", func(s training.State) bool { return s.Served == s.Clients })
	// Before the old primary comes back it has to be a standby of the new one.
	if err := os.RemoveAll(old.Data); err != nil {
		w.t.Fatal(err)
	}
	w.runs(w.pg("pg_basebackup", "-h", standby.Addr, "-p", fmt.Sprint(w.servers.Port), "-U", "postgres", "-D", old.Data, "-R", "-X", "stream", "-c", "fast"))
	w.does("stamp", "run", "resolved")
}

func TestAPersonPromotesAStandbyAndItIsToldWhoseTimeTheOutageWas(t *testing.T) {
	bin, err := built()
	if err != nil {
		t.Fatal(err)
	}
	w := &warmStandby{t: t, dir: t.TempDir(), bin: bin, servers: postgrestest.Start(t, postgrestest.Options{Standbys: 1})}
	w.board = newSwitchboard(t, w.addr(0))
	w.files()
	var out bytes.Buffer
	drill := w.command("train", "scenario.yaml", "--on", "system.yaml", "--allow-commands", "--trainee", "Ana Lima", "--roster", "roster.yaml", "--out", "run")
	drill.Stdout, drill.Stderr = &out, &out
	if err := drill.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); err = drill.Wait() }()
	t.Cleanup(func() {
		_ = drill.Process.Signal(os.Interrupt) // it has ended, unless the test failed
		<-ended
		for _, s := range w.servers.Servers { // what pg_ctl started is no child of ours
			stop := w.pg("pg_ctl", "stop", "-m", "immediate", "-D", s.Data)
			_ = exec.Command(stop[0], stop[1:]...).Run()
		}
	})
	w.mend()
	<-ended
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || !slices.Contains([]int{1, unproven}, exit.ExitCode())) {
		t.Fatalf("the drill: %v\n%s", err, &out)
	}
	w.split(&out)
	w.roster()
}

// split checks the parts by their order and sum: how long they took is this machine's.
func (w *warmStandby) split(out *bytes.Buffer) {
	t := w.t
	run, err := reports.Load(filepath.Join(w.dir, "run"))
	if err != nil {
		t.Fatal(err)
	}
	trial := run.Record.Trials[0]
	if trial.Expect.Outcome != "failover pg1 → pg2" {
		t.Errorf("the outcome is %q\n%s", trial.Expect.Outcome, out)
	}
	tr := trial.Training
	if tr == nil || tr.Alert == nil || tr.Human == nil || tr.Machine == nil || tr.Total == nil || tr.Closing == nil {
		t.Fatalf("parts are missing: %+v\n%s", tr, out)
	}
	lo := tr.Alert.LoMS + tr.Human.LoMS + tr.Machine.LoMS
	hi := tr.Alert.HiMS + tr.Human.HiMS + tr.Machine.HiMS
	if lo > tr.Total.HiMS || hi < tr.Total.LoMS || tr.Machine.HiMS <= 0 || tr.Machine.Censored || tr.Total.Censored {
		t.Errorf("the parts [%v, %v] ms are not the total %+v; machine %+v", lo, hi, tr.Total, tr.Machine)
	}
	var order []string
	for _, s := range tr.Stamps {
		order = append(order, s.What)
	}
	if !slices.Equal(order, verdict.Stamps()) {
		t.Errorf("stamps %v", order)
	}
	if acted := tr.Stamps[3]; acted.Ran != "sh" || acted.Via != "command" || trial.Faults[0].Effect[0] > acted.At[1] {
		t.Errorf("acted is %+v", acted)
	}
	if m := trial.Metrics.Promotion; m == nil {
		t.Logf("no promotion was measured: %s", trial.Metrics.Reasons["promotion"])
	}
}

// roster checks that the checklist knows who has practised, if the drill proves anything.
func (w *warmStandby) roster() {
	w.does("list", "--add", "run")
	var c checklist.Checklist
	out, err := w.command("checklist", "--roster", "roster.yaml", "--json").Output()
	if err == nil {
		err = json.Unmarshal(out, &c)
	}
	if err != nil || len(c.People) != 1 {
		w.t.Fatalf("%v: %s", err, out)
	}
	run, err := reports.Load(filepath.Join(w.dir, "run"))
	if err != nil {
		w.t.Fatal(err)
	}
	proven := run.Record.Verdict == verdict.Pass || run.Record.Verdict == verdict.Fail
	if p := c.People[0]; (p.State == checklist.Met) != proven || proven && p.Proof == nil {
		w.t.Errorf("the record's verdict is %s, and the checklist says %+v", run.Record.Verdict, p)
	}
}
