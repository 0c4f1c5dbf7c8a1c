package kill

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/faketarget"
)

func planFor(t *testing.T, with string, nodes ...targets.Node) ([]injectors.Fault, error) {
	t.Helper()
	p, err := made(t, with)
	if err != nil {
		t.Fatal(err)
	}
	return quick(p).Plan(t.Context(), injectors.Aim{On: nodes, Processes: parts})
}

// hit are the names and pids (as the node counts them, from 1) of what is planned
// to get the signal.
func hit(t *testing.T, with string) (pids []int, f injectors.Fault) {
	t.Helper()
	n := faketarget.Patroni("pg1")
	procs, err := n.Processes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	faults, err := planFor(t, with, n)
	if err != nil {
		t.Fatal(err)
	}
	s := stateIn(t, faults[0])
	for _, p := range s.Procs {
		pids = append(pids, p.PID-procs[0].PID+1)
	}
	return pids, faults[0]
}

func stateIn(t *testing.T, f injectors.Fault) (s state) {
	t.Helper()
	if err := decode(f.State, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// The node is 1 patroni (a reaper), its children 2 patroni and 6 relay, 2's child
// 3 postgres, and 3's children 4 and 5 postgres.
func TestTheProcessesThatAreMeantAreFound(t *testing.T) {
	for with, want := range map[string][]int{
		`{}`:                                       {1},
		`{"process": "all"}`:                       {1, 2, 3, 4, 5, 6},
		`{"process": "server"}`:                    {3},
		`{"process": "manager"}`:                   {2},
		`{"process": "postgres"}`:                  {3},
		`{"process": "relay"}`:                     {6},
		`{"process": "patroni"}`:                   {1},
		`{"process": "server", "signal": "STOP"}`:  {3, 4, 5},
		`{"process": "manager", "signal": "STOP"}`: {2},
		`{"mode": "fence"}`:                        {1},
	} {
		got, f := hit(t, with)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", with, diff)
		}
		if stop := strings.Contains(with, "STOP"); f.Momentary == stop {
			t.Errorf("%s: momentary is %v", with, f.Momentary)
		}
	}
}

func TestTheWholeNodeIsDeadOnlyIfItIsProvenToBe(t *testing.T) {
	for with, want := range map[string]bool{
		`{"process": "all"}`:                   true,
		`{"mode": "fence"}`:                    true,
		`{}`:                                   false, // it is not known to be pid 1 of a namespace, and not alone
		`{"process": "server"}`:                false,
		`{"process": "all", "signal": "STOP"}`: false,
	} {
		if _, f := hit(t, with); f.NodeDead != want {
			t.Errorf("%s: NodeDead is %v", with, f.NodeDead)
		}
	}
	faults, err := planFor(t, `{}`, faketarget.New("n", targets.Proc{Name: "etcd"}))
	if err != nil || !faults[0].NodeDead {
		t.Errorf("a process that is alone: %+v, %v", faults, err)
	}
}

func TestTheRecordSaysWhatItDoesAndHowAPersonUndoesIt(t *testing.T) {
	for with, want := range map[string][2]string{
		`{}`: {"SIGKILL to patroni (pid", "fake start pg1"},
		`{"process": "server", "signal": "TERM"}`:  {"SIGTERM to postgres (pid", "fake start pg1"},
		`{"process": "manager", "signal": "STOP"}`: {"SIGSTOP to patroni (pid", "kill -CONT 5"},
		`{"mode": "fence"}`:                        {"the engine puts the whole node down", "fake start pg1"},
	} {
		_, f := hit(t, with)
		if !strings.Contains(f.Does, want[0]) || !strings.HasPrefix(f.Undo, want[1]) {
			t.Errorf("%s: does %q, undo %q", with, f.Does, f.Undo)
		}
	}
}

func TestARecordHoldsNoCommandLine(t *testing.T) {
	n := faketarget.New("n", targets.Proc{Name: "app", Args: []string{"app", "--password=hunter2"}})
	faults, err := planFor(t, `{}`, n)
	if err != nil {
		t.Fatal(err)
	}
	if f := faults[0]; strings.Contains(f.Does+f.Undo+string(f.State), "hunter2") {
		t.Errorf("%+v", f)
	}
}

func TestSeveralNodesArePlannedTogetherOrNotAtAll(t *testing.T) {
	a, b := faketarget.Patroni("a"), faketarget.Patroni("b")
	faults, err := planFor(t, `{}`, a, b)
	if err != nil || len(faults) != 2 || faults[0].Node != "a" || faults[1].Node != "b" {
		t.Errorf("%+v, %v", faults, err)
	}
	if err := b.Fence(t.Context()); err != nil {
		t.Fatal(err)
	}
	if faults, err := planFor(t, `{}`, a, b); err == nil {
		t.Errorf("one does not run, yet %+v", faults)
	}
}

func proc1(pid, parent int, name string, args ...string) targets.Proc {
	return targets.Proc{ProcID: targets.ProcID{PID: pid}, Parent: parent, Name: name, Args: args}
}

func TestWhatCannotOrMustNotBeDoneIsRefusedWithTheReason(t *testing.T) {
	fenced := faketarget.Patroni("n")
	if err := fenced.Fence(t.Context()); err != nil {
		t.Fatal(err)
	}
	protected := faketarget.Patroni("n")
	protected.Protect()
	stopped := faketarget.New("n", targets.Proc{Name: "app", State: "T"})
	two := faketarget.New("n", proc1(1, 0, "init"), proc1(2, 1, "postgres"), proc1(3, 1, "postgres"))
	for _, c := range []struct {
		name, with string
		node       targets.Node
		says       []string
		lacks      bool
	}{
		{"not there", `{"process": "mysqld"}`, faketarget.Patroni("n"), []string{"mysqld", "there are: patroni"}, false},
		{"ambiguous", `{"process": "server"}`, two, []string{"2 processes", "postgres"}, false},
		{"not running", `{}`, fenced, []string{"does not run"}, false},
		{"not permitted", `{}`, protected, []string{"sudo", "helper container"}, true},
		{"stopped by others", `{"signal": "STOP"}`, stopped, []string{"stopped already"}, false},
		{"all stopped by others", `{"signal": "STOP", "process": "all"}`, stopped, []string{"stopped already"}, false},
		{"no engine", `{}`, onlyProcesses{faketarget.Patroni("n")}, []string{"start it again"}, true},
		{"no fence", `{"mode": "fence"}`, onlyProcesses{faketarget.Patroni("n")}, []string{"fence", "crash"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			faults, err := planFor(t, c.with, c.node)
			if err == nil {
				t.Fatalf("planned %+v", faults)
			}
			for _, want := range append(c.says, "node n") {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
			if got := errors.Is(err, targets.ErrUnsupported); got != c.lacks {
				t.Errorf("wraps ErrUnsupported: %v (%v)", got, err)
			}
		})
	}
	if _, err := planFor(t, `{}`); err == nil {
		t.Error("aimed at nothing")
	}
	p, err := made(t, `{"process": "manager"}`)
	if err != nil {
		t.Fatal(err)
	}
	_, err = quick(p).Plan(t.Context(), injectors.Aim{On: []targets.Node{faketarget.Patroni("n")}})
	if err == nil || !strings.Contains(err.Error(), "manager") {
		t.Errorf("a kind of system without a manager: %v", err)
	}
}

// onlyProcesses has no engine.
type onlyProcesses struct{ n *faketarget.Node }

func (o onlyProcesses) Processes(ctx context.Context) ([]targets.Proc, error) {
	return o.n.Processes(ctx)
}

func (o onlyProcesses) Hold(ctx context.Context, id targets.ProcID) (targets.Handle, error) {
	return o.n.Hold(ctx, id)
}

func (onlyProcesses) Name() string { return "n" }
func (onlyProcesses) Exec(context.Context, ...string) ([]byte, error) {
	return nil, errors.New("no shell")
}

func TestANodeWithoutAnEngineCanStillBeStopped(t *testing.T) {
	n := onlyProcesses{faketarget.Patroni("n")}
	faults, err := planFor(t, `{"signal": "STOP"}`, n)
	if err != nil {
		t.Fatal(err)
	}
	inj := quick(Params{})
	if err := errors.Join(inj.Inject(t.Context(), n, faults[0]), inj.Revert(t.Context(), n, faults[0])); err != nil {
		t.Error(err)
	}
}

// What a real process does with a signal is asked of the kernel.
func TestASignalWithoutAProvableEffectIsRefused(t *testing.T) {
	for _, c := range []struct{ script, signal, says string }{
		{`trap "" TERM; while :; do sleep 1; done`, "TERM", "ignores SIGTERM"},
		{`trap "echo" HUP; while :; do sleep 1; done`, "HUP", "in its own way"},
		{`trap "exit" TERM; while :; do sleep 1; done`, "TERM", ""},
		{`while :; do sleep 1; done`, "HUP", ""},
	} {
		t.Run(c.script+" "+c.signal, func(t *testing.T) {
			cmd := exec.Command("sh", "-c", c.script)
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // with its sleep
				_ = cmd.Wait()
			})
			k := newKiller(Params{Signal: Signal(c.signal)})
			until(t, "its traps are set", func() (bool, error) {
				err := k.provable(ofPID(t, cmd.Process.Pid))
				if c.says == "" {
					return err == nil, err
				}
				return err != nil && strings.Contains(err.Error(), c.says), err
			})
		})
	}
}
