package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/injectors/agent"
	allinjectors "github.com/dapple-drills/dapple/injectors/all"
	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/scenarios"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/ssh/sshtest"
)

// Machines behind real SSH servers. They are this machine, each with a home and a
// cache of its own: what an agent does over there, a test sees with its own eyes.

// asProgram has this test binary be of the same version as the program that is
// copied, which is the real one.
func asProgram(t *testing.T, c *sshtest.Client) {
	t.Helper()
	dir, err := built()
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "dapple")
	out, err := exec.Command(bin, "version", "--json").Output()
	var v struct{ Version string }
	if err == nil {
		err = json.Unmarshal(out, &v)
	}
	if err != nil {
		t.Fatal(err)
	}
	was := version
	version = v.Version
	t.Cleanup(func() { version = was })
	t.Setenv(agent.BinaryEnv, bin)
	t.Setenv(sshEnv, strings.Join(c.Command(), " "))
	t.Setenv("DAPPLE_HOME", t.TempDir())
}

// opened are the machines and nodes, connected.
func opened(t *testing.T, list ...scenarios.SSHNode) (*fleet, []targets.Node) {
	t.Helper()
	f, err := newFleet(&globals{agent: agentAuto}, list)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.end(context.WithoutCancel(t.Context())) }) // a test may have broken it
	nodes, err := f.open(t.Context(), list)
	if err != nil {
		t.Fatal(err)
	}
	return f, nodes
}

// service is a process with a pidfile, and the command that starts it.
func service(t *testing.T, name, host string) scenarios.SSHNode {
	t.Helper()
	dir := t.TempDir()
	pidfile, script := filepath.Join(dir, "pid"), filepath.Join(dir, "service")
	text := fmt.Sprintf("#!/bin/sh\necho $$ >%s.new && mv %s.new %s && exec sleep 600\n", pidfile, pidfile, pidfile)
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	n := scenarios.SSHNode{Name: name, Host: host, Addr: "127.0.0.1:9", PIDFile: pidfile, Start: []string{script}}
	cmd := exec.Command(script)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }() // so that one that was killed is seen to be dead
	t.Cleanup(func() {
		if pid, err := pidOf(n); err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		<-ended
	})
	eventually(t, "the service runs", func() bool { _, err := pidOf(n); return err == nil })
	return n
}

func pidOf(n scenarios.SSHNode) (int, error) {
	data, err := os.ReadFile(n.PIDFile)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(data)))
}

// state is the letter of the service's process, or "" if there is none.
func state(n scenarios.SSHNode) string {
	pid, err := pidOf(n)
	if err != nil {
		return ""
	}
	s, err := kernel.ReadStat(pid)
	if err != nil || s.Dead() {
		return ""
	}
	p, err := kernel.ReadProc(pid)
	if err != nil {
		return ""
	}
	return p.State
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(40 * time.Second); !is(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("it did not come to be that %s", what)
		}
	}
}

// planned has the machines plan.
func planned(t *testing.T, f *fleet, inject, with string, on, peers []targets.Node) ([]injectors.Fault, error) {
	t.Helper()
	params, err := scenarios.ParseParams(with)
	if err != nil {
		t.Fatal(err)
	}
	kind, err := injectorOf(inject)
	if err != nil {
		t.Fatal(err)
	}
	inj, err := kind.New(params.Decode)
	if err != nil {
		t.Fatal(err)
	}
	s := drills.Step{Step: scenarios.Step{Inject: inject, With: params}, Injector: inj}
	if err := f.plans(t.Context(), &s); err != nil {
		t.Fatal(err)
	}
	return s.Injector.Plan(t.Context(), injectors.Aim{On: on, Peers: peers, Drill: "d1"})
}

// injected plans one fault, and has it made and proven.
func injected(t *testing.T, f *fleet, h drills.Holder, inject, with string, on, peers []targets.Node) agent.Held {
	t.Helper()
	faults, err := planned(t, f, inject, with, on, peers)
	if err != nil || len(faults) != 1 {
		t.Fatalf("%s: %v, %v", inject, faults, err)
	}
	if !strings.HasPrefix(faults[0].Undo, "on ") {
		t.Errorf("by hand: %q does not say where", faults[0].Undo)
	}
	held, err := h.Inject(t.Context(), inject, on[0].(targets.Portable).Spec(), faults[0])
	if err != nil || !held.OK {
		t.Fatalf("%s: %+v, %v", inject, held, err)
	}
	return held
}

func holding(t *testing.T, f *fleet) drills.Holder {
	t.Helper()
	h, err := f.hold(t.Context(), "d1", "s1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close(context.WithoutCancel(t.Context())) }) // a test may have broken it
	return h
}

func TestAServiceBehindSSHIsStoppedAndKilledByAnAgentOverThere(t *testing.T) {
	s, c := sshtest.Start(t, sshtest.Options{}), sshtest.NewClient(t)
	c.Add("db1", s)
	asProgram(t, c)
	n := service(t, "a", "db1")
	f, nodes := opened(t, n)
	before, err := f.look(t.Context(), nodes)
	if err != nil {
		t.Fatal(err)
	}
	release, err := f.ready(t.Context(), "s1", "d1")
	if err != nil || release() != nil {
		t.Fatal(err)
	}
	h := holding(t, f)
	for _, x := range []struct{ inject, with, during string }{{"pause", "{how: stop}", "T"}, {"kill", "{}", ""}} {
		asked := time.Now()
		held := injected(t, f, h, x.inject, x.with, nodes, nil)
		if got := state(n); got != x.during {
			t.Errorf("%s: its state is %q, want %q", x.inject, got, x.during)
		}
		if held.Effect.Hi.Before(asked) || held.Effect.Lo.After(time.Now()) || held.Effect.Hi.Before(held.Effect.Lo) {
			t.Errorf("%s: effect %+v, asked for at %v", x.inject, held.Effect, asked)
		}
		records, err := agent.Outstanding(s.Home)
		if err != nil || len(records) != 1 || records[0].Node.Kind != "host" || records[0].Runner.PID == os.Getpid() {
			t.Errorf("%s: the journal over there: %+v, %v", x.inject, records, err)
		}
		if _, err := f.ready(t.Context(), "s1", "d2"); err == nil || !strings.Contains(err.Error(), "db1 holds faults") {
			t.Errorf("%s: another drill was let begin: %v", x.inject, err)
		}
		// A fault that is held for somebody who lives is nobody's to take back.
		rep, err := f.revertAll(t.Context(), agent.RevertOptions{})
		if err != nil || len(rep.Outcomes) != 1 || rep.Outcomes[0].Result != agent.Busy {
			t.Errorf("%s: %+v, %v", x.inject, rep, err)
		}
		if _, err := h.Revert(t.Context(), x.inject); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it runs", func() bool { return state(n) == "S" })
	}
	after, err := f.look(t.Context(), nodes)
	if left := agent.Diff(before, after); err != nil || len(left) > 0 {
		t.Errorf("left: %+v, %v", left, err)
	}
	if err := h.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// What carries dapple is never cut: no fault of a network lands on a service that
// uses the network by which its machine is reached, nor any fault on sshd itself.
func TestTheWayToAMachineIsNeverCut(t *testing.T) {
	s, c := sshtest.Start(t, sshtest.Options{}), sshtest.NewClient(t)
	c.Add("db1", s)
	asProgram(t, c)
	a, b := service(t, "a", "db1"), service(t, "b", "db1")
	f, nodes := opened(t, a, b)
	tried := 0
	for _, k := range allinjectors.Kinds() {
		if !slices.Contains(k.Needs, injectors.NeedNetNS) {
			continue
		}
		tried++
		with := map[string]string{"netem": "{delay: 10ms, peers: [clients]}", "dns": "{drop: yes}"}[k.Name]
		_, err := planned(t, f, k.Name, cmp.Or(with, "{}"), nodes[:1], nodes[1:])
		if !errors.Is(err, targets.ErrUnsupported) || !strings.Contains(err.Error(), "never cut") {
			t.Errorf("%s: %v", k.Name, err)
		}
	}
	if tried < 2 {
		t.Errorf("only %d faults of the network were tried", tried)
	}
	pidfile := filepath.Join(t.TempDir(), "sshd.pid")
	if err := os.WriteFile(pidfile, fmt.Appendln(nil, s.PID()), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := f.open(t.Context(), []scenarios.SSHNode{{Name: "sshd", Host: "db1", Addr: "127.0.0.1:9", PIDFile: pidfile}})
	if err == nil || !strings.Contains(err.Error(), "what dapple was started from") {
		t.Errorf("sshd was taken for a node: %v", err)
	}
}

func TestAServiceWithANetworkOfItsOwnIsCutOffOverThere(t *testing.T) {
	s, c := sshtest.Start(t, sshtest.Options{Apart: true}), sshtest.NewClient(t)
	c.Add("db1", s)
	asProgram(t, c)
	list := []scenarios.SSHNode{{Name: "a", Host: "db1", Addr: "10.77.91.1:9"}, {Name: "b", Host: "db1", Addr: "10.77.91.2:9"}}
	f, _ := opened(t, list...)
	for i := range list {
		list[i].PIDFile = inNetwork(t, f.machines[0], list[i].Name)
	}
	wire(t, f.machines[0], list)
	nodes, err := f.open(t.Context(), list)
	if err != nil {
		t.Fatal(err)
	}
	h := holding(t, f)
	if err := f.lend(t.Context(), nodes); err != nil {
		t.Fatal(err)
	}
	// Nobody listens: that b says so is told from its silence.
	talks := func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		_, err := nodes[0].(targets.Dialer).DialContext(ctx, "tcp", "10.77.91.2:9")
		return errors.Is(err, syscall.ECONNREFUSED)
	}
	eventually(t, "a reaches b before the cut", talks)
	faults, err := planned(t, f, "partition", "{}", nodes[:1], nodes[1:])
	if err != nil || len(faults) != 2 {
		t.Fatalf("%+v, %v", faults, err)
	}
	for i, x := range faults {
		node := nodes[slices.IndexFunc(nodes, func(n targets.Node) bool { return n.Name() == x.Node })]
		if held, err := h.Inject(t.Context(), fmt.Sprint("k", i), node.(targets.Portable).Spec(), x); err != nil || !held.OK {
			t.Fatalf("%+v, %v", held, err)
		}
	}
	if talks() {
		t.Error("a still reaches b")
	}
	for i := range faults {
		if _, err := h.Revert(t.Context(), fmt.Sprint("k", i)); err != nil {
			t.Error(err)
		}
	}
	eventually(t, "a reaches b again", talks)
}

// there runs a shell on the machine.
func there(t *testing.T, m *machine, text string) string {
	t.Helper()
	out, err := m.Exec(t.Context(), "sh", "-c", text)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// inNetwork starts a process in a network namespace of its own, on the machine.
func inNetwork(t *testing.T, m *machine, name string) (pidfile string) {
	t.Helper()
	pidfile = filepath.Join(t.TempDir(), name)
	there(t, m, fmt.Sprintf("setsid -f unshare --net sh -c 'echo $$ >%s.new; mv %s.new %s; exec sleep 600' </dev/null >/dev/null 2>&1", pidfile, pidfile, pidfile))
	eventually(t, "the service runs", func() bool { _, err := os.Stat(pidfile); return err == nil })
	return pidfile
}

// wire joins the networks of two services, on the machine.
func wire(t *testing.T, m *machine, list []scenarios.SSHNode) {
	t.Helper()
	link := fmt.Sprintf("dt%d", os.Getpid()%100000)
	text := fmt.Sprintf("set -e; a=$(cat %s) b=$(cat %s); ip link add %sa netns $a type veth peer name %sb netns $b; ", list[0].PIDFile, list[1].PIDFile, link, link)
	for _, x := range []string{"a", "b"} {
		n := map[string]string{"a": "1", "b": "2"}[x]
		text += fmt.Sprintf("nsenter --net=/proc/$%s/ns/net ip addr add 10.77.91.%s/24 dev %s%s; nsenter --net=/proc/$%s/ns/net ip link set %s%s up; ", x, n, link, x, x, link, x)
	}
	there(t, m, text)
}
