package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/drills/journal"
	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/injectors/agent"
	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/targets"
)

// TestMain lets the test's own binary stand in for the agent.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "agent" {
		if err := agent.Serve(context.Background(), os.Stdin, os.Stdout, config("")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func config(home string) agent.Config {
	return agent.Config{Kinds: []injectors.Kind{Kind()}, Openers: []targets.Opener{opener}, Version: "v0.0.0-test", Home: home}
}

// far is a node of which nothing but its address is known, as a machine with a
// power switch is.
type far struct{}

var opener = targets.Opener{Kind: "far", Open: func(context.Context, targets.Spec) (targets.Node, error) { return far{}, nil }}

func (far) Name() string       { return "db1" }
func (far) Spec() targets.Spec { return targets.Spec{Kind: "far", Name: "db1"} }
func (far) Addresses(context.Context) ([]string, error) {
	return []string{"192.0.2.7", "2001:db8::7"}, nil
}
func (far) Exec(context.Context, ...string) ([]byte, error) {
	return nil, errors.New("a far machine runs nothing for us")
}

// device is a power switch: a directory with a file that is there while the power
// is off, and three scripts that work on it.
type device struct {
	t   *testing.T
	dir string
}

func newDevice(t *testing.T) device {
	d := device{t, t.TempDir()}
	d.script("off", `echo "switching off $DAPPLE_NODE at $DAPPLE_ADDRESS ($1)"; echo "$DAPPLE_NODE $DAPPLE_ADDRESSES $DAPPLE_DRILL $DAPPLE_VERB $1" >> state/off`)
	d.script("on", `rm -f state/off; echo on again`)
	d.script("check", `if [ -e state/off ]; then echo "power is off"; else echo "power is on"; exit 1; fi`)
	if err := os.Mkdir(filepath.Join(d.dir, "state"), 0o700); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d device) script(name, body string) {
	d.t.Helper()
	if err := os.WriteFile(filepath.Join(d.dir, name), []byte("#!/bin/sh\ncd "+d.dir+"\n"+body+"\n"), 0o700); err != nil {
		d.t.Fatal(err)
	}
}

func (d device) isOff() bool {
	_, err := os.Stat(filepath.Join(d.dir, "state/off"))
	return err == nil
}

func (d device) params() Params {
	p := defaults()
	at := func(name string) string { return filepath.Join(d.dir, name) }
	p.Inject, p.Revert, p.Check, p.Every = []string{at("off"), "{address}"}, []string{at("on")}, []string{at("check")}, 10*time.Millisecond
	return p
}

func planned(t *testing.T, p Params) (injectors.Injector, injectors.Fault) {
	t.Helper()
	f, err := plan(t, p)
	if err != nil {
		t.Fatal(err)
	}
	return Kind().Reopen(), f
}

func plan(t *testing.T, p Params) (injectors.Fault, error) {
	t.Helper()
	inj, err := Kind().New(func(into any) error { *into.(*Params) = p; return nil })
	if err != nil {
		return injectors.Fault{}, err
	}
	faults, err := inj.Plan(t.Context(), injectors.Aim{On: []targets.Node{far{}}, Drill: "d1", Commands: true})
	if err != nil {
		return injectors.Fault{}, err
	}
	return faults[0], nil
}

func TestARealDeviceIsSwitchedOffProvenAndSwitchedOnAgain(t *testing.T) {
	d := newDevice(t)
	x, f := planned(t, d.params())
	if d.isOff() {
		t.Fatal("the plan switched it")
	}
	if err := x.Inject(t.Context(), far{}, f); err != nil {
		t.Fatal(err)
	}
	told, err := os.ReadFile(filepath.Join(d.dir, "state/off"))
	if want := "db1 192.0.2.7,2001:db8::7 d1 inject 192.0.2.7\n"; err != nil || string(told) != want {
		t.Errorf("the command was told %q, %v; want %q", told, err, want)
	}
	held, proof, err := Kind().Reopen().Effect(t.Context(), far{}, f)
	if !held || err != nil || !strings.HasSuffix(proof, "check: exit code 0: power is off") {
		t.Errorf("%v, %q, %v", held, proof, err)
	}
	if err := Kind().Reopen().Revert(t.Context(), far{}, f); err != nil {
		t.Fatal(err)
	}
	held, proof, err = x.Effect(t.Context(), far{}, f)
	if held || err != nil || !strings.HasSuffix(proof, "exit code 1: power is on") || d.isOff() {
		t.Errorf("%v, %q, %v", held, proof, err)
	}
}

func TestACommandThatFailsIsAnErrorWithWhatItSaid(t *testing.T) {
	d := newDevice(t)
	d.script("off", `echo "no route to the switch" >&2; exit 3`)
	x, f := planned(t, d.params())
	if err := x.Inject(t.Context(), far{}, f); err == nil || !strings.Contains(err.Error(), "exit code 3: no route to the switch") {
		t.Errorf("%v", err)
	}
}

func TestACheckThatSaysNeitherYesNorNoProvesNothing(t *testing.T) {
	d := newDevice(t)
	x, f := planned(t, d.params())
	d.script("check", `echo "usage: check PORT" >&2; exit 2`)
	if held, _, err := x.Effect(t.Context(), far{}, f); held || err == nil || !strings.Contains(err.Error(), "usage: check PORT") {
		t.Errorf("%v, %v", held, err)
	}
	if _, err := plan(t, d.params()); err == nil || !strings.Contains(err.Error(), "trying the check command") {
		t.Errorf("the plan took it: %v", err)
	}
}

// hangs is a script that starts one process in its group and one that left it,
// and then waits for ever. Both write who they are.
const hangs = `sleep 600 & echo $! > state/in
setsid sleep 600 & echo $! > state/out
echo waiting; wait`

func (d device) pid(name string) targets.ProcID {
	d.t.Helper()
	data, err := os.ReadFile(filepath.Join(d.dir, "state", name))
	if err != nil {
		d.t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Sscan(string(data), &pid); err != nil {
		d.t.Fatal(err)
	}
	return targets.ProcID{PID: pid}
}

// lives says whether a process has the number that is no zombie.
func lives(id targets.ProcID) bool {
	s, err := kernel.ReadStat(id.PID)
	return err == nil && !s.Dead()
}

func TestACommandThatHangsIsKilledWithAllThatItStarted(t *testing.T) {
	d := newDevice(t)
	d.script("off", hangs)
	p := d.params()
	p.Timeout = time.Second
	x, f := planned(t, p)
	err := x.Inject(t.Context(), far{}, f)
	if err == nil || !strings.Contains(err.Error(), "did not end within 1s") || !strings.Contains(err.Error(), "waiting") {
		t.Errorf("%v", err)
	}
	for _, name := range []string{"in", "out"} {
		if id := d.pid(name); lives(id) {
			t.Errorf("%v (%s of its group) is still there", id, name)
		}
	}
}

func TestWhatACommandLeavesRunningDoesNotHoldItUpAndIsEndedByRevert(t *testing.T) {
	d := newDevice(t)
	d.script("off", `(sleep 600; touch state/late) & echo $! > state/in; touch state/off`)
	x, f := planned(t, d.params())
	if err := x.Inject(t.Context(), far{}, f); err != nil {
		t.Fatal(err)
	}
	if !lives(d.pid("in")) {
		t.Error("what it left running is not there: this test shows nothing")
	}
	if err := Kind().Reopen().Revert(t.Context(), far{}, f); err != nil {
		t.Fatal(err)
	}
	if lives(d.pid("in")) {
		t.Error("it is still there, and may make the fault after its end")
	}
}

func TestASecretIsPassedOnAndNeverRecorded(t *testing.T) {
	d := newDevice(t)
	const secret = "correct-horse-battery"
	t.Setenv("FENCE_PW", secret)
	t.Setenv("OTHER", "not for commands")
	d.script("check", `[ -z "$OTHER" ] || exit 9; echo "login $FENCE_PW ok"; [ -e state/off ]`)
	p := d.params()
	p.Env = []string{"FENCE_PW"}
	x, f := planned(t, p)
	if err := x.Inject(t.Context(), far{}, f); err != nil {
		t.Fatal(err)
	}
	held, proof, err := x.Effect(t.Context(), far{}, f)
	if !held || err != nil || !strings.Contains(proof, "login *** ok") {
		t.Errorf("%v, %q, %v", held, proof, err)
	}
	data, err := json.Marshal(f)
	if err != nil || strings.Contains(string(data)+proof, secret) {
		t.Errorf("recorded: %s, %v", data, err)
	}
	p.Inject = append(p.Inject, secret)
	if _, err := plan(t, p); err == nil || strings.Contains(err.Error(), secret) || !strings.Contains(err.Error(), "FENCE_PW") {
		t.Errorf("a secret among the words: %v", err)
	}
	if err := os.Unsetenv("FENCE_PW"); err != nil {
		t.Fatal(err)
	}
	if err := x.Revert(t.Context(), far{}, f); err == nil || !strings.Contains(err.Error(), "FENCE_PW") {
		t.Errorf("without the variable: %v", err)
	}
}

func TestAProgramThatOthersMayWriteIsNotRun(t *testing.T) {
	d := newDevice(t)
	if err := os.Chmod(filepath.Join(d.dir, "off"), 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := plan(t, d.params()); err == nil || !strings.Contains(err.Error(), "may be written by everybody") {
		t.Errorf("%v", err)
	}
	d = newDevice(t)
	p := d.params()
	p.Revert = []string{filepath.Join(d.dir, "nothing-here")}
	if _, err := plan(t, p); err == nil || !strings.Contains(err.Error(), "there is no program") {
		t.Errorf("%v", err)
	}
}

func start(t *testing.T, home string) *agent.Client {
	t.Helper()
	me, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c, err := agent.Start(t.Context(), agent.Options{Argv: []string{me, "agent"}, Lease: 2 * time.Second, Drill: "d1", System: "s1", Config: config(home)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.WithoutCancel(t.Context())) }) // the agent may be dead already
	return c
}

func TestAnAgentThatIsKilledWhileItsCommandRunsLeavesNothing(t *testing.T) {
	d := newDevice(t)
	// The device acts only when the command ends: later than the agent's death.
	d.script("off", `echo $$ > state/in; sleep 600; touch state/off`)
	home := t.TempDir()
	c := start(t, home)
	_, f := planned(t, d.params())
	done := make(chan error, 1)
	go func() { _, err := c.Inject(t.Context(), "k", far{}.Spec(), f); done <- err }()
	await(t, "the command runs", func() bool { _, err := os.Stat(filepath.Join(d.dir, "state/in")); return err == nil })
	id, _ := c.Agent()
	p, err := os.FindProcess(id.PID)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err == nil {
		t.Error("an injection by a dead agent succeeded")
	}
	// The runner takes back what its agent left, and says so.
	if _, err := c.Revert(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	j, err := journal.Open(journal.Dir(home))
	if err != nil {
		t.Fatal(err)
	}
	left, _, err := j.Outstanding()
	if err != nil || len(left) > 0 || d.isOff() || lives(d.pid("in")) {
		t.Errorf("left: %v, %v; off: %v", left, err, d.isOff())
	}
}

func TestAHeldDeviceThatSomebodySwitchesBackIsAHole(t *testing.T) {
	d := newDevice(t)
	c := start(t, t.TempDir())
	_, f := planned(t, d.params())
	held, err := c.Inject(t.Context(), "k", far{}.Spec(), f)
	if err != nil || !held.OK || !strings.Contains(held.Proof, "power is off") {
		t.Fatalf("%+v, %v", held, err)
	}
	if err := os.Remove(filepath.Join(d.dir, "state/off")); err != nil {
		t.Fatal(err)
	}
	select {
	case s := <-c.Sightings():
		if s.What != "hole" || !strings.Contains(s.Evidence, "power is on") {
			t.Errorf("%+v", s)
		}
	case <-time.After(time.Minute):
		t.Error("nobody noticed")
	}
	if _, err := c.Revert(t.Context(), "k"); err != nil {
		t.Error(err)
	}
}

func TestAnInjectThatDoesNothingIsNoFault(t *testing.T) {
	d := newDevice(t)
	d.script("off", "exit 0") // the bad twin: it says that all is well
	c := start(t, t.TempDir())
	p := d.params()
	p.Timeout = time.Second
	_, f := planned(t, p)
	held, err := c.Inject(t.Context(), "k", far{}.Spec(), f)
	if err != nil || held.OK || !strings.Contains(held.Proof, "power is on") {
		t.Errorf("%+v, %v", held, err)
	}
}

func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	give := time.After(time.Minute)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-give:
			t.Fatalf("%s: not within a minute", what)
		}
	}
}
